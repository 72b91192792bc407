package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
)

// A large body does not go through the store: its log, its memtables and its compactions would write it several times.
// It stands in a segment, a file to which bodies are appended in frames, each followed by the checksum of the message's
// id, the frame's number (from 1; the prefix is 0) and octets. The frames of a body follow each other, and all but the
// last are full. What stands in a segment counts for nothing until a record of the store, written after the segment was
// synced, names its place; from then on those octets are never written again.
const (
	frameSize   = 128 << 10
	frameOctets = frameSize - sumSize
	// pageSize: bodies begin at multiples of it, so that no sector holds octets of two.
	pageSize = 4096
)

// bodyPlace is where a body stands. The zero one is that of a message without one.
type bodyPlace struct {
	segment, offset int64
	length          int64 // of the body, without checksums
}

func (p bodyPlace) frames() int64 { return (p.length + frameOctets - 1) / frameOctets }

// extent is how much of the segment the body takes up.
func (p bodyPlace) extent() int64 {
	return (p.length + p.frames()*sumSize + pageSize - 1) / pageSize * pageSize
}

// frame reads the n-th frame, from 0, of a message's body into buf, which holds frameSize, and verifies it.
func (p bodyPlace) frame(f io.ReaderAt, id envelope.ID, n int64, buf []byte) ([]byte, error) {
	buf = buf[:min(frameOctets, p.length-n*frameOctets)+sumSize]
	_, err := f.ReadAt(buf, p.offset+n*frameSize)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the segment is too short: %w", ErrDamaged)
	}
	if err == nil {
		buf, err = unseal(chunkKey(id, uint32(n+1)), buf)
	}
	if err != nil {
		return nil, fmt.Errorf("frame %d of message %s at %d of %s: %w", n+1, id, p.offset, segmentName(p.segment), err)
	}
	return buf, nil
}

func segmentName(n int64) string { return fmt.Sprintf("%06d.seg", n) }

// bodyKey names a place; its value is the message's id.
func bodyKey(p bodyPlace) []byte {
	return binary.BigEndian.AppendUint64(segmentKey(kindBody, p.segment), uint64(p.offset))
}

// segmentKey is liveKey, or what the keys of the bodies in a segment begin with.
func segmentKey(kind byte, segment int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, uint64(segment))
}

func liveKey(segment int64) []byte { return segmentKey(kindLive, segment) }

// occupy adds to the batch that a body stands at a place.
func (t *tx) occupy(id envelope.ID, p bodyPlace) {
	t.set(bodyKey(p), []byte(id))
	t.account(p.segment, p.extent())
}

// vacate adds to the batch that a place is needed no more.
func (t *tx) vacate(p bodyPlace) {
	t.delete(bodyKey(p))
	t.account(p.segment, -p.extent())
}

func (t *tx) account(segment, octets int64) {
	t.merge(liveKey(segment), binary.BigEndian.AppendUint64(nil, uint64(octets)))
	t.space = append(t.space, share{segment, octets})
}

// share is by how much a batch changes what is live in a segment.
type share struct{ segment, octets int64 }

// stream appends one body to a segment that nobody else writes to.
type stream struct {
	all *segments
	seg *segment
	id  envelope.ID
	bodyPlace
	// failed: what the disk has of the body is not known.
	failed bool
}

// writeBack is how much is written before the disk is told to begin with it, so that little is left for the sync.
const writeBack = 512 << 10

// add writes the next frame: frameOctets, or less when it is the last. The checksum is put behind the octets, in place
// when there is room.
func (w *stream) add(octets []byte) error {
	n := w.frames()
	at := w.offset + n*frameSize
	sealed := seal(chunkKey(w.id, uint32(n+1)), octets)
	if _, err := w.seg.file.WriteAt(sealed, at); err != nil {
		return fmt.Errorf("write %s: %w", segmentName(w.segment), err)
	}
	if (n+1)*frameSize%writeBack == 0 {
		if _, err := w.seg.file.SyncTo(at + frameSize); err != nil {
			w.failed = true
			return fmt.Errorf("write back %s: %w", segmentName(w.segment), err)
		}
	}
	w.length += int64(len(octets))
	return nil
}

// sync brings the body to stable storage, and the segment's name when it is new.
func (w *stream) sync() error {
	if err := w.seg.file.SyncData(); err != nil {
		w.failed = true
		return fmt.Errorf("sync %s: %w", segmentName(w.segment), err)
	}
	if w.seg.named {
		return nil
	}
	if err := syncDir(w.all.fs, w.all.dir); err != nil {
		w.failed = true
		return fmt.Errorf("sync the name of %s: %w", segmentName(w.segment), err)
	}
	w.seg.named = true
	return nil
}

// copy appends a body that stands elsewhere.
func (w *stream) copy(source io.ReaderAt, from bodyPlace) error {
	buf := make([]byte, frameSize)
	for n := range from.frames() {
		octets, err := from.frame(source, w.id, n, buf)
		if err != nil {
			return err
		}
		if err := w.add(octets); err != nil {
			return err
		}
	}
	return nil
}

// keep ends the stream of a body that a record names.
func (w *stream) keep() {
	w.seg.end = w.offset + w.extent()
	w.all.release(w.seg)
}

// drop ends the stream of a body that no record names or ever named: the next one is written over it. Where that is not
// certain, because the store failed, neither keep nor drop is called, and nobody gets the segment again.
func (w *stream) drop() {
	if !w.failed {
		w.all.release(w.seg)
	}
}

// copyBody appends a body that stands elsewhere to a segment, synced.
func (g *segments) copyBody(source io.ReaderAt, id envelope.ID, from bodyPlace) (*stream, error) {
	to, err := g.begin(id)
	if err != nil {
		return nil, err
	}
	if err = to.copy(source, from); err == nil {
		err = to.sync()
	}
	if err != nil {
		to.drop()
		return nil, err
	}
	return to, nil
}

// openBody opens the segment of a body for reading. It can be read even when the segment is removed meanwhile.
func (g *segments) openBody(p bodyPlace) (vfs.File, error) {
	return g.fs.Open(g.path(p.segment))
}

// bodies calls f for the place of each body in a segment, in order. Its length is not known there.
func bodies(r pebble.Reader, segment int64, f func(id envelope.ID, offset int64) error) error {
	lower, upper := segmentKey(kindBody, segment), segmentKey(kindBody, segment+1)
	return scanRange(r, lower, upper, func(key, value []byte) error {
		if len(key) != len(lower)+8 {
			return fmt.Errorf("key %q: %w", key, ErrDamaged)
		}
		return f(envelope.ID(value), int64(binary.BigEndian.Uint64(key[len(lower):])))
	})
}
