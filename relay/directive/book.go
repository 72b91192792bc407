package directive

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/relay/spool"
)

// table is where directives are in the spool.
const table = "directives"

// Store is what a Book needs of the spool. What Put and Drop answered with nil is durable.
type Store interface {
	Put(table, key string, value []byte) error
	Drop(table, key string) error
	Rows(table, after string, limit int) ([]spool.Row, error)
}

var (
	// ErrTooMany says that there are Most directives already.
	ErrTooMany = errors.New("there are too many directives; end some first")
	// ErrNotFound says that there is no such directive.
	ErrNotFound = errors.New("no such directive")
)

// Book keeps directives, on disk and in memory. Its methods are safe for concurrent use.
type Book struct {
	store   Store
	mu      sync.Mutex // for changes
	current atomic.Pointer[Set]
}

// Open reads the directives that are stored.
func Open(store Store) (*Book, error) {
	rows, err := store.Rows(table, "", 2*Most)
	if err != nil {
		return nil, fmt.Errorf("read the directives: %w", err)
	}
	set := &Set{}
	for _, row := range rows {
		var d Directive
		if err := json.Unmarshal(row.Value, &d); err != nil {
			return nil, fmt.Errorf("read directive %s: %w", row.Key, err)
		}
		set.all = append(set.all, d)
	}
	slices.SortFunc(set.all, func(a, b Directive) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	b := &Book{store: store}
	b.current.Store(set)
	return b, nil
}

// Current is what is in force; it costs nothing to ask.
func (b *Book) Current() *Set { return b.current.Load() }

// Add puts an order in force. It is durable when Add returns nil.
func (b *Book) Add(o Order, now time.Time) (Directive, error) {
	if err := o.Check(); err != nil {
		return Directive{}, err
	}
	d := Directive{
		ID: strings.ToLower(rand.Text()[:8]), Act: o.Act, Scope: o.Scope, Reason: o.Reason, By: o.By,
		Since: now.UTC(), Until: now.Add(o.duration()).UTC(),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.Current().List()
	if len(all) >= Most {
		return Directive{}, ErrTooMany
	}
	if err := b.put(&d); err != nil {
		return Directive{}, err
	}
	b.current.Store(&Set{append(all, d)})
	return d, nil
}

// Merge takes up a directive of another pod as it is, so that it ends what it began there; one that is known, or over,
// is left alone. It is durable when Merge returns nil.
func (b *Book) Merge(d Directive, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.Current().List()
	if d.Over(now) && d.Act != Hold || slices.ContainsFunc(all, func(o Directive) bool { return o.ID == d.ID }) {
		return nil
	}
	if len(all) >= 2*Most { // each pod had its own; Open reads so many
		return ErrTooMany
	}
	if err := b.put(&d); err != nil {
		return err
	}
	b.current.Store(&Set{append(all, d)})
	return nil
}

// End takes a directive out of force before its time. What it did is still to be undone; then Drop follows.
func (b *Book) End(id string, now time.Time) (Directive, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.Current().List()
	i := slices.IndexFunc(all, func(d Directive) bool { return d.ID == id })
	if i < 0 {
		return Directive{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if !all[i].Over(now) {
		ended := now.UTC()
		all[i].Ended = &ended
		if err := b.put(&all[i]); err != nil {
			return Directive{}, err
		}
		b.current.Store(&Set{all})
	}
	return all[i], nil
}

// Drop forgets a directive that is over and undone.
func (b *Book) Drop(id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.store.Drop(table, id); err != nil {
		return fmt.Errorf("drop directive %s: %w", id, err)
	}
	b.current.Store(&Set{slices.DeleteFunc(b.Current().List(), func(d Directive) bool { return d.ID == id })})
	return nil
}

func (b *Book) put(d *Directive) error {
	value, err := json.Marshal(d)
	if err == nil {
		err = b.store.Put(table, d.ID, value)
	}
	if err != nil {
		return fmt.Errorf("store directive %s: %w", d.ID, err)
	}
	return nil
}
