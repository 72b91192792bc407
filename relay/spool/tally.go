package spool

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/postrider/postrider/relay/envelope"
)

// tallied is the first schema in which what is queued for each destination is stored with every change of it, so that
// Open need not count the entries.
const tallied = 3

// encodeTally lays out what is added to a destination's counters: 8 octets for each.
func encodeTally(c Counts) []byte {
	b := make([]byte, 0, 24)
	for _, n := range [...]int64{c.Queued, c.Deferred, c.Held} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return b
}

func decodeTally(b []byte) (Counts, error) {
	if len(b) != 24 {
		return Counts{}, fmt.Errorf("counters of %d octets: %w", len(b), ErrDamaged)
	}
	at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	return Counts{Queued: at(0), Deferred: at(1), Held: at(2)}, nil
}

// tallies adds what the batch changes for each destination. Changes of one destination mostly stand together.
func (t *tx) tallies() {
	for i := 0; i < len(t.moves); {
		domain, sum := t.moves[i].key.Domain, Counts{}
		for ; i < len(t.moves) && t.moves[i].key.Domain == domain; i++ {
			sum = sum.plus(t.moves[i].counts)
		}
		if sum != (Counts{}) {
			t.merge(tallyKey(domain), encodeTally(sum))
		}
	}
}

// loadBooks reads the stored counters. What is queued for each destination is counted from the entries where a spool of
// an older program has no such counters, and where they contradict the ledger.
func (s *Store) loadBooks(version int) error {
	s.books.tally = map[string]*tally{}
	if err := loadLedger(s.db, &s.books.ledger); err != nil {
		return err
	}
	if version < tallied {
		return s.count()
	}
	fit, err := s.loadTallies()
	if err != nil || fit {
		return err
	}
	s.logger.event(RecordDamaged, "the counters of the destinations contradict the ledger: the entries are counted")
	return s.count()
}

// loadTallies reads what is queued for each destination, and says whether it is what the ledger says. The counters of
// those for which nothing is queued any more go.
func (s *Store) loadTallies() (fit bool, err error) {
	sound := true
	t := s.begin()
	defer t.close()
	err = scan(s.db, kindTally, func(key, value []byte) error {
		c, err := decodeTally(value)
		sound = sound && err == nil && min(c.Queued, c.Deferred, c.Held) >= 0
		if c == (Counts{}) {
			t.delete(key)
		} else {
			s.books.load(string(key[1:]), c)
		}
		return nil
	})
	l := &s.books.ledger
	l.Queued = s.books.total.Queued
	if err == nil && !t.batch.Empty() {
		err = t.commit(later)
	}
	return sound && l.arrived() == l.ended()+l.Queued, err
}

// load takes in what was stored of a destination. Its oldest mail is looked for when somebody asks.
func (b *books) load(domain string, c Counts) {
	b.total = b.total.plus(c)
	b.tally[domain] = &tally{Counts: c, first: first{seen: newestID}}
}

// count counts all entries, and stores the result.
func (s *Store) count() error {
	s.books.total, s.books.tally = Counts{}, map[string]*tally{}
	err := scan(s.db, kindEntry, func(key, value []byte) error {
		c, err := decodeCounts(key, value)
		k, ok := parseEntryKey(key)
		if !ok {
			err = ErrDamaged
		}
		if err != nil {
			return s.setAside(key, fmt.Errorf("entry %s of %s: %w", k.ID, k.Domain, err))
		}
		s.books.apply(move{key: k, counts: c, created: true})
		return nil
	})
	if err != nil {
		return err
	}
	s.books.unread()
	t := s.begin()
	defer t.close()
	if err := t.batch.DeleteRange([]byte{kindTally}, []byte{kindTally + 1}, nil); err != nil {
		return err
	}
	for domain, c := range s.books.tally {
		t.set(tallyKey(domain), encodeTally(c.Counts))
	}
	return t.commit(synced)
}

// unread counts recipients that the ledger knows of and no record that can be read: those of entries kept aside.
func (b *books) unread() {
	missing := b.ledger.arrived() - b.ledger.ended() - b.total.Queued
	for _, domain := range slices.Sorted(maps.Keys(b.tally)) {
		if n := min(missing, b.tally[domain].Damaged); n > 0 {
			b.apply(move{key: envelope.Key{Domain: domain}, counts: Counts{Queued: n}})
			missing -= n
		}
	}
	for domain, t := range b.tally { // how many each had is not known
		if t.Damaged > 0 && missing > 0 {
			b.apply(move{key: envelope.Key{Domain: domain}, counts: Counts{Queued: missing}})
			break
		}
	}
	b.ledger.Queued = b.total.Queued
}
