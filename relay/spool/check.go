package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postrider/postrider/relay/envelope"
)

// maxFindings is how many faults Check lists.
const maxFindings = 20

// Check reads the whole spool as it is at this moment and reports what does not fit together: an entry that the due
// index misses or knows wrongly, a message without its octets or with damaged ones, octets that belong to nothing,
// books that do not balance or contradict
// the entries. nil when all is well. It changes nothing and may run beside everything else.
func (s *Store) Check() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	snapshot := s.db.NewSnapshot()
	c := check{s: s, r: snapshot, tally: map[string]Counts{}}
	c.entries()
	c.tallies()
	c.due()
	c.messages()
	c.chunks()
	c.segments()
	c.balance()
	return errors.Join(append(c.findings, snapshot.Close())...)
}

// check walks over one state of the store.
type check struct {
	s        *Store
	r        pebble.Reader
	bodies   int64 // messages with a body in a segment
	queued   int64
	indexed  int64 // entries that belong into the due index
	entered  int64
	tally    map[string]Counts
	findings []error
}

func (c *check) report(format string, args ...any) {
	if len(c.findings) < maxFindings {
		c.findings = append(c.findings, fmt.Errorf(format, args...))
	}
}

func (c *check) walk(kind byte, f func(key, value []byte)) {
	err := scan(c.r, kind, func(key, value []byte) error {
		f(key, value)
		return nil
	})
	if err != nil {
		c.report("read keys of kind %q: %w", kind, err)
	}
}

// entries: each is indexed where its due time says, and listed by its message.
func (c *check) entries() {
	c.walk(kindEntry, func(key, value []byte) {
		k, ok := parseEntryKey(key)
		if !ok {
			c.report("entry key %q: %w", key, ErrDamaged)
			return
		}
		e, err := decodeEntry(k, value)
		if err != nil {
			c.report("%w", err)
			return
		}
		c.entered++
		c.queued += int64(len(e.Recipients))
		c.tally[e.Domain] = c.tally[e.Domain].plus(countsOf(&e))
		c.entry(&e)
	})
}

func (c *check) entry(e *envelope.Envelope) {
	if len(e.Recipients) == 0 {
		c.report("entry %s of %s has no recipients", e.ID, e.Domain)
	}
	if due, ok := indexed(e); ok {
		c.indexed++
		if _, err := get(c.r, dueKey(e.Class(), due, e.Key())); err != nil {
			c.report("entry %s of %s in the due index: %w", e.ID, e.Domain, err)
		}
	}
	m, err := readMeta(c.r, e.ID)
	if err != nil {
		c.report("entry %s of %s: %w", e.ID, e.Domain, err)
	} else if !slices.Contains(m.domains, e.Domain) || m.size != e.Size {
		c.report("entry %s of %s is not what its message says", e.ID, e.Domain)
	}
}

// tallies: what is stored of each destination is the sum of its entries.
func (c *check) tallies() {
	c.walk(kindTally, func(key, value []byte) {
		domain := string(key[1:])
		stored, err := decodeTally(value)
		if err != nil {
			c.report("the counters of %s: %w", domain, err)
		} else if stored != c.tally[domain] {
			c.report("the counters of %s are %+v instead of %+v", domain, stored, c.tally[domain])
		}
		delete(c.tally, domain)
	})
	for domain, counts := range c.tally {
		c.report("the counters of %s are missing: %+v", domain, counts)
	}
}

// due: every entry that belongs into the index was found there, so an equal number leaves no other key.
func (c *check) due() {
	keys := int64(0)
	c.walk(kindDue, func(_, _ []byte) { keys++ })
	if keys != c.indexed {
		c.report("%d keys in the due index for %d entries", keys, c.indexed)
	}
}

// messages: each has all its octets, and no more domains than entries.
func (c *check) messages() {
	domains := int64(0)
	c.walk(kindMeta, func(key, value []byte) {
		id := envelope.ID(key[1:])
		m, err := decodeMeta(id, value)
		if err != nil {
			c.report("%w", err)
			return
		}
		domains += int64(len(m.domains))
		c.content(id, m)
	})
	if domains != c.entered {
		c.report("messages have %d domains for %d entries", domains, c.entered)
	}
}

func (c *check) content(id envelope.ID, m meta) {
	size := int64(0)
	for n := range m.chunks {
		octets, err := readChunk(nil, c.r, id, n)
		if err != nil {
			c.report("%w", err)
			return
		}
		size += int64(len(octets))
	}
	if m.body.length > 0 {
		c.bodies++
		if err := c.body(id, m.body); err != nil {
			c.report("%w", err)
		}
	}
	if size += m.body.length; size != m.size {
		c.report("message %s has %d octets instead of %d", id, size, m.size)
	}
}

// body: its segment lists it, and holds it.
func (c *check) body(id envelope.ID, p bodyPlace) error {
	listed, err := get(c.r, bodyKey(p))
	if err != nil || string(listed) != string(id) {
		return fmt.Errorf("message %s at %d of %s, which lists %q there: %v", id, p.offset, segmentName(p.segment), listed, err)
	}
	f, err := c.s.segments.openBody(p)
	if errors.Is(err, os.ErrNotExist) {
		if m, err := readMeta(c.s.db, id); errors.Is(err, ErrNotFound) || err == nil && m.body != p {
			return nil // it ended or moved meanwhile
		}
	}
	if err != nil {
		return fmt.Errorf("message %s: %w", id, err)
	}
	buf := make([]byte, frameSize)
	for n := int64(0); n < p.frames() && err == nil; n++ {
		_, err = p.frame(f, id, n, buf)
	}
	return errors.Join(err, f.Close())
}

// segments: every body that a message names was found listed, so an equal number leaves no other; none reaches into the
// next, and together they are what is counted as live.
func (c *check) segments() {
	listed := int64(0)
	live, last := map[int64]int64{}, bodyPlace{}
	c.walk(kindBody, func(key, value []byte) {
		listed++
		id := envelope.ID(value)
		m, err := readMeta(c.r, id)
		if err != nil || !bytes.Equal(bodyKey(m.body), key) {
			c.report("the body %q of message %s belongs to nothing: %v", key, id, err)
			return
		}
		if p := m.body; p.segment == last.segment && p.offset < last.offset+last.extent() {
			c.report("message %s begins within the one before, at %d of %s", id, p.offset, segmentName(p.segment))
		}
		last = m.body
		live[last.segment] += last.extent()
	})
	if listed != c.bodies {
		c.report("%d bodies are listed for %d messages", listed, c.bodies)
	}
	c.walk(kindLive, func(key, value []byte) {
		number := int64(binary.BigEndian.Uint64(key[1:]))
		if n := int64(binary.BigEndian.Uint64(value)); n != live[number] {
			c.report("%s has %d live octets, and %d are counted", segmentName(number), live[number], n)
		}
		delete(live, number)
	})
	for number, n := range live {
		c.report("%s has %d live octets that are not counted", segmentName(number), n)
	}
}

// chunks: each belongs to a message.
func (c *check) chunks() {
	last, chunks := []byte(nil), uint32(0)
	c.walk(kindChunk, func(key, _ []byte) {
		id := key[1 : len(key)-4]
		if !bytes.Equal(id, last) {
			last, chunks = bytes.Clone(id), c.owned(envelope.ID(id))
		}
		if n := binary.BigEndian.Uint32(key[len(key)-4:]); n >= chunks {
			c.report("chunk %d of message %s belongs to nothing", n, id)
		}
	})
}

// owned is how many chunks a message may have.
func (c *check) owned(id envelope.ID) uint32 {
	m, err := readMeta(c.r, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		c.report("%w", err)
	}
	return m.chunks
}

func (c *check) balance() {
	l := Ledger{Queued: c.queued}
	if err := loadLedger(c.r, &l); err != nil {
		c.report("%w", err)
		return
	}
	if l.arrived() != l.ended()+l.Queued {
		c.report("the books do not balance: %+v", l)
	}
}
