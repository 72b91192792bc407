package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postrider/postrider/relay/envelope"
)

// Counts are recipients in the queue.
type Counts struct {
	// Queued is all of them: waiting, deferred and held.
	Queued int64
	// Deferred have been attempted at least once.
	Deferred int64
	// Held are kept back by an admin.
	Held int64
	// Damaged are entries, not recipients, whose record was found to be damaged: they are kept aside. Their recipients
	// count as queued. In the total, tables that Verify found to be damaged count, too.
	Damaged int64
}

// Ledger counts recipients since the spool was made.
// Accepted + HandedIn = Delivered + Queued + Failed + Suppressed + Removed + HandedOut.
type Ledger struct {
	// HandedIn came from the spool of another pod, which had accepted them; HandedOut went to one.
	Accepted, HandedIn, Delivered, Queued, Failed, Suppressed, Removed, HandedOut int64
}

// Destination is what is queued for one domain.
type Destination struct {
	Domain string
	Counts
	// Oldest is when the oldest of its messages was accepted, to the millisecond.
	Oldest time.Time
}

func (c Counts) plus(d Counts) Counts {
	return Counts{c.Queued + d.Queued, c.Deferred + d.Deferred, c.Held + d.Held, c.Damaged + d.Damaged}
}

func (c Counts) minus(d Counts) Counts {
	return Counts{c.Queued - d.Queued, c.Deferred - d.Deferred, c.Held - d.Held, c.Damaged - d.Damaged}
}

// countsOf counts the recipients of an entry, all queued; nil counts nothing.
func countsOf(e *envelope.Envelope) (c Counts) {
	if e == nil {
		return c
	}
	c.Queued = int64(len(e.Recipients))
	for i := range e.Recipients {
		if e.Recipients[i].Attempts > 0 {
			c.Deferred++
		}
	}
	if e.Held != "" {
		c.Held = c.Queued
	}
	return c
}

// stored are the counters that cannot be derived from the entries, with their names on disk.
func (l *Ledger) stored() [7]counter {
	return [7]counter{
		{"accepted", &l.Accepted},
		{counterHandedIn, &l.HandedIn},
		{"delivered", &l.Delivered},
		{"failed", &l.Failed},
		{"suppressed", &l.Suppressed},
		{"removed", &l.Removed},
		{"handedOut", &l.HandedOut},
	}
}

// counterHandedIn is the name of a counter that not every spool has.
const counterHandedIn = "handedIn"

type counter struct {
	name string
	n    *int64
}

// count books a recipient that reached a final state.
func (l *Ledger) count(d envelope.Disposition) error {
	switch d {
	case envelope.Delivered:
		l.Delivered++
	case envelope.Failed:
		l.Failed++
	case envelope.Suppressed:
		l.Suppressed++
	case envelope.Removed:
		l.Removed++
	default:
		return fmt.Errorf("unknown disposition %q", d)
	}
	return nil
}

// arrived are the recipients that ever were in the queue.
func (l *Ledger) arrived() int64 { return l.Accepted + l.HandedIn }

// ended are the recipients that are no longer in the queue.
func (l *Ledger) ended() int64 {
	return l.Delivered + l.Failed + l.Suppressed + l.Removed + l.HandedOut
}

func (l *Ledger) add(d Ledger) {
	l.Accepted += d.Accepted
	l.HandedIn += d.HandedIn
	l.Delivered += d.Delivered
	l.Queued += d.Queued
	l.Failed += d.Failed
	l.Suppressed += d.Suppressed
	l.Removed += d.Removed
	l.HandedOut += d.HandedOut
}

// Totals counts the whole queue.
func (s *Store) Totals() Counts {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	return s.books.total
}

// Ledger is the balance at this moment.
func (s *Store) Ledger() Ledger {
	s.books.mu.Lock()
	defer s.books.mu.Unlock()
	return s.books.ledger
}

// loadLedger reads the counters that are stored; Queued stays as it is.
func loadLedger(r pebble.Reader, l *Ledger) error {
	for _, c := range l.stored() {
		value, err := get(r, counterKey(c.name))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil || len(value) != 8 {
			return fmt.Errorf("counter %s: %w", c.name, errors.Join(err, ErrDamaged))
		}
		*c.n = int64(binary.BigEndian.Uint64(value))
	}
	return nil
}

// adder merges counters: one, or several of 8 octets each that stand side by side. Its name is on disk. It cannot let go
// of those that came to zero: pebble v2.1.7 panics in a compaction when a merge with a value below comes to nothing.
var adder = &pebble.Merger{
	Name: "postrider.add.1",
	Merge: func(_, value []byte) (pebble.ValueMerger, error) {
		s := new(sum)
		return s, s.MergeNewer(value)
	},
}

type sum struct {
	n     [maxCounters]int64
	width int
}

// maxCounters is how many may stand side by side.
const maxCounters = 3

func (s *sum) MergeNewer(value []byte) error {
	width := len(value) / 8
	if len(value)%8 != 0 || width == 0 || width > maxCounters || s.width != 0 && s.width != width {
		return fmt.Errorf("counter of %d octets: %w", len(value), ErrDamaged)
	}
	s.width = width
	for i := range width {
		s.n[i] += int64(binary.BigEndian.Uint64(value[8*i:]))
	}
	return nil
}

func (s *sum) MergeOlder(value []byte) error { return s.MergeNewer(value) }

func (s *sum) Finish(bool) ([]byte, io.Closer, error) {
	value := make([]byte, 0, 8*maxCounters)
	for _, n := range s.n[:s.width] {
		value = binary.BigEndian.AppendUint64(value, uint64(n))
	}
	return value, nil, nil
}
