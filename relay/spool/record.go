package spool

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/postrider/postrider/relay/envelope"
)

// formatEntry and formatMeta are the first octet of every record of their kind. A change of layout takes a new
// number, and the old ones stay readable: those of format 1 have no checksum, and an entry knows nothing of DSN
// parameters. A record since format 2 ends with the checksum of its key and all of its octets before. An entry has a
// priority since format 3, and a meta names a body in a segment.
const (
	formatEntry    = 3
	formatEntryOld = 1
	formatMeta     = 3
	formatMetaOld  = 1
)

const (
	flagEightBit = 1 << iota
	flagUTF8
	flagHeld
	flagReleased
)

const (
	flagDelayNotified = 1 << iota
	flagLast
)

// encodeEntry lays out an entry. Its recipients are all queued: a final one has left the record. What Open counts
// stands in front, so that a million entries are counted without decoding one.
func encodeEntry(e *envelope.Envelope) []byte {
	c := countsOf(e)
	w := encoder{make([]byte, 0, 256)}
	w.octet(formatEntry)
	w.int(c.Queued)
	w.int(c.Deferred)
	w.octet(flag(e.EightBit, flagEightBit) | flag(e.UTF8, flagUTF8) | flag(e.Held != "", flagHeld) |
		flag(e.Released, flagReleased))
	w.text(e.ReversePath)
	w.text(e.Tenant)
	w.text(e.User)
	w.text(string(e.Origin))
	w.time(e.Accepted)
	w.int(e.Size)
	w.text(e.Held)
	w.text(e.EnvelopeID)
	w.text(string(e.Return))
	w.int(int64(e.Priority))
	for i := range e.Recipients {
		w.recipient(&e.Recipients[i])
	}
	return seal(entryKey(e.Key()), w.b)
}

func decodeEntry(k envelope.Key, b []byte) (envelope.Envelope, error) {
	r, err := openRecord(entryKey(k), b, formatEntryOld, formatEntry)
	if err != nil {
		return envelope.Envelope{}, fmt.Errorf("spool: entry %s of %s: %w", k.ID, k.Domain, err)
	}
	e := envelope.Envelope{ID: k.ID, Domain: k.Domain}
	recipients := r.int()
	r.int()
	flags := r.octet()
	e.EightBit, e.UTF8, e.Released = flags&flagEightBit != 0, flags&flagUTF8 != 0, flags&flagReleased != 0
	e.ReversePath = r.text()
	e.Tenant = r.text()
	e.User = r.text()
	e.Origin = envelope.Origin(r.text())
	e.Accepted = r.time()
	e.Size = r.int()
	e.Held = r.text()
	if r.format >= 2 {
		e.EnvelopeID = r.text()
		e.Return = envelope.Return(r.text())
	}
	if r.format >= 3 {
		e.Priority = int(r.int())
	}
	if recipients > int64(len(b)) {
		r.fail()
	}
	for ; recipients > 0 && r.err == nil; recipients-- {
		e.Recipients = append(e.Recipients, r.recipient())
	}
	if err := r.end(); err != nil {
		return envelope.Envelope{}, fmt.Errorf("spool: entry %s of %s: %w", k.ID, k.Domain, err)
	}
	return e, nil
}

// decodeCounts reads no more of an entry than its counts.
func decodeCounts(key, b []byte) (Counts, error) {
	r, err := openRecord(key, b, formatEntryOld, formatEntry)
	if err != nil {
		return Counts{}, err
	}
	c := Counts{Queued: r.int(), Deferred: r.int()}
	if r.octet()&flagHeld != 0 {
		c.Held = c.Queued
	}
	return c, r.err
}

// openRecord verifies a record's checksum and reads its format.
func openRecord(key, b []byte, oldest, newest byte) (decoder, error) {
	r := decoder{b: b}
	r.format = r.octet()
	if r.err != nil || r.format < oldest {
		return r, ErrDamaged
	}
	if r.format >= 2 {
		octets, err := unseal(key, b)
		if err != nil {
			return r, err
		}
		r.b = octets[1:]
	}
	if r.format > newest {
		return r, fmt.Errorf("record format %d is newer than this program", r.format)
	}
	return r, nil
}

func (w *encoder) recipient(r *envelope.Recipient) {
	w.text(r.Address)
	w.octet(byte(r.Notify))
	w.text(r.Original)
	w.int(int64(r.Attempts))
	w.time(r.Due)
	w.octet(flag(r.DelayNotified, flagDelayNotified) | flag(r.Last != nil, flagLast))
	if o := r.Last; o != nil {
		w.int(int64(o.Reply.Code))
		w.text(o.Reply.Enhanced)
		w.text(o.Reply.Text)
		w.text(o.NextHop)
		w.text(o.TLS)
		w.time(o.At)
		w.text(string(o.Handover))
	}
}

func (r *decoder) recipient() envelope.Recipient {
	to := envelope.Recipient{State: envelope.Queued}
	to.Address = r.text()
	if r.format >= 2 {
		to.Notify = envelope.Notify(r.octet())
		to.Original = r.text()
	}
	to.Attempts = int(r.int())
	to.Due = r.time()
	flags := r.octet()
	to.DelayNotified = flags&flagDelayNotified != 0
	if flags&flagLast != 0 {
		var o envelope.Outcome
		o.Reply.Code = int(r.int())
		o.Reply.Enhanced = r.text()
		o.Reply.Text = r.text()
		o.NextHop = r.text()
		o.TLS = r.text()
		o.At = r.time()
		if r.format >= 2 {
			o.Handover = envelope.Handover(r.text())
		}
		to.Last = &o
	}
	return to
}

// meta is what is stored of a message.
type meta struct {
	size   int64
	chunks uint32    // numbered from 0
	body   bodyPlace // of what follows the chunks
	// domains still have an entry. With the last one the message goes.
	domains []string
}

func encodeMeta(id envelope.ID, m meta) []byte {
	w := encoder{make([]byte, 0, 32)}
	w.octet(formatMeta)
	w.int(m.size)
	w.int(int64(m.chunks))
	w.int(m.body.segment)
	w.int(m.body.offset)
	w.int(m.body.length)
	w.int(int64(len(m.domains)))
	for _, d := range m.domains {
		w.text(d)
	}
	return seal(metaKey(id), w.b)
}

func decodeMeta(id envelope.ID, b []byte) (meta, error) {
	r, err := openRecord(metaKey(id), b, formatMetaOld, formatMeta)
	if err != nil {
		return meta{}, fmt.Errorf("spool: message %s: %w", id, err)
	}
	m := meta{size: r.int(), chunks: uint32(r.int())}
	if r.format >= 3 {
		m.body = bodyPlace{segment: r.int(), offset: r.int(), length: r.int()}
	}
	for n := r.int(); n > 0 && r.err == nil; n-- {
		m.domains = append(m.domains, r.text())
	}
	if err := r.end(); err != nil {
		return meta{}, fmt.Errorf("spool: message %s: %w", id, err)
	}
	return m, nil
}

// encoder appends fields: integers as varints, texts behind their length.
type encoder struct{ b []byte }

func (w *encoder) octet(v byte) { w.b = append(w.b, v) }
func (w *encoder) int(v int64)  { w.b = binary.AppendVarint(w.b, v) }

func (w *encoder) text(s string) {
	w.b = append(binary.AppendUvarint(w.b, uint64(len(s))), s...)
}

// time is kept to the nanosecond, in UTC; the zero time as 0.
func (w *encoder) time(t time.Time) {
	if t.IsZero() {
		w.int(0)
		return
	}
	w.int(t.UnixNano())
}

func flag(set bool, f byte) byte {
	if set {
		return f
	}
	return 0
}

// decoder reads what encoder wrote. After the first error every field is zero.
type decoder struct {
	b      []byte
	format byte // of the record that is read
	err    error
}

func (r *decoder) fail() {
	r.b, r.err = nil, fmt.Errorf("record cut short: %w", ErrDamaged)
}

func (r *decoder) octet() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *decoder) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *decoder) text() string {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > uint64(len(r.b)-n) {
		r.fail()
		return ""
	}
	s := string(r.b[n : n+int(v)])
	r.b = r.b[n+int(v):]
	return s
}

func (r *decoder) time() time.Time {
	v := r.int()
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(0, v).UTC()
}

// end reports the first error, or that something is left over.
func (r *decoder) end() error {
	if r.err == nil && len(r.b) > 0 {
		return fmt.Errorf("%d octets after the record: %w", len(r.b), ErrDamaged)
	}
	return r.err
}
