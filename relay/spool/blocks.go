package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// table is one of pebble's tables, opened without a store around it.
type table struct {
	*sstable.Reader
	file *holed
	bad  []block.Handle
}

// blockTrailer is what stands behind a block: its compression (1 octet) and checksum.
const blockTrailer = 1 + sumSize

// openTable opens a table; mends is for Salvage, see mend.
func openTable(fs vfs.FS, path string, mends bool) (*table, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	file := &holed{File: f, mends: mends}
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	options := &pebble.Options{Merger: adder}
	options.EnsureDefaults()
	t, err := sstable.NewReader(context.Background(), readable, options.MakeReaderOptions())
	if err != nil {
		return nil, errors.Join(err, readable.Close())
	}
	return &table{Reader: t, file: file}, nil
}

// findBad reads every block and compares its checksum; from then on those that do not match cannot be read. Pebble
// would find them, too, but tries each bit of a block to see which one was flipped: 13 s for one of 128 KiB.
func (t *table) findBad() error {
	layout, err := t.Layout()
	if err != nil {
		return err
	}
	var buf []byte
	for _, h := range handles(layout) {
		size := int(h.Length) + blockTrailer
		if cap(buf) < size {
			buf = make([]byte, 2*size)
		}
		b := buf[:size]
		if _, err := t.file.ReadAt(b, int64(h.Offset)); err != nil {
			return err
		}
		if !sound(b) {
			t.bad = append(t.bad, h)
		}
	}
	t.file.bad = t.bad
	return nil
}

// sound says whether a block, with what stands behind it, matches its checksum.
func sound(b []byte) bool {
	return pebbleSum(b[:len(b)-sumSize]) == binary.LittleEndian.Uint32(b[len(b)-sumSize:])
}

// mendable is how long a block may be that mend tries, in octets: longer ones would take too long.
const mendable = 4096

// mend puts a single flipped bit of a block right: without the small block that describes a table, none of it could be
// read. What our records say of themselves is verified after it, as ever.
func mend(b []byte) {
	if len(b) <= blockTrailer || len(b) > mendable || sound(b) {
		return
	}
	for bit := range 8 * len(b) {
		b[bit/8] ^= 1 << (bit % 8)
		if sound(b) {
			return
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
}

func handles(l *sstable.Layout) []block.Handle {
	var all []block.Handle
	for i := range l.Data {
		all = append(all, l.Data[i].Handle)
	}
	all = append(append(all, l.Index...), l.ValueBlock...)
	for i := range l.Filter {
		all = append(all, l.Filter[i].Handle)
	}
	for _, h := range []block.Handle{l.TopIndex, l.RangeDel, l.RangeKey, l.ValueIndex, l.Properties, l.MetaIndex, l.BlobReferenceIndex} {
		if h.Length > 0 {
			all = append(all, h)
		}
	}
	return all
}

var errHole = errors.New("the block is damaged")

// holed is a file in which some blocks cannot be read, and others are mended.
type holed struct {
	vfs.File
	bad   []block.Handle
	mends bool
}

// ReadAt implements io.ReaderAt.
func (f *holed) ReadAt(p []byte, at int64) (int, error) {
	for _, h := range f.bad {
		if at < int64(h.Offset+h.Length)+blockTrailer && int64(h.Offset) < at+int64(len(p)) {
			return 0, errHole
		}
	}
	n, err := f.File.ReadAt(p, at)
	if err == nil && f.mends {
		mend(p)
	}
	return n, err
}

var _ io.ReaderAt = (*holed)(nil)
