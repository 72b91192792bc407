package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// markFile stands beside the store and says what is known to be on stable storage. Pebble takes an invalid record at
// the end of its log for one that was being written at a crash, and stops reading its MANIFEST, in which it lists its
// tables, at the first one it cannot read: a flipped bit there can lose synced mail without a word. So the length and
// checksum of what was synced of each of these files, and counters that only grow, are kept here and compared
// before the store is opened.
//
// A mark is only written after what it says is true, and what it says stays true, so it may be old, and a crash may
// undo it; it never cries wolf. The MANIFEST's mark is synced before pebble learns that the MANIFEST is, so nothing of
// it goes unnoticed. The log's mark follows within markEvery and costs the one who waits for the log nothing.
//
// What it cannot notice: a flipped bit in what was added to the end of the log less than markEvery before a crash;
// that a whole older log file between two others was taken away; and a whole directory that was put back to an
// earlier state, mark and all.
const markFile = "POSTRIDER-MARK"

const (
	// markEvery is how far the log's mark may be behind.
	markEvery = 100 * time.Millisecond
	// Two slots are written by turns, each in a block of its own: a crash can tear only one.
	markSlots    = 2
	markSlotSize = 4096
	formatMark   = 1
)

// known is what a mark says.
type known struct {
	// turn counts the marks; the slot with the higher one is in force.
	turn int64
	// served: the store was opened at least once. Where it is gone, it is not made again.
	served bool
	// manifests and logs are the files that still exist, in the order of their numbers.
	manifests, logs []prefix
	// accepted and ended are of the ledger: all that ever came in, and all that is no longer queued.
	accepted, ended int64
}

// prefix is the part of a file that was synced.
type prefix struct {
	number int64
	size   int64
	sum    uint32 // CRC-32C
}

// mark keeps the file.
type mark struct {
	file  vfs.File
	books func() Ledger // may be nil

	mu      sync.Mutex
	known   known
	timer   *time.Timer // nil when nothing is to be written
	closed  bool
	failure func(error)

	// writing is held while a slot is written. Nothing is after ended.
	writing sync.Mutex
	ended   bool
}

// readMark finds the newer of the slots that are whole. ErrNotFound when there is no file.
func readMark(fs vfs.FS, dir string) (known, error) {
	text, err := readAll(fs, fs.PathJoin(dir, markFile))
	if errors.Is(err, os.ErrNotExist) {
		return known{}, ErrNotFound
	}
	if err != nil {
		return known{}, fmt.Errorf("read the spool's mark: %w", err)
	}
	var best known
	for i := range markSlots {
		if len(text) < (i+1)*markSlotSize {
			break
		}
		if k, err := decodeMark([]byte(text[i*markSlotSize : (i+1)*markSlotSize])); err == nil && k.turn > best.turn {
			best = k
		}
	}
	if best.turn == 0 {
		return known{}, fmt.Errorf("the spool's mark: %w", ErrDamaged)
	}
	return best, nil
}

// openMark goes on with the marks of an opened directory; a file that does not exist is made.
func openMark(fs vfs.FS, dir string, k known, failure func(error)) (*mark, error) {
	path := fs.PathJoin(dir, markFile)
	m := &mark{known: k, failure: failure}
	if k.turn == 0 {
		m.known.turn = 1
		slot := encodeMark(m.known)
		both := strings.Repeat("\x00", markSlotSize) + string(slot) // turn 1 stands in slot 1
		if err := replaceFile(fs, dir, markFile, both); err != nil {
			return nil, fmt.Errorf("make the spool's mark: %w", err)
		}
	}
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("open the spool's mark: %w", err)
	}
	m.file = f
	return m, nil
}

// serve says that the store was opened, and lets the marks tell of the books.
func (m *mark) serve(books func() Ledger) error {
	m.mu.Lock()
	m.known.served, m.books = true, books
	m.mu.Unlock()
	return m.write()
}

// synced notes that a prefix of a file is on stable storage.
func (m *mark) synced(kind fileKind, p prefix) error {
	if kind == manifestFile {
		m.mu.Lock()
		m.known.manifests = noted(m.known.manifests, p)
		m.mu.Unlock()
		return m.write()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known.logs = noted(m.known.logs, p)
	if m.timer == nil && !m.closed {
		m.timer = time.AfterFunc(markEvery, m.follow)
	}
	return nil
}

// follow writes what was noted since the last time.
func (m *mark) follow() {
	m.mu.Lock()
	m.timer = nil
	closed := m.closed
	m.mu.Unlock()
	if closed {
		return
	}
	if err := m.write(); err != nil {
		m.failure(err)
	}
}

// gone forgets a file that is about to be removed or to get another name. It says whether that was the newest log.
func (m *mark) gone(kind fileKind, number int64) (newest bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	other := func(p prefix) bool { return p.number == number }
	switch kind {
	case manifestFile:
		m.known.manifests = slices.DeleteFunc(m.known.manifests, other)
	case logFile:
		n := len(m.known.logs)
		newest = n > 0 && m.known.logs[n-1].number == number
		m.known.logs = slices.DeleteFunc(m.known.logs, other)
	}
	return newest
}

// noted is a list with a prefix put in its place.
func noted(list []prefix, p prefix) []prefix {
	i, found := slices.BinarySearchFunc(list, p.number, func(q prefix, n int64) int { return int(q.number - n) })
	if found {
		list[i] = p
		return list
	}
	return slices.Insert(list, i, p)
}

// write stores and syncs the next mark.
func (m *mark) write() error {
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.ended {
		return nil
	}
	return m.writeNext()
}

// writeNext writes the slot that is not in force. One that could not be written is written again: the other may be the
// only whole one.
func (m *mark) writeNext() error {
	m.mu.Lock()
	next := m.known
	next.turn++
	if m.books != nil {
		l := m.books()
		next.accepted, next.ended = l.arrived(), l.ended()
	}
	slot := encodeMark(next)
	m.mu.Unlock()
	if _, err := m.file.WriteAt(slot, next.turn%markSlots*markSlotSize); err != nil {
		return fmt.Errorf("write the spool's mark: %w", err)
	}
	if err := m.file.SyncData(); err != nil {
		return fmt.Errorf("sync the spool's mark: %w", err)
	}
	m.mu.Lock()
	m.known.turn = next.turn
	m.mu.Unlock()
	return nil
}

// close writes the last mark, when the store is closed.
func (m *mark) close() error { return errors.Join(m.write(), m.abandon()) }

// abandon ends the marks as they are.
func (m *mark) abandon() error {
	m.mu.Lock()
	m.closed = true
	if m.timer != nil {
		m.timer.Stop()
	}
	m.mu.Unlock()
	m.writing.Lock()
	defer m.writing.Unlock()
	m.ended = true
	return m.file.Close()
}

func encodeMark(k known) []byte {
	w := encoder{make([]byte, 0, markSlotSize)}
	w.octet(formatMark)
	w.int(k.turn)
	w.octet(flag(k.served, 1))
	w.int(k.accepted)
	w.int(k.ended)
	for _, list := range [][]prefix{k.manifests, k.logs} {
		list = list[max(0, len(list)-maxPrefixes):] // the newest count
		w.int(int64(len(list)))
		for _, p := range list {
			w.int(p.number)
			w.int(p.size)
			w.int(int64(p.sum))
		}
	}
	return seal([]byte(markFile), w.b[:markSlotSize-sumSize])
}

// maxPrefixes of each kind fit into a slot with room to spare. Pebble keeps about ten logs and two MANIFESTs.
const maxPrefixes = 64

func decodeMark(slot []byte) (known, error) {
	octets, err := unseal([]byte(markFile), slot)
	if err != nil {
		return known{}, err
	}
	r := decoder{b: octets}
	if f := r.octet(); f != formatMark {
		return known{}, fmt.Errorf("a mark of format %d: %w", f, ErrDamaged)
	}
	k := known{turn: r.int(), served: r.octet() != 0, accepted: r.int(), ended: r.int()}
	for _, list := range []*[]prefix{&k.manifests, &k.logs} {
		for n := r.int(); n > 0 && r.err == nil; n-- {
			*list = append(*list, prefix{number: r.int(), size: r.int(), sum: uint32(r.int())})
		}
	}
	return k, r.err
}

// verify compares a file of the directory with what was synced of it. A file that is not there is no damage.
func (p prefix) verify(fs vfs.FS, path string) error {
	f, err := fs.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sum := crc32.New(castagnoli())
	n, err := io.Copy(sum, io.LimitReader(f, p.size))
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", path, err)
	case n != p.size:
		return fmt.Errorf("%s has %d octets of the %d that were synced: %w", path, n, p.size, ErrDamaged)
	case sum.Sum32() != p.sum:
		return fmt.Errorf("the %d octets that were synced of %s are not what was written: %w", p.size, path, ErrDamaged)
	}
	return nil
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // made once, by the library

// fileKind is what a file of the store is for.
type fileKind int

const (
	otherFile fileKind = iota
	manifestFile
	logFile
	tableFile
	segmentFile
)

// parseFile says what a file of the store is, by its name.
func parseFile(name string) (fileKind, int64) {
	kind, digits := otherFile, ""
	if d, ok := strings.CutPrefix(name, "MANIFEST-"); ok {
		kind, digits = manifestFile, d
	} else if d, ok := strings.CutSuffix(name, ".log"); ok {
		kind, digits = logFile, d
	} else if d, ok := strings.CutSuffix(name, ".sst"); ok {
		kind, digits = tableFile, d
	} else if d, ok := strings.CutSuffix(name, ".seg"); ok {
		kind, digits = segmentFile, d
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return otherFile, 0
	}
	return kind, n
}

func manifestName(n int64) string { return fmt.Sprintf("MANIFEST-%06d", n) }
func logName(n int64) string      { return fmt.Sprintf("%06d.log", n) }
func tableName(n int64) string    { return fmt.Sprintf("%06d.sst", n) }
