package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
)

// Salvaged is what Salvage found.
type Salvaged struct {
	// Messages and Recipients are in the new spool.
	Messages, Recipients int64
	// Damaged are the recipients of entries that can be read while their message cannot: they are listed in
	// Findings, not copied.
	Damaged int64
	// Lost are entries of which nothing but the name is known.
	Lost int64
	// Unread are files, or parts of files, that could not be read: what was in them is not known.
	Unread int64
	// Findings say what was not brought along, one line each.
	Findings []string
}

// Complete says that nothing is missing.
func (s Salvaged) Complete() bool { return s.Damaged == 0 && s.Lost == 0 && s.Unread == 0 }

// Salvage reads what can be read of the spool in dir, which no process may have open, without changing it, and writes
// every message that is whole, with its entries and what belongs to the queue beside mail, into a new spool in the
// directory "spool" of out, which must be empty. It needs room there for two copies of what is read. The ledger of the new spool begins with
// what is in its queue. Where the MANIFEST is damaged, mail that was delivered shortly before may come back.
func Salvage(dir, out string, o Options) (Salvaged, error) {
	o = o.withDefaults()
	if names, err := o.FS.List(out); err == nil && len(names) > 0 {
		return Salvaged{}, fmt.Errorf("salvage into %s: it is not empty", out)
	}
	if _, err := o.FS.Stat(dir); err != nil {
		return Salvaged{}, fmt.Errorf("salvage: %w", err)
	}
	lock, err := pebble.LockDirectory(dir, o.FS)
	if err != nil {
		return Salvaged{}, fmt.Errorf("salvage: the spool in %s is open: %w", dir, err)
	}
	s := &salvage{o: o, dir: dir, sums: map[string]map[uint64]int64{}}
	err = errors.Join(s.run(out), lock.Close())
	if err != nil {
		err = fmt.Errorf("salvage %s into %s: %w", dir, out, err)
	}
	return s.found, err
}

// salvage is one run.
type salvage struct {
	o     Options
	dir   string
	found Salvaged
	// scratch holds the newest version of every record: its number, and behind it the value, or nothing where it
	// was deleted.
	scratch *pebble.DB
	// sums are the additions to each counter, by their number.
	sums map[string]map[uint64]int64
	new  *Store
}

func (s *salvage) run(out string) (err error) {
	scratch := s.o.FS.PathJoin(out, "scratch")
	l := newLogger(s.o)
	if err := s.o.FS.MkdirAll(out, 0o700); err != nil {
		return err
	}
	if s.scratch, err = pebble.Open(scratch, &pebble.Options{FS: s.o.FS, Logger: l, EventListener: l.listener(), DisableWAL: true}); err != nil {
		return err
	}
	err = s.gather()
	if err == nil {
		err = s.build(s.o.FS.PathJoin(out, "spool"))
	}
	return errors.Join(err, s.scratch.Close(), s.o.FS.RemoveAll(scratch))
}

func (s *salvage) finding(format string, args ...any) {
	s.found.Findings = append(s.found.Findings, fmt.Sprintf(format, args...))
}

// gather brings the newest version of every record into the scratch store.
func (s *salvage) gather() error {
	k, err := readMark(s.o.FS, s.dir)
	if err != nil && !errors.Is(err, ErrNotFound) {
		s.finding("%v", err)
	}
	w := wreck{o: s.o, dir: s.dir, take: s.take, complain: func(format string, args ...any) {
		s.found.Unread++
		s.finding(format, args...)
	}}
	if err := w.read(k); err != nil {
		return err
	}
	s.weigh(k)
	return nil
}

// take keeps a version if it is the newest.
func (s *salvage) take(v version) error {
	if len(v.key) == 0 {
		return nil
	}
	switch v.key[0] {
	case kindCounter:
		s.count(v)
		return nil
	case kindEntry, kindMeta, kindTable, kindChunk:
	default:
		return nil // the due index is made anew
	}
	old, err := get(s.scratch, v.key)
	if err == nil && binary.BigEndian.Uint64(old) > v.number {
		return nil
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	value := binary.BigEndian.AppendUint64(make([]byte, 0, 9+len(v.value)), v.number)
	if v.kind == pebble.InternalKeyKindSet || v.kind == pebble.InternalKeyKindSetWithDelete {
		value = append(append(value, 1), v.value...)
	}
	return s.scratch.Set(v.key, value, pebble.NoSync)
}

// newest is the value of a record in the scratch store. ErrNotFound when it was deleted.
func newest(value []byte, err error) ([]byte, error) {
	switch {
	case err != nil:
		return nil, err
	case len(value) < 9:
		return nil, ErrNotFound
	}
	return value[9:], nil
}

func (s *salvage) get(key []byte) ([]byte, error) { return newest(get(s.scratch, key)) }

func (s *salvage) count(v version) {
	name := string(v.key[1:])
	if s.sums[name] == nil {
		s.sums[name] = map[uint64]int64{}
	}
	if len(v.value) == 8 {
		s.sums[name][v.number] = int64(binary.BigEndian.Uint64(v.value))
	}
}

// weigh compares the counters that were read with those of the mark.
func (s *salvage) weigh(k known) {
	accepted := int64(0)
	for _, name := range []string{"accepted", counterHandedIn} {
		for _, n := range s.sums[name] {
			accepted += n
		}
	}
	if missing := k.accepted - accepted; missing > 0 {
		s.found.Unread++
		s.finding("%d recipients were accepted of which there is no record: some of them were delivered, some may be lost", missing)
	}
}

// build writes the new spool.
func (s *salvage) build(dir string) error {
	o := s.o
	var err error
	if s.new, err = Open(dir, o); err != nil {
		return err
	}
	err = s.scan(kindMeta, func(key, value []byte) error { return s.message(envelope.ID(key[1:]), value) })
	if err == nil {
		err = s.scan(kindEntry, s.orphan)
	}
	if err == nil {
		err = s.scan(kindTable, func(key, value []byte) error {
			return s.new.batch(later, func(t *tx) error { t.set(key, value); return nil })
		})
	}
	if err == nil {
		err = s.new.batch(synced, func(*tx) error { return nil })
	}
	return errors.Join(err, s.new.Close())
}

func (s *salvage) scan(kind byte, f func(key, value []byte) error) error {
	return scan(s.scratch, kind, func(key, value []byte) error {
		value, err := newest(value, nil)
		if err != nil {
			return nil //nolint:nilerr // deleted
		}
		return f(key, value)
	})
}

// message brings a message over, if all of it is there.
func (s *salvage) message(id envelope.ID, record []byte) error {
	m, err := decodeMeta(id, record)
	if err != nil {
		s.finding("%v", err) // its entries are orphans
		return nil
	}
	whole := s.whole(id, m)
	var entries []envelope.Envelope
	for _, domain := range m.domains {
		k := envelope.Key{ID: id, Domain: domain}
		value, err := s.get(entryKey(k))
		var e envelope.Envelope
		if err == nil {
			e, err = decodeEntry(k, value)
		}
		switch {
		case err != nil:
			s.found.Lost++
			s.finding("entry %s of %s: %v", id, domain, err)
		case whole != nil:
			s.unusable(&e, whole)
		default:
			entries = append(entries, e)
		}
	}
	if len(entries) == 0 {
		return nil
	}
	return s.copy(id, m, entries)
}

// unusable lists the recipients of an entry without its message.
func (s *salvage) unusable(e *envelope.Envelope, why error) {
	var to []string
	for i := range e.Recipients {
		to = append(to, e.Recipients[i].Address)
	}
	s.found.Damaged += int64(len(to))
	s.finding("message %s from <%s>, accepted %s, for %s: %v", e.ID, e.ReversePath, e.Accepted.Format("2006-01-02T15:04:05Z"), strings.Join(to, ", "), why)
}

// whole says what is wrong with a message's octets.
func (s *salvage) whole(id envelope.ID, m meta) error {
	size := m.body.length
	for n := range m.chunks {
		octets, err := s.chunk(id, n)
		if err != nil {
			return fmt.Errorf("part %d of %d: %w", n+1, m.chunks, err)
		}
		size += int64(len(octets))
	}
	if size != m.size {
		return fmt.Errorf("%d octets instead of %d: %w", size, m.size, ErrDamaged)
	}
	return s.body(m.body, func(f vfs.File) (err error) {
		buf := make([]byte, frameSize)
		for n := int64(0); n < m.body.frames() && err == nil; n++ {
			_, err = m.body.frame(f, id, n, buf)
		}
		return err
	})
}

// body opens the segment of a large body for f.
func (s *salvage) body(p bodyPlace, f func(vfs.File) error) error {
	if p.length == 0 {
		return nil
	}
	file, err := s.o.FS.Open(s.o.FS.PathJoin(s.dir, segmentName(p.segment)))
	if err != nil {
		return err
	}
	return errors.Join(f(file), file.Close())
}

func (s *salvage) chunk(id envelope.ID, n uint32) ([]byte, error) {
	key := chunkKey(id, n)
	value, err := s.get(key)
	if err != nil {
		return nil, err
	}
	return unseal(key, value)
}

func (s *salvage) copy(id envelope.ID, m meta, entries []envelope.Envelope) error {
	for n := range m.chunks {
		octets, err := s.chunk(id, n)
		if err != nil {
			return err
		}
		if err := s.new.batch(later, func(t *tx) error { t.chunk(id, n, octets, nil); return nil }); err != nil {
			return err
		}
	}
	end := func() {}
	err := s.body(m.body, func(f vfs.File) error {
		to, err := s.new.segments.copyBody(f, id, m.body)
		if err == nil {
			m.body, end = to.bodyPlace, to.keep
		}
		return err
	})
	if err != nil {
		return err
	}
	defer end()
	return s.new.batch(later, func(t *tx) error {
		created, err := t.create(id, meta{size: m.size, chunks: m.chunks, body: m.body}, entries)
		for i := range created {
			s.found.Recipients += int64(len(created[i].Recipients))
		}
		s.found.Messages++
		return err
	})
}

// orphan lists an entry that no message names.
func (s *salvage) orphan(key, value []byte) error {
	k, ok := parseEntryKey(key)
	if !ok {
		s.found.Lost++
		s.finding("entry key %q: %v", key, ErrDamaged)
		return nil
	}
	record, err := s.get(metaKey(k.ID))
	if err == nil {
		_, err = decodeMeta(k.ID, record)
	}
	if err == nil {
		return nil // message saw to it
	}
	e, failed := decodeEntry(k, value)
	if failed != nil {
		s.found.Lost++
		s.finding("%v", failed)
		return nil
	}
	s.unusable(&e, err)
	return nil
}

// batch stores what f adds.
func (s *Store) batch(d durability, f func(*tx) error) error {
	t := s.begin()
	defer t.close()
	if err := f(t); err != nil {
		return err
	}
	return t.commit(d)
}
