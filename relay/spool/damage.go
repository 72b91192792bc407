package spool

import (
	"errors"
	"fmt"
	"sync"

	"github.com/postrider/postrider/relay/envelope"
)

// aside are the keys of records that do not match their checksum. They stay where they are, for Salvage or a
// person to look at, and are passed over: an entry is neither listed nor due, and all others flow on.
type aside struct {
	mu   sync.Mutex
	keys map[string]struct{}
}

// add reports that the key is new.
func (a *aside) add(key []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.keys[string(key)]; known {
		return false
	}
	if a.keys == nil {
		a.keys = map[string]struct{}{}
	}
	a.keys[string(key)] = struct{}{}
	return true
}

// some is there, so that looking is worth the key.
func (a *aside) some() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.keys) > 0
}

func (a *aside) holds(key []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, found := a.keys[string(key)]
	return found
}

// setAside reports a damaged record, once, and passes any other error on. An entry is counted.
func (s *Store) setAside(key []byte, err error) error {
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	if !s.aside.add(key) {
		return nil
	}
	s.logger.event(RecordDamaged, fmt.Sprintf("record %q is kept aside: %v", key, err))
	if k, ok := parseEntryKey(key); ok {
		s.books.post(Ledger{}, []move{{key: k, counts: Counts{Damaged: 1}}})
	}
	return nil
}

// readEntryAside reads an entry; one that is damaged is kept aside from now on.
func (s *Store) readEntryAside(k envelope.Key) (envelope.Envelope, error) {
	e, err := readEntry(s.db, k)
	if err != nil {
		_ = s.setAside(entryKey(k), err) // the error is the caller's
	}
	return e, err
}

// keptAside says that an entry's record is damaged.
func (s *Store) keptAside(k envelope.Key) bool { return s.aside.some() && s.aside.holds(entryKey(k)) }
