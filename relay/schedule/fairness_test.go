package schedule

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/rate"
	"github.com/postrider/postrider/relay/spool"
)

func TestTenantsTakeTurns(t *testing.T) {
	f := newShelf(t)
	one := func(context.Context, string, string) (string, []string) { return "mx.example", nil }
	simulate(t, Options{Store: f, Site: one}, nil, func(s *Scheduler, _ *rate.Limiter) {
		s.Wake(f.put(200, "bulk.example", "a.example", time.Now())...)
		s.Wake(f.put(10, "reset.example", "b.example", time.Now())...)
		try(s) // the turns begin, with either: whose site is known first is chance
		got := map[string]int{}
		for range 10 {
			job := must(t, s)
			got[job.SenderDomain]++
			s.Done(job)
		}
		if got["reset.example"] != 5 {
			t.Errorf("of 10 attempts %v; want 5 for either", got)
		}
	})
}

// TestSlowSitesLeaveSlots fills slots with sites whose attempts never end.
func TestSlowSitesLeaveSlots(t *testing.T) {
	f := newShelf(t)
	o := Options{Store: f, MaxInFlight: 100}
	simulate(t, o, nil, func(s *Scheduler, _ *rate.Limiter) {
		for i := range 20 {
			s.Wake(f.put(30, "acme.example", fmt.Sprintf("slow%d.example", i), time.Now())...)
		}
		sites := map[string]int{}
		for job := try(s); job != nil; job = try(s) {
			sites[job.Site]++
		}
		for name, n := range sites {
			if n > 20 {
				t.Errorf("%d connections to %s", n, name)
			}
		}
		if len(sites) != 20 || s.free() == 0 {
			t.Fatalf("%d sites took turns and left %d slots", len(sites), s.free())
		}
		s.Wake(f.put(1, "acme.example", "healthy.example", time.Now())...)
		if job := try(s); job == nil || job.Site != "healthy.example" {
			t.Errorf("a healthy site gets %+v, want a slot at once", job)
		}
	})
}

func TestConnectionsPerSite(t *testing.T) {
	f := newShelf(t)
	simulate(t, Options{Store: f}, nil, func(s *Scheduler, _ *rate.Limiter) {
		s.Wake(f.put(50, "acme.example", "a.example", time.Now())...)
		n := 0
		for job := try(s); job != nil; job = try(s) {
			n++
		}
		if n != 20 {
			t.Errorf("%d connections to a site, want 20", n)
		}
	})
}

func TestASiteIsGivenItsMailSlowly(t *testing.T) {
	f := newShelf(t)
	simulate(t, Options{Store: f, MaxConnectionsPerSite: 4}, nil, func(s *Scheduler, _ *rate.Limiter) {
		s.Limit("slow.example", 1) // before anything is known of it
		s.Wake(f.put(10, "s.example", "slow.example", time.Now())...)
		var jobs []*Job
		for _, step := range []struct{ limit, jobs int }{{1, 1}, {3, 3}, {100, 4}, {2, 4}} {
			s.Limit("slow.example", step.limit)
			for job := try(s); job != nil; job = try(s) {
				jobs = append(jobs, job)
			}
			if len(jobs) != step.jobs {
				t.Fatalf("limited to %d: %d jobs, want %d", step.limit, len(jobs), step.jobs)
			}
		}
		for _, job := range jobs[:2] {
			f.remove(job.Key)
			s.Done(job)
		}
		if job := try(s); job != nil {
			t.Error("more than the lower limit")
		}
		s.Limit("slow.example", 0)
		more := 0
		for try(s) != nil {
			more++
		}
		if more != 2 {
			t.Errorf("%d more without the limit, want 2", more)
		}
		if len(s.ceilings) != 0 {
			t.Errorf("remembered for ever: %v", s.ceilings)
		}
	})
}

func TestOldestFirst(t *testing.T) {
	store := newStore(t)
	now := time.Now()
	for i := range 2000 {
		add(t, store, 1, "acme.example", "a.example", now.Add(-time.Duration((i*7919)%2000)*time.Second))
	}
	s := start(t, Options{Store: store, MaxConnectionsPerSite: 1})
	var last time.Time
	for i := range 2000 {
		job := next(t, s)
		e, err := store.Begin(job.Key, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if e.Accepted.Before(last) {
			t.Fatalf("entry %d, due %v, came after one due %v", i, e.Accepted, last)
		}
		last = e.Accepted
		settleAs(t, store, job, 250)
		s.Done(job)
	}
}

// TestBlackHole has a hundred thousand entries of one destination wait, refused at every attempt, and mail for
// others flow beside them in bounded memory.
func TestBlackHole(t *testing.T) {
	store := newStore(t)
	add(t, store, blackHole, "bulk.example", "refused.example", time.Now())
	s := start(t, Options{Store: store})
	arrived := make(chan envelope.Key, 100)
	var refused atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	for range 30 {
		workers.Go(func() {
			for job, err := s.Next(ctx); err == nil; job, err = s.Next(ctx) {
				attempt(t, store, job, arrived, &refused)
				s.Done(job)
			}
		})
	}
	for i := range 100 {
		stored := add(t, store, 1, "reset.example", fmt.Sprintf("healthy%d.example", i%7), time.Now())
		before := refused.Load()
		s.Wake(stored...)
		<-arrived
		if n := refused.Load() - before; n > blackHole/20 {
			t.Errorf("%d others were attempted before mail for a healthy destination", n)
		}
		if n := s.inMemory(); n > 1000+40 {
			t.Fatalf("%d entries in memory", n)
		}
	}
	cancel()
	workers.Wait()
	if refused.Load() == 0 {
		t.Error("nothing was refused: the test proves nothing")
	}
}

// attempt refuses what is for refused.example and tells of the rest.
func attempt(t *testing.T, store *spool.Store, job *Job, arrived chan<- envelope.Key, refused *atomic.Int64) {
	switch _, err := store.Begin(job.Key, time.Now()); {
	case errors.Is(err, spool.ErrNotFound):
		return // a scan was faster than Wake, see Job
	case err != nil:
		t.Error(err)
		return
	}
	if job.Site == "refused.example" {
		refused.Add(1)
		settleAs(t, store, job, 451)
		return
	}
	settleAs(t, store, job, 250)
	arrived <- job.Key
}

func (s *Scheduler) inMemory() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// TestNothingIsLost does random things at random times; in the end every entry was delivered, none twice at once.
func TestNothingIsLost(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { storm(t, seed) })
	}
}

func storm(t *testing.T, seed uint64) {
	store := newStore(t)
	limiter := rate.New(time.Now)
	var flying sync.Map
	s := start(t, Options{Store: store, Limiter: limiter, ReadyPerSite: 20, MaxReady: 60, MaxInFlight: 12,
		MaxConnectionsPerSite: 4, Site: func(_ context.Context, _, domain string) (string, []string) { return domain[:1], nil }})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for job, err := s.Next(ctx); err == nil; job, err = s.Next(ctx) {
				if _, twice := flying.LoadOrStore(job.Key, true); twice {
					t.Errorf("%v is in flight twice", job.Key)
				}
				stormAttempt(t, store, job, r)
				flying.Delete(job.Key)
				s.Done(job)
			}
		})
	}
	for w := range 3 {
		all.Go(func() { stormSend(t, s, store, limiter, rand.New(rand.NewPCG(seed, uint64(100+w)))) })
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if l := store.Ledger(); l.Accepted == 3*stormSends && l.Queued == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("not delivered: %+v; %s", store.Totals(), dump(s))
			break
		}
		s.Reconsider() // the entries that were deferred are due at once
	}
	cancel()
	all.Wait()
	if left := s.inMemory(); left != 0 {
		t.Errorf("%d entries left in memory", left)
	}
}

const (
	blackHole  = 100_000
	stormSends = 700
)

// stormAttempt delivers, defers, or does nothing.
func stormAttempt(t *testing.T, store *spool.Store, job *Job, r *rand.Rand) {
	if r.IntN(10) == 0 {
		return
	}
	_, _, err := store.Change(job.Key, func(e *envelope.Envelope) ([]spool.Draft, error) {
		for i := range e.Recipients {
			if r.IntN(4) == 0 {
				e.Recipients[i].Due = time.Now().Add(time.Duration(r.IntN(3000)) * time.Microsecond)
			} else {
				e.Recipients[i].State = envelope.Delivered
			}
		}
		return nil, nil
	})
	// A scan may find an entry, and have it delivered, before its sender tells of it.
	if err != nil && !errors.Is(err, spool.ErrNotFound) {
		t.Errorf("%v was handed out: %v", job.Key, err)
	}
}

// stormSend accepts mail, tells of it or not, and configures limits anew.
func stormSend(t *testing.T, s *Scheduler, store *spool.Store, limiter *rate.Limiter, r *rand.Rand) {
	for i := range stormSends {
		domain := fmt.Sprintf("%c%d.example", 'a'+r.IntN(3), r.IntN(3))
		stored := add(t, store, 1, fmt.Sprintf("s%d.example", r.IntN(3)), domain, time.Now())
		if r.IntN(10) > 0 {
			s.Wake(stored...)
		}
		if i%100 == 0 {
			limiter.Configure([]config.RatePolicy{
				{Name: "p", Stage: config.StageDelivery, Key: config.KeySite, MaxConnections: 1 + r.IntN(3)},
				{Name: "q", Stage: config.StageDelivery, Key: config.KeySenderDomain, Messages: 2000, PerSeconds: 1, Burst: 1 + r.IntN(9)},
			}[:r.IntN(3)])
			s.Reconsider()
		}
	}
}

func TestShutdownLeavesNothing(t *testing.T) {
	f := newShelf(t)
	before := runtime.NumGoroutine()
	limiter := rate.New(time.Now)
	blocked := func(ctx context.Context, _, domain string) (string, []string) { <-ctx.Done(); return domain, nil }
	s := New(Options{Store: f, Limiter: limiter, Site: blocked})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	for range 10 {
		running.Go(func() {
			if job, err := s.Next(ctx); err != context.Canceled {
				t.Errorf("Next: %v, %v", job, err)
			}
		})
	}
	for i := range 200 {
		s.Wake(f.put(1, "acme.example", fmt.Sprintf("d%d.example", i), time.Now())...)
	}
	cancel()
	running.Wait()
	if _, err := s.Next(ctx); err != context.Canceled {
		t.Errorf("Next after the end: %v", err)
	}
	if s.callers.Len() != 0 {
		t.Errorf("%d callers kept", s.callers.Len())
	}
	for i := 0; runtime.NumGoroutine() > before && i < 100; i++ {
		time.Sleep(time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}
