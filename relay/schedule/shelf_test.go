package schedule

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/rate"
	"github.com/postrider/postrider/relay/spool"
)

// shelf is a due index in memory. It lets time be simulated, which a store with files does not.
type shelf struct {
	mu      sync.Mutex
	entries map[envelope.Key]envelope.Envelope
	due     [envelope.Classes][]spool.Item // in order
	places  map[string]spool.Item          // by cursor: what it stands behind
	reads   int
	made    int
}

func newShelf(*testing.T) *shelf {
	return &shelf{entries: map[envelope.Key]envelope.Envelope{}, places: map[string]spool.Item{}}
}

func (f *shelf) Due(c envelope.Class, from spool.Cursor, until time.Time, limit int) ([]spool.Item, spool.Cursor, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	behind, known := f.places[fmt.Sprint(from)]
	if !known {
		behind = spool.Item{Due: cursorTime(c, from), Key: envelope.Key{ID: "~"}}
	}
	first := f.after(c, behind)
	last := min(first+limit, f.after(c, spool.Item{Due: until, Key: envelope.Key{ID: "~"}}))
	if last <= first {
		return nil, from, nil
	}
	items := slices.Clone(f.due[c][first:last])
	after := spool.After(c, time.Unix(0, int64(len(f.places)))) // any will do that nobody else makes
	f.places[fmt.Sprint(after)] = items[len(items)-1]
	return items, after, nil
}

// cursorTime is what a cursor stands behind that was made by spool.After.
func cursorTime(c envelope.Class, from spool.Cursor) time.Time {
	if fmt.Sprint(from) == fmt.Sprint(spool.Cursor{}) {
		return time.Time{}
	}
	low, high := int64(0), int64(1)<<62
	for low < high {
		middle := low + (high-low)/2
		if fmt.Sprintf("%020x", spool.After(c, time.Unix(0, middle))) < fmt.Sprintf("%020x", from) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return time.Unix(0, low)
}

// after is where the first stands that comes after an item.
func (f *shelf) after(c envelope.Class, behind spool.Item) int {
	n, _ := slices.BinarySearchFunc(f.due[c], behind, func(i, behind spool.Item) int {
		return cmp.Or(i.Due.Compare(behind.Due), strings.Compare(string(i.Key.ID), string(behind.Key.ID)), -1)
	})
	return n
}

func (f *shelf) Postpone(keys []envelope.Key, to func() time.Time) error {
	for _, k := range keys {
		f.move(k, to())
	}
	return nil
}

func (f *shelf) PullIn(keys []envelope.Key, latest func(int) time.Time, to time.Time) (int, error) {
	moved := 0
	for _, k := range keys {
		if e := f.get(k); len(e.Recipients) > 0 && e.Due().After(latest(e.Attempts())) {
			f.move(k, to)
			moved++
		}
	}
	return moved, nil
}

func (f *shelf) get(k envelope.Key) envelope.Envelope {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.entries[k]
}

// move changes when an entry is due.
func (f *shelf) move(k envelope.Key, due time.Time) {
	e := f.get(k)
	f.remove(k)
	e.Recipients = slices.Clone(e.Recipients)
	e.Recipients[0].Due = due
	f.insert(e)
}

// begin records an attempt, as the relay does.
func (f *shelf) begin(k envelope.Key, now time.Time) {
	e := f.get(k)
	e.Recipients = slices.Clone(e.Recipients)
	e.Recipients[0] = e.Recipients[0].Begin(now)
	f.remove(k)
	f.insert(e)
}

func (f *shelf) insert(e envelope.Envelope) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := e.Class()
	f.entries[e.Key()] = e
	item := itemOf(&e)
	f.due[c] = slices.Insert(f.due[c], f.after(c, item), item)
}

func itemOf(e *envelope.Envelope) spool.Item {
	return spool.Item{Key: e.Key(), Due: e.Due().Round(0), SenderDomain: e.SenderDomain()}
}

func (f *shelf) readings() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads
}

func (f *shelf) remove(k envelope.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, known := f.entries[k]
	if !known {
		return
	}
	delete(f.entries, k)
	c := e.Class()
	at := f.after(c, itemOf(&e))
	f.due[c] = slices.Delete(f.due[c], at-1, at)
}

// put stores n entries and returns them.
func (f *shelf) put(n int, sender, domain string, due time.Time) []envelope.Envelope {
	return f.putAs(0, n, sender, domain, due)
}

// putAs stores n entries of a priority and returns them.
func (f *shelf) putAs(priority, n int, sender, domain string, due time.Time) []envelope.Envelope {
	var all []envelope.Envelope
	for range n {
		e := newEntry(sender, domain, due)
		e.ID, e.Priority = envelope.ID(fmt.Sprintf("%08d", f.made)), priority
		f.made++
		f.insert(e)
		all = append(all, e)
	}
	return all
}

// simulate runs f beside a running scheduler, in simulated time.
func simulate(t *testing.T, o Options, policies []config.RatePolicy, f func(s *Scheduler, l *rate.Limiter)) {
	synctest.Test(t, func(t *testing.T) {
		o.Limiter = rate.New(time.Now)
		o.Limiter.Configure(policies)
		if o.Site == nil {
			o.Site = ownSite
		}
		s := New(o)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := s.Run(ctx); err != context.Canceled {
				t.Errorf("Run: %v", err)
			}
		})
		f(s, o.Limiter)
		cancel()
		running.Wait()
	})
}

// try is a job that is there at once, or nil.
func try(s *Scheduler) *Job {
	synctest.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	job, _ := s.Next(ctx)
	return job
}

// must is a job that comes within an hour of simulated time.
func must(t *testing.T, s *Scheduler) *Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	job, err := s.Next(ctx)
	if err != nil {
		t.Fatalf("no job within an hour; %s", dump(s))
	}
	return job
}
