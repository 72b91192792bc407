package spool

import (
	"io"
)

// Written is how many octets the Writer has taken so far.
func (w *Writer) Written() int64 { return w.body }

// Preview reads what was written so far, from an octet on, before it is committed. At most one frame of it is copied
// at a time. It is of use until the Writer is written to, committed or aborted, and by the Writer's goroutine alone, or
// with that one waiting.
func (w *Writer) Preview(from int64) io.Reader {
	return &preview{w: w, skip: from}
}

type preview struct {
	w    *Writer
	skip int64
	next int64 // the frame to read next; what is in the Writer's buffer comes after the last
	rest []byte
	buf  []byte
}

// Read implements io.Reader.
func (p *preview) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if err := p.advance(); err != nil {
			return 0, err
		}
		skipped := min(p.skip, int64(len(p.rest)))
		p.rest = p.rest[skipped:]
		p.skip -= skipped
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// advance fetches the next piece; io.EOF after the last.
func (p *preview) advance() (err error) {
	frames := int64(0)
	if p.w.out != nil {
		frames = p.w.out.frames()
	}
	switch {
	case p.w.done:
		return errDone
	case p.next < frames:
		if p.buf == nil {
			p.buf = make([]byte, frameSize)
		}
		p.rest, err = p.w.out.frame(p.w.out.seg.file, p.w.id, p.next, p.buf)
	case p.next == frames:
		p.rest = p.w.buf
	default:
		return io.EOF
	}
	p.next++
	return err
}
