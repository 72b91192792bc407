// Package suppress owns the suppression lists: for each SendingDomain, the recipients whose mail failed for good
// lately and is not to be tried again for a while. It keeps them in a table of the spool, so that they survive a
// restart, and decides which failures count. It does not decide what becomes of mail for those who are listed.
package suppress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/relay/spool"
)

// Store keeps the lists: spool.Store. Lookup fails with spool.ErrNotFound where there is nothing.
type Store interface {
	Put(table, key string, value []byte) error
	Lookup(table, key string) ([]byte, error)
	Rows(table, after string, limit int) ([]spool.Row, error)
	Drop(table, key string) error
}

// table is the name of ours in the store.
const table = "suppressed"

// Entry is a recipient on the list of a SendingDomain.
type Entry struct {
	// Domain is the SendingDomain, in lower case.
	Domain string `json:"domain"`
	// Address is the recipient's as it was when it was listed. Two that differ only in the case of their letters are
	// one: RFC 5321 §2.4 lets a host tell them apart, and none is known that does.
	Address string `json:"address"`
	// Reason is the reply that it was listed for, or what an admin said.
	Reason string `json:"reason,omitempty"`
	// Since and Until say when it was listed, and until when it binds.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

func (e Entry) expired(now time.Time) bool { return !now.Before(e.Until) }

// List is the lists of all SendingDomains. It is safe for concurrent use.
type List struct {
	store Store
	// mu is held by whoever writes, so that an entry that is renewed is not swept.
	mu sync.Mutex
}

// New makes the lists that are kept in a store.
func New(store Store) *List { return &List{store: store} }

// key names an entry: a domain has no zero octet, so no two entries share one.
func key(domain, address string) string {
	return strings.ToLower(domain) + "\x00" + strings.ToLower(address)
}

// Add lists a recipient, in place of what was listed of it before. It is on stable storage when Add returns nil.
func (l *List) Add(e Entry) error {
	e.Domain = strings.ToLower(e.Domain)
	value, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("suppress %s: %w", e.Address, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.store.Put(table, key(e.Domain, e.Address), value)
}

// Merge takes up an entry of another pod, unless one that binds longer is there. It is on stable storage when Merge
// returns nil.
func (l *List) Merge(e Entry) error {
	value, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("suppress %s: %w", e.Address, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := key(e.Domain, e.Address)
	have, err := l.read(k)
	switch {
	case err == nil && !have.Until.Before(e.Until):
		return nil
	case err != nil && !errors.Is(err, spool.ErrNotFound):
		return err
	}
	return l.store.Put(table, k, value)
}

// Find returns what binds a recipient of mail sent as a domain; false when nothing does. What has expired goes.
func (l *List) Find(domain, address string, now time.Time) (Entry, bool, error) {
	k := key(domain, address)
	e, err := l.read(k)
	switch {
	case errors.Is(err, spool.ErrNotFound):
		return Entry{}, false, nil
	case err != nil:
		return Entry{}, false, err
	case e.expired(now):
		return Entry{}, false, l.expire(k, now)
	}
	return e, true, nil
}

func (l *List) read(k string) (Entry, error) {
	value, err := l.store.Lookup(table, k)
	if err != nil {
		return Entry{}, err
	}
	return decode(k, value)
}

func decode(k string, value []byte) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(value, &e); err != nil {
		return e, fmt.Errorf("suppression of %q: %w", k, err)
	}
	return e, nil
}

// expire removes an entry if it does not bind any more.
func (l *List) expire(k string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, err := l.read(k)
	if errors.Is(err, spool.ErrNotFound) {
		return nil
	}
	if err != nil || !e.expired(now) {
		return err
	}
	return l.store.Drop(table, k)
}

// Remove takes a recipient off the list of a domain; false when it was not there.
func (l *List) Remove(domain, address string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := key(domain, address)
	if _, err := l.store.Lookup(table, k); errors.Is(err, spool.ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, l.store.Drop(table, k)
}

// Page returns entries that bind, in order of domain and address, of one domain or, if that is empty, of all. It
// begins behind after, the next of the page before; next is empty on the last page.
func (l *List) Page(domain, after string, limit int, now time.Time) (page []Entry, next string, err error) {
	prefix := ""
	if domain != "" {
		prefix = key(domain, "")
	}
	for at := max(after, prefix); len(page) < limit; {
		rows, err := l.store.Rows(table, at, limit)
		if err != nil {
			return nil, "", err
		}
		for _, row := range rows {
			if !strings.HasPrefix(row.Key, prefix) {
				return page, "", nil
			}
			e, err := decode(row.Key, row.Value)
			if err != nil {
				return nil, "", err
			}
			if at = row.Key; !e.expired(now) {
				page = append(page, e)
			}
			if len(page) == limit {
				return page, at, nil
			}
		}
		if len(rows) < limit {
			break
		}
	}
	return page, "", nil
}

// sweepPage is how many entries a sweep looks at in one go.
const sweepPage = 1000

// Sweep removes the entries that have expired and says how many. It ends early when ctx is done, and passes over what it
// cannot read.
func (l *List) Sweep(ctx context.Context, now time.Time) (int, error) {
	swept, at := 0, ""
	var unswept error
	for ctx.Err() == nil {
		rows, err := l.store.Rows(table, at, sweepPage)
		if err != nil {
			return swept, err
		}
		for _, row := range rows {
			e, err := decode(row.Key, row.Value)
			if err == nil && e.expired(now) {
				err = l.expire(row.Key, now)
				swept++
			}
			unswept = errors.Join(unswept, err)
			at = row.Key
		}
		if len(rows) < sweepPage {
			break
		}
	}
	return swept, unswept
}
