package spool

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/postrider/postrider/relay/envelope"
)

// Draft is a message made here, a DSN, that is stored together with the change it reports.
type Draft struct {
	Content []byte
	Entries []envelope.Envelope
}

// Get reads an entry. ErrNotFound when there is none.
func (s *Store) Get(k envelope.Key) (envelope.Envelope, error) {
	if err := s.enter(); err != nil {
		return envelope.Envelope{}, err
	}
	defer s.leave()
	return s.readEntryAside(k)
}

// Begin records that an attempt begins now: it is counted, and the entry is due again only after
// envelope.AttemptLease. The record is on its way to the disk when Begin returns, and Begin does not wait for it: only
// a crash of the machine within the next milliseconds forgets the attempt. ErrHeld when an admin holds the entry.
func (s *Store) Begin(k envelope.Key, now time.Time) (envelope.Envelope, error) {
	return s.alter(k, soon, func(e *envelope.Envelope) error {
		if e.Held != "" {
			return fmt.Errorf("entry %s of %s: %w", k.ID, k.Domain, ErrHeld)
		}
		for i := range e.Recipients {
			e.Recipients[i] = e.Recipients[i].Begin(now)
		}
		return nil
	})
}

// Postpone moves entries that are due to a later time each, as to says; one that has gone meanwhile is passed over.
// It does not sync: what a crash forgets is due again earlier.
func (s *Store) Postpone(keys []envelope.Key, to func() time.Time) error {
	for _, k := range keys {
		due := to()
		_, err := s.alter(k, later, func(e *envelope.Envelope) error {
			for i := range e.Recipients {
				if e.Recipients[i].Due.Before(due) {
					e.Recipients[i].Due = due
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// PullIn moves what of the entries is due later than mail may be after so many attempts to an earlier time, and returns
// of how many; one that has gone meanwhile is passed over. It does not sync: what a crash forgets is pulled in again.
func (s *Store) PullIn(keys []envelope.Key, latest func(attempts int) time.Time, to time.Time) (int, error) {
	moved := 0
	for _, k := range keys {
		_, err := s.alter(k, later, func(e *envelope.Envelope) error { return pullIn(e, latest, to) })
		switch {
		case err == nil:
			moved++
		case !errors.Is(err, ErrNotFound) && !errors.Is(err, errAsItIs):
			return moved, err
		}
	}
	return moved, nil
}

// errAsItIs says that there was nothing to change.
var errAsItIs = errors.New("unchanged")

func pullIn(e *envelope.Envelope, latest func(attempts int) time.Time, to time.Time) error {
	err := errAsItIs
	for i := range e.Recipients {
		if r := &e.Recipients[i]; r.Due.After(latest(r.Attempts)) {
			r.Due, err = to, nil
		}
	}
	return err
}

// alter changes an entry without ending any of its recipients.
func (s *Store) alter(k envelope.Key, d durability, f func(*envelope.Envelope) error) (envelope.Envelope, error) {
	if err := s.enter(); err != nil {
		return envelope.Envelope{}, err
	}
	defer s.leave()
	defer s.locks.lock(k.ID)()
	before, err := s.readEntryAside(k)
	if err != nil {
		return envelope.Envelope{}, err
	}
	after := clone(before)
	if err := f(&after); err != nil {
		return envelope.Envelope{}, err
	}
	t := s.begin()
	defer t.close()
	t.replace(&before, &after)
	return after, t.commit(d)
}

// Change lets f change an entry and stores the result, synced, in one batch: recipients that f brought to a final
// state are counted in the ledger and leave the record; with the last one the entry goes, with the last entry the
// message. Drafts that f returns are stored in the same batch, under ids of their own. When f fails nothing is stored.
//
// after is the entry as it is now, with no recipients when it is gone. f is called at most once, under the
// message's lock; it must not call the store.
func (s *Store) Change(k envelope.Key, f func(e *envelope.Envelope) ([]Draft, error)) (after envelope.Envelope, created []envelope.Envelope, err error) {
	if err := s.enter(); err != nil {
		return envelope.Envelope{}, nil, err
	}
	defer s.leave()
	defer s.locks.lock(k.ID)()
	before, err := s.readEntryAside(k)
	if err != nil {
		return envelope.Envelope{}, nil, err
	}
	after = clone(before)
	drafts, err := f(&after)
	if err != nil {
		return envelope.Envelope{}, nil, err
	}
	t := s.begin()
	defer t.close()
	if err := t.change(&before, &after); err != nil {
		return envelope.Envelope{}, nil, fmt.Errorf("spool: change entry %s of %s: %w", k.ID, k.Domain, err)
	}
	for _, d := range drafts {
		entries, err := t.draft(d)
		if err != nil {
			return envelope.Envelope{}, nil, fmt.Errorf("spool: draft for entry %s of %s: %w", k.ID, k.Domain, err)
		}
		created = append(created, entries...)
	}
	if err := t.commit(synced); err != nil {
		return envelope.Envelope{}, nil, err
	}
	return after, created, nil
}

func clone(e envelope.Envelope) envelope.Envelope {
	e.Recipients = slices.Clone(e.Recipients)
	return e
}
