package spool

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Open opens the spool in dir, which is made if it does not exist. It fails when another process has it open, when a
// newer version of this program has written it, with ErrFenced when it belongs to a process elsewhere, and with
// ErrRefused when the store is damaged or gone; then nothing is touched. Records of ours that do not match their checksum are no reason to refuse: they are kept aside
// and counted, and all others are there.
func Open(dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	s := &Store{fs: o.FS, dir: dir, now: o.Now, logger: newLogger(o), patience: o.patience}
	version, err := readSchema(o.FS, dir)
	if err != nil {
		return nil, err
	}
	if err := o.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the spool in %s: %w", dir, err)
	}
	if err := s.take(o); err != nil {
		return nil, err
	}
	if err := s.start(version, o); err != nil {
		return nil, errors.Join(fmt.Errorf("open the spool in %s: %w", dir, err), s.lock.Close())
	}
	s.logger.serving.Store(true)
	s.segments.survey(s.logger)
	return s, nil
}

// take locks the directory and makes it ours. Who has a higher token does not wait for the lock of a process that was
// given up and still runs: that one ends when it sees the token.
func (s *Store) take(o Options) (err error) {
	s.lock, err = pebble.LockDirectory(s.dir, o.FS)
	if err != nil && outranks(o, s.dir) {
		if s.fence, err = takeFence(o, s.dir); err != nil {
			return err
		}
		s.lock, err = pebble.LockDirectory(s.dir, o.FS)
	}
	if err != nil {
		return fmt.Errorf("the spool in %s is open already: %w", s.dir, err)
	}
	if s.fence != nil {
		return nil
	}
	if s.fence, err = takeFence(o, s.dir); err != nil {
		return errors.Join(err, s.lock.Close())
	}
	return nil
}

// start opens the store of a directory that is locked.
func (s *Store) start(version int, o Options) error {
	k, err := s.inspect(o, version)
	if err != nil {
		return err
	}
	if version == 0 {
		if err := markSchema(s.fs, s.dir); err != nil {
			return err
		}
		version = schema
	}
	if s.mark, err = openMark(s.fs, s.dir, k, s.logger.markFailed); err != nil {
		return err
	}
	if err := s.openStore(o); err != nil {
		return errors.Join(err, s.mark.abandon())
	}
	err = s.recover(k, version)
	if err == nil && version != schema { // before the mark says that the store was served: no older program knows marks
		err = markSchema(s.fs, s.dir)
	}
	if err == nil {
		err = s.mark.serve(s.Ledger)
	}
	if err != nil {
		return errors.Join(err, s.db.Close(), s.mark.abandon())
	}
	return nil
}

// openStore lets pebble open the store. It has panicked on damaged files.
func (s *Store) openStore(o Options) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = refusal(s.fs, s.dir, fmt.Errorf("the store cannot be read: %v", r))
		}
	}()
	options := pebbleOptions(o, s.logger, s.mark)
	options.Lock = s.lock
	s.segments.fs, s.segments.dir, s.segments.now, s.segments.size = options.FS, s.dir, s.now, o.segmentBytes
	s.db, err = pebble.Open(s.dir, options)
	if err == nil || diskFull(err) || isAny(err, syscall.EIO, os.ErrPermission, syscall.EROFS, syscall.EMFILE) {
		return err
	}
	return refusal(s.fs, s.dir, err)
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}

// recover brings memory in line with what is stored, drops what a crash left half-written, and compares the books
// with what was known of them.
func (s *Store) recover(k known, version int) error {
	var err error
	if version < firstSegmented {
		err = s.sweep()
	}
	if err := errors.Join(err, s.loadBooks(version), s.segments.load(s.db)); err != nil {
		return readRefusal(s, err)
	}
	l := s.books.ledger
	if l.arrived() < k.accepted || l.ended() < k.ended {
		return refusal(s.fs, s.dir, fmt.Errorf("%d recipients were accepted and %d ended, but the store knows of %d and %d: %w",
			k.accepted, k.ended, l.arrived(), l.ended(), ErrDamaged))
	}
	return nil
}

// readRefusal is what Open fails with when the store was opened and cannot be read.
func readRefusal(s *Store, err error) error {
	if errors.Is(err, ErrDamaged) || pebble.IsCorruptionError(err) {
		return refusal(s.fs, s.dir, err)
	}
	return err
}

// refusal says why a spool is not opened, and what can be done.
func refusal(fs vfs.FS, dir string, cause error) error {
	return fmt.Errorf("%w, and not opened: %w. Nothing was removed. What can be read of it is brought into a new one by: "+
		"relay salvage --data-dir %s --out NEW-DIRECTORY", ErrRefused, cause, fs.PathDir(dir))
}

// inspect reads the directory before pebble opens it, which writes and removes files, and compares it with its mark.
func (s *Store) inspect(o Options, version int) (known, error) {
	dir := s.dir
	k, err := readMark(o.FS, dir)
	unmarked := errors.Is(err, ErrNotFound)
	if err != nil && !unmarked {
		return k, refusal(o.FS, dir, err)
	}
	names, err := o.FS.List(dir)
	if err != nil {
		return k, err
	}
	desc, err := pebble.Peek(dir, o.FS)
	if err != nil {
		return k, refusal(o.FS, dir, err)
	}
	i := inspection{o: o, dir: dir, names: names, lock: s.lock, began: time.Now()}
	if !desc.Exists {
		return k, i.absent(k)
	}
	if unmarked && version >= firstMarked {
		return k, refusal(o.FS, dir, fmt.Errorf("its mark %s is gone", markFile))
	}
	_, manifest := parseFile(o.FS.PathBase(desc.ManifestFilename))
	if unborn := !k.served && !slices.Contains(names, manifestName(manifest)) && i.absent(k) == nil; unborn {
		return k, i.unmake()
	}
	err = errors.Join(i.manifest(&k, manifest), i.logs(&k), i.tables())
	if errors.Is(err, ErrDamaged) {
		err = refusal(o.FS, dir, err)
	}
	s.unverified = i.left
	return k, err
}

// inspection compares one directory.
type inspection struct {
	o     Options
	dir   string
	names []string
	lock  *pebble.Lock
	began time.Time
	// left are the tables that were not verified.
	left []int64
}

func (i *inspection) path(name string) string { return i.o.FS.PathJoin(i.dir, name) }

// absent: a store that is not there may be made, unless there was one.
func (i *inspection) absent(k known) error {
	if k.served {
		return refusal(i.o.FS, i.dir, errors.New("its MANIFEST is gone"))
	}
	for _, name := range i.names {
		if kind, _ := parseFile(name); kind == logFile || kind == tableFile || kind == segmentFile {
			return refusal(i.o.FS, i.dir, fmt.Errorf("its MANIFEST is gone, but there is %s", name))
		}
	}
	return nil
}

// unmake takes away what a crash left of the making of a store: pebble's marker may be on disk before what it names.
func (i *inspection) unmake() error {
	var err error
	for _, name := range i.names {
		if strings.HasPrefix(name, "marker.") {
			err = errors.Join(err, i.o.FS.Remove(i.path(name)))
		}
	}
	return err
}

// manifest: the one in force is as it was synced. In a spool without marks it is taken as it is.
func (i *inspection) manifest(k *known, number int64) error {
	i.keepThere(&k.manifests, manifestName)
	if !k.served {
		whole, err := i.whole(number)
		k.manifests = noted(k.manifests, whole)
		return err
	}
	at := slices.IndexFunc(k.manifests, func(p prefix) bool { return p.number == number })
	if at < 0 {
		return fmt.Errorf("%s is in force, and was never synced: %w", manifestName(number), ErrDamaged)
	}
	return i.prefixes(k.manifests[at:at+1], manifestName)
}

// whole is the mark of a MANIFEST that is not written any more.
func (i *inspection) whole(number int64) (prefix, error) {
	text, err := readAll(i.o.FS, i.path(manifestName(number)))
	if errors.Is(err, os.ErrNotExist) {
		return prefix{}, fmt.Errorf("%s is gone: %w", manifestName(number), ErrDamaged)
	}
	return prefix{number: number, size: int64(len(text)), sum: checksum(nil, []byte(text))}, err
}

// logs: each is as it was synced, and the last one or one that followed it is there.
func (i *inspection) logs(k *known) error {
	newest := int64(-1)
	for _, name := range i.names {
		if kind, n := parseFile(name); kind == logFile {
			newest = max(newest, n)
		}
	}
	if n := len(k.logs); n > 0 && newest < k.logs[n-1].number {
		return fmt.Errorf("%s is gone: %w", logName(k.logs[n-1].number), ErrDamaged)
	}
	i.keepThere(&k.logs, logName)
	return i.prefixes(k.logs, logName)
}

// keepThere forgets the files that do not exist any more.
func (i *inspection) keepThere(list *[]prefix, name func(int64) string) {
	*list = slices.DeleteFunc(*list, func(p prefix) bool { return !slices.Contains(i.names, name(p.number)) })
}

func (i *inspection) prefixes(list []prefix, name func(int64) string) error {
	var err error
	for _, p := range list {
		err = errors.Join(err, p.verify(i.o.FS, i.path(name(p.number))))
	}
	return err
}

// tables: every block matches its checksum, the newest first. What there is no time for is left to Verify.
func (i *inspection) tables() error {
	bad := map[int64]error{}
	for n, number := range i.tablesThere() {
		path := i.path(tableName(number))
		info, err := i.o.FS.Stat(path)
		if err != nil {
			return err
		}
		if i.o.VerifyBytes -= info.Size(); i.o.VerifyBytes < 0 || time.Since(i.began) > i.o.VerifyTime {
			i.left = i.tablesThere()[n:]
			break
		}
		if err := verifyTable(i.o.FS, path); err != nil {
			bad[number] = fmt.Errorf("table %s: %w: %w", tableName(number), ErrDamaged, err)
		}
	}
	return i.inForce(bad)
}

// tablesThere are the numbers of all tables, the newest first.
func (i *inspection) tablesThere() []int64 {
	var numbers []int64
	for _, name := range i.names {
		if kind, number := parseFile(name); kind == tableFile {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	slices.Reverse(numbers)
	return numbers
}

// inForce are the faults of tables that belong to the store: one that was being written when the process ended is none.
func (i *inspection) inForce(bad map[int64]error) error {
	if len(bad) == 0 {
		return nil
	}
	live, err := liveTables(i.o, i.dir, i.lock)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, errors.Join(append(slices.Collect(maps.Values(bad)), err)...))
	}
	for _, number := range slices.Sorted(maps.Keys(bad)) {
		if slices.Contains(live, number) {
			err = errors.Join(err, bad[number])
		}
	}
	return err
}

// liveTables are the tables that the MANIFEST names. It opens the store, but changes nothing.
func liveTables(o Options, dir string, lock *pebble.Lock) (live []int64, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the store cannot be read: %v", r)
		}
	}()
	l := newLogger(o)
	db, err := pebble.Open(dir, &pebble.Options{
		FS: o.FS, Logger: l, EventListener: l.listener(), Merger: adder, ReadOnly: true, Lock: lock,
	})
	if err != nil {
		return nil, err
	}
	live, err = tablesOf(db)
	return live, errors.Join(err, db.Close())
}

// tablesOf are the numbers of a store's tables.
func tablesOf(db *pebble.DB) (numbers []int64, err error) {
	levels, err := db.SSTables()
	for _, level := range levels {
		for _, t := range level {
			numbers = append(numbers, int64(t.BackingSSTNum))
		}
	}
	return numbers, err
}

// verifyTable reads all blocks of a table.
func verifyTable(fs vfs.FS, path string) error {
	t, err := openTable(fs, path, false)
	if err != nil {
		return err
	}
	err = t.findBad()
	if len(t.bad) > 0 {
		err = fmt.Errorf("%d blocks do not match their checksum, the first at %d", len(t.bad), t.bad[0].Offset)
	}
	return errors.Join(err, t.Close())
}

// Close waits for running operations, then closes the store. Later operations fail with ErrClosed. When operations do
// not end, because a full disk makes them wait, it fails after 20 s, and the store is closed when they do: all that was
// acknowledged is in the log, and the process may end before.
func (s *Store) Close() error {
	closed := make(chan error, 1)
	go func() { closed <- s.close() }() // ends with the last operation, or with the process
	select {
	case err := <-closed:
		return err
	case <-time.After(s.patience):
		return errors.New("close the spool: operations still wait for the disk")
	}
}

func (s *Store) close() error {
	s.open.Lock()
	defer s.open.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if err := s.Hold(); errors.Is(err, ErrFenced) {
		return err
	}
	s.segments.close()
	return errors.Join(s.db.Close(), s.mark.close(), s.fence.release(), s.lock.Close())
}
