package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"os"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// wreck reads what can be read of a store's files without opening it, and changes none of them.
type wreck struct {
	o   Options
	dir string
	// take is given each version of a record: the one with the higher number is newer.
	take func(version) error
	// complain is told of what cannot be read.
	complain func(format string, args ...any)
}

// version is a record as some file has it. Key and value are valid during the call.
type version struct {
	key, value []byte
	number     uint64
	kind       pebble.InternalKeyKind
}

// read goes through the tables and logs of which the store consists. Where its MANIFEST cannot be trusted these are all
// there are: a message whose end stood in a table or log that is gone may come back.
func (w *wreck) read(k known) error {
	names, err := w.o.FS.List(w.dir)
	if err != nil {
		return err
	}
	slices.Sort(names)
	part, err := w.parts(k, names)
	if err != nil {
		w.complain("the MANIFEST: %v: everything that is there is taken for part of the spool", err)
		part = func(fileKind, int64) bool { return true }
	}
	for _, name := range names {
		kind, number := parseFile(name)
		if kind != tableFile && kind != logFile || !part(kind, number) {
			continue
		}
		if kind == tableFile {
			err = w.table(name)
		} else {
			err = w.log(k, name, number)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parts tells the files of which the store consists from those that are left over.
func (w *wreck) parts(k known, names []string) (func(fileKind, int64) bool, error) {
	desc, err := pebble.Peek(w.dir, w.o.FS)
	if err != nil {
		return nil, err
	}
	if !desc.Exists {
		return nil, errors.New("it is gone")
	}
	i := inspection{o: w.o, dir: w.dir, names: names}
	_, number := parseFile(w.o.FS.PathBase(desc.ManifestFilename))
	if err := i.manifest(&k, number); err != nil {
		return nil, err
	}
	spy := &logSpy{FS: w.o.FS, opened: map[int64]bool{}}
	o := w.o
	o.FS = spy
	tables, err := liveTables(o, w.dir, nil)
	if err != nil {
		return nil, err
	}
	for _, n := range tables {
		if !slices.Contains(names, tableName(n)) {
			w.complain("table %06d.sst is gone", n)
		}
	}
	return func(kind fileKind, n int64) bool {
		return kind == logFile && spy.opened[n] || kind == tableFile && slices.Contains(tables, n)
	}, nil
}

// logSpy learns which logs pebble would replay, and shows it empty ones: what a damaged one holds would stop it.
type logSpy struct {
	vfs.FS
	opened map[int64]bool
}

// Open implements vfs.FS.
func (s *logSpy) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	if kind, number := parseFile(s.PathBase(name)); kind == logFile {
		s.opened[number] = true
		return vfs.NewMemFile(nil), nil
	}
	return s.FS.Open(name, o...)
}

// Lock implements vfs.FS: the directory is locked already.
func (s *logSpy) Lock(string) (io.Closer, error) { return io.NopCloser(strings.NewReader("")), nil }

// tries is how often a table is entered anew behind blocks that cannot be read.
const tries = 64

// table reads all blocks that can be read.
func (w *wreck) table(name string) error {
	t, err := openTable(w.o.FS, w.o.FS.PathJoin(w.dir, name), true)
	if err == nil {
		defer func() { _ = t.Close() }() // it was only read
		err = t.findBad()
	}
	if errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err != nil {
		w.complain("table %s: nothing can be read: %v", name, err)
		return nil
	}
	holes := []hole{{nil, bytes.Repeat([]byte{0xff}, 64)}}
	for n := 0; len(holes) > 0; n++ {
		h := holes[0]
		holes = holes[1:]
		if n >= tries {
			w.complain("table %s: a part between %q and %q cannot be read", name, h.after, h.before)
			continue
		}
		left, err := w.fill(t.Reader, h)
		if err != nil {
			return err
		}
		holes = append(holes, left...)
	}
	return nil
}

// hole is a range of keys, its ends not included, that was not read yet.
type hole struct{ after, before []byte }

// fill reads a hole from both ends, as far as it can. What is left is halved.
func (w *wreck) fill(t *sstable.Reader, h hole) (left []hole, err error) {
	after, whole, err := w.run(t, h, true)
	if err != nil || whole {
		return nil, err
	}
	h.after = after
	before, _, err := w.run(t, h, false)
	if err != nil {
		return nil, err
	}
	h.before = before
	middle := between(h.after, h.before)
	return []hole{{h.after, middle}, {middle, h.before}}, nil
}

// run reads in one direction. It returns the last key it read, and whether it came to the other end.
func (w *wreck) run(t *sstable.Reader, h hole, forward bool) (last []byte, whole bool, err error) {
	last = h.before
	if forward {
		last = h.after
	}
	it, err := t.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		return last, false, nil // the hole stays
	}
	defer func() { _ = it.Close() }() // its error is that of the hole
	step, kv := it.Next, it.SeekGE(h.after, 0)
	if !forward {
		step = it.Prev
		kv = it.SeekLT(h.before, 0)
	}
	for ; kv != nil && within(kv.K.UserKey, h, forward); kv = step() {
		value, _, err := kv.Value(nil)
		if err != nil {
			return last, false, nil // the hole stays
		}
		if err := w.take(version{kv.K.UserKey, value, uint64(kv.SeqNum()), kv.Kind()}); err != nil {
			return last, false, err
		}
		last = bytes.Clone(kv.K.UserKey)
	}
	return last, it.Error() == nil, nil
}

func within(key []byte, h hole, forward bool) bool {
	if forward {
		return bytes.Compare(key, h.before) < 0
	}
	return bytes.Compare(key, h.after) > 0
}

// between is a key half way between two.
func between(a, b []byte) []byte {
	size := max(len(a), len(b)) + 1
	at := func(key []byte) *big.Int {
		return new(big.Int).SetBytes(append(bytes.Clone(key), make([]byte, size-len(key))...))
	}
	sum := at(a).Add(at(a), at(b))
	return sum.Rsh(sum, 1).FillBytes(make([]byte, size))
}

// log reads all records that can be read. What follows the part that is known to be synced may end in the middle.
func (w *wreck) log(k known, name string, number int64) error {
	text, err := readAll(w.o.FS, w.o.FS.PathJoin(w.dir, name))
	if err != nil {
		return err
	}
	for _, p := range k.logs {
		if p.number != number {
			continue
		}
		if err := p.verify(w.o.FS, w.o.FS.PathJoin(w.dir, name)); err != nil {
			w.complain("log: %v", err)
		}
	}
	r := logReader{text: []byte(text), number: uint32(number)}
	for record := r.next(); record != nil; record = r.next() {
		if err := w.batch(record); err != nil {
			return err
		}
	}
	if r.torn {
		w.complain("log %s: a part in the middle cannot be read", name)
	}
	return nil
}

func (w *wreck) batch(record []byte) error {
	header, ok := batchrepr.ReadHeader(record)
	if !ok {
		return nil
	}
	r := batchrepr.Read(record)
	for n := uint64(header.SeqNum); ; n++ {
		kind, key, value, ok, err := r.Next()
		if err != nil || !ok {
			return nil //nolint:nilerr // its checksum was right: pebble wrote it so
		}
		if err := w.take(version{key, value, n, kind}); err != nil {
			return err
		}
	}
}

// logReader reads pebble's log: blocks of 32 KiB with chunks, of which one or more are a record. A chunk is checksum
// (4 octets), length (2), type (1), number of the log (4), in newer ones a place up to which it was synced (8), and
// octets. Unlike pebble's own reader it goes on behind a chunk that is damaged.
type logReader struct {
	text   []byte
	number uint32
	at     int
	// bad: something since the last whole chunk could not be read; torn: and a whole chunk followed.
	bad, torn bool
}

const (
	logBlock      = 32 << 10
	logHeader     = 11
	logSyncHeader = 19
)

// next is the next record; nil at the end.
func (r *logReader) next() []byte {
	var record []byte
	begun := false
	for {
		payload, place, ok := r.chunk()
		if !ok {
			return nil
		}
		switch {
		case r.bad:
			r.torn, r.bad, begun = true, false, false
		case place == chunkFull || place == chunkFirst:
			begun = false
		}
		if place == chunkFull {
			return payload
		}
		if place == chunkFirst {
			record, begun = bytes.Clone(payload), true
		} else if begun {
			record = append(record, payload...)
		}
		if begun && place == chunkLast {
			return record
		}
	}
}

// Where a chunk stands in its record.
const (
	chunkFull = iota
	chunkFirst
	chunkMiddle
	chunkLast
)

// chunk is the next one that is whole.
func (r *logReader) chunk() (payload []byte, place int, ok bool) {
	for r.at+logHeader <= len(r.text) {
		end := min((r.at/logBlock+1)*logBlock, len(r.text))
		b := r.text[r.at:end]
		header, place, known := chunkType(b)
		if !known || len(b) < header {
			r.skipBlock(b, end)
			continue
		}
		size := header + int(binary.LittleEndian.Uint16(b[4:]))
		if size > len(b) {
			r.skipBlock(b, end)
			continue
		}
		r.at += size
		if binary.LittleEndian.Uint32(b) == pebbleSum(b[6:size]) && binary.LittleEndian.Uint32(b[7:]) == r.number {
			return b[header:size], place, true
		}
		r.bad = true
	}
	return nil, 0, false
}

// skipBlock goes on with the next block; the end of a block that holds no chunk is filled with zeros.
func (r *logReader) skipBlock(b []byte, end int) {
	r.at = end
	r.bad = r.bad || len(bytes.Trim(b, "\x00")) > 0
}

// chunkType is the header's length and the place in the record.
func chunkType(b []byte) (header, place int, ok bool) {
	if len(b) < logHeader {
		return 0, 0, false
	}
	switch t := int(b[6]); {
	case t >= 5 && t <= 8:
		return logHeader, t - 5, true
	case t >= 9 && t <= 12:
		return logSyncHeader, t - 9, true
	}
	return 0, 0, false
}

// pebbleSum is CRC-32C as pebble stores it.
func pebbleSum(b []byte) uint32 {
	c := checksum(nil, b)
	return (c>>15 | c<<17) + 0xa282ead8
}
