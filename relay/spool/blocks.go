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

func openTable(fs vfs.FS, path string) (*table, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	file := &holed{File: f}
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
		if _, err := t.file.File.ReadAt(b, int64(h.Offset)); err != nil {
			return err
		}
		if pebbleSum(b[:size-sumSize]) != binary.LittleEndian.Uint32(b[size-sumSize:]) {
			t.bad = append(t.bad, h)
		}
	}
	t.file.bad = t.bad
	return nil
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

// holed is a file in which some blocks cannot be read.
type holed struct {
	vfs.File
	bad []block.Handle
}

// ReadAt implements io.ReaderAt.
func (f *holed) ReadAt(p []byte, at int64) (int, error) {
	for _, h := range f.bad {
		if at < int64(h.Offset+h.Length)+blockTrailer && int64(h.Offset) < at+int64(len(p)) {
			return 0, errHole
		}
	}
	return f.File.ReadAt(p, at)
}

var _ io.ReaderAt = (*holed)(nil)
