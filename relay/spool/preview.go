package spool

import (
	"io"
)

// Written is how many octets the Writer has taken so far.
func (w *Writer) Written() int64 { return w.body }

// Preview reads what was written so far, from an octet on, before it is committed. At most one chunk of it is copied
// at a time. It is of use until the Writer is written to, committed or aborted, and by the Writer's goroutine alone, or
// with that one waiting.
func (w *Writer) Preview(from int64) io.Reader {
	return &preview{w: w, skip: from, next: 1}
}

type preview struct {
	w    *Writer
	skip int64
	next uint32 // the chunk to read next; what is in the Writer's buffer comes after the last
	rest []byte
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
func (p *preview) advance() error {
	switch {
	case p.w.done:
		return errDone
	case p.next < p.w.chunks:
		return p.fetch()
	case p.next > max(p.w.chunks, 1):
		return io.EOF
	}
	p.rest = p.w.buf
	p.next++
	return nil
}

func (p *preview) fetch() error {
	if err := p.w.s.enter(); err != nil {
		return err
	}
	defer p.w.s.leave()
	octets, err := readChunk(p.w.s.db, p.w.id, p.next)
	if err != nil {
		return err
	}
	p.rest = octets
	p.next++
	return nil
}
