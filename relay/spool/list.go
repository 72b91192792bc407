package spool

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postrider/postrider/relay/envelope"
)

// Filter selects entries. Every field that is set must match.
type Filter struct {
	ID     envelope.ID
	Domain string
	// Sender is the reverse path, or its domain or the SendingDomain when it holds no "@".
	Sender string
	// Held selects by whether an admin holds the entry.
	Held *bool
}

// List pages through the entries in order of domain and id, beginning behind after; the zero Key is the beginning.
// A page shorter than limit is the last.
func (s *Store) List(f Filter, after envelope.Key, limit int) ([]envelope.Envelope, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if f.ID != "" {
		return s.listMessage(f, after, limit)
	}
	lower, upper := f.bounds(after)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("list the spool: %w", err)
	}
	var page []envelope.Envelope
	for it.First(); it.Valid() && len(page) < limit && err == nil; it.Next() {
		var e envelope.Envelope
		if e, err = entryAt(it); err != nil {
			err = s.setAside(it.Key(), err)
		} else if f.matches(&e) {
			page = append(page, e)
		}
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return nil, fmt.Errorf("list the spool: %w", err)
	}
	return page, nil
}

// listMessage finds a message's entries without a search.
func (s *Store) listMessage(f Filter, after envelope.Key, limit int) ([]envelope.Envelope, error) {
	m, err := readMeta(s.db, f.ID)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var page []envelope.Envelope
	slices.Sort(m.domains)
	for _, domain := range m.domains {
		k := envelope.Key{ID: f.ID, Domain: domain}
		if len(page) == limit || !follows(k, after) {
			continue
		}
		e, err := s.readEntryAside(k)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
			continue // it went since, or is kept aside
		}
		if err != nil {
			return nil, err
		}
		if f.matches(&e) {
			page = append(page, e)
		}
	}
	return page, nil
}

func follows(k, after envelope.Key) bool {
	return k.Domain > after.Domain || k.Domain == after.Domain && k.ID > after.ID
}

func entryAt(it *pebble.Iterator) (envelope.Envelope, error) {
	k, ok := parseEntryKey(it.Key())
	value, err := it.ValueAndErr()
	if err == nil && !ok {
		err = fmt.Errorf("key %q: %w", it.Key(), ErrDamaged)
	}
	if err != nil {
		return envelope.Envelope{}, err
	}
	return decodeEntry(k, value)
}

// bounds are the keys between which a match can stand.
func (f Filter) bounds(after envelope.Key) (lower, upper []byte) {
	lower, upper = []byte{kindEntry}, []byte{kindEntry + 1}
	if f.Domain != "" {
		lower = entryKey(envelope.Key{Domain: f.Domain})
		upper = append(append([]byte{kindEntry}, f.Domain...), 1)
	}
	if after == (envelope.Key{}) {
		return lower, upper
	}
	if next := append(entryKey(after), 0); string(next) > string(lower) {
		lower = next
	}
	return lower, upper
}

func (f Filter) matches(e *envelope.Envelope) bool {
	return (f.Domain == "" || f.Domain == e.Domain) &&
		(f.Held == nil || *f.Held == (e.Held != "")) &&
		(f.Sender == "" || f.sentBy(e))
}

func (f Filter) sentBy(e *envelope.Envelope) bool {
	if strings.Contains(f.Sender, "@") {
		return strings.EqualFold(f.Sender, e.ReversePath)
	}
	_, domain, _ := strings.Cut(e.ReversePath[max(strings.LastIndex(e.ReversePath, "@"), 0):], "@")
	return strings.EqualFold(f.Sender, domain) || strings.EqualFold(f.Sender, e.Tenant)
}
