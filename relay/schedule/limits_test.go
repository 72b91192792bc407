package schedule

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/rate"
	"github.com/postrider/postrider/relay/spool"
)

func perSite(name string) config.RatePolicy {
	return config.RatePolicy{Name: name, Stage: config.StageDelivery, Key: config.KeySite}
}

func TestRateIsKeptAndUsed(t *testing.T) {
	f := newShelf(t)
	p := perSite("ns/slow")
	p.Messages, p.PerSeconds, p.Burst = 2, 1, 3
	simulate(t, Options{Store: f}, []config.RatePolicy{p}, func(s *Scheduler, _ *rate.Limiter) {
		s.Wake(f.put(13, "acme.example", "a.example", time.Now())...)
		began := time.Now()
		for i := range 13 {
			job := must(t, s)
			want := time.Duration(max(0, i-2)) * 500 * time.Millisecond
			if at := time.Since(began); at != want {
				t.Errorf("message %d went after %v, want %v", i, at, want)
			}
			if i == 5 {
				w := s.Waiting()["a.example"]
				if w.Reason != RateLimited || w.Policy != "ns/slow" || !w.Since.Equal(began) {
					t.Errorf("waiting: %+v, want limited by ns/slow since the beginning", w)
				}
			}
			f.remove(job.Key)
			s.Done(job)
		}
	})
}

// TestLimitOnOneDestinationHoldsUpNoOther has all mail at one site, from one sender.
func TestLimitOnOneDestinationHoldsUpNoOther(t *testing.T) {
	f := newShelf(t)
	p := perSite("p")
	p.Messages, p.PerSeconds, p.Burst, p.DestinationDomains = 1, 3600, 1, []string{"slow.example"}
	one := func(context.Context, string, string) (string, []string) { return "mx.example", nil }
	simulate(t, Options{Store: f, Site: one}, []config.RatePolicy{p}, func(s *Scheduler, _ *rate.Limiter) {
		now := time.Now()
		s.Wake(f.put(10, "acme.example", "slow.example", now)...)
		s.Wake(f.put(10, "acme.example", "fast.example", now)...)
		got := map[string]int{}
		for job := try(s); job != nil; job = try(s) {
			got[job.Key.Domain]++
			f.remove(job.Key)
			s.Done(job)
		}
		if got["fast.example"] != 10 || got["slow.example"] != 1 {
			t.Errorf("went at once: %v; want all fast and one slow", got)
		}
	})
}

func TestReleaseLetsTheNextSiteGo(t *testing.T) {
	f := newShelf(t)
	p := perSite("tenant")
	p.Key, p.MaxConnections = config.KeySenderDomain, 2
	simulate(t, Options{Store: f}, []config.RatePolicy{p}, func(s *Scheduler, _ *rate.Limiter) {
		for i := range 100 {
			s.Wake(f.put(1, "acme.example", fmt.Sprintf("d%d.example", i), time.Now())...)
		}
		jobs := []*Job{must(t, s), must(t, s)}
		if job := try(s); job != nil {
			t.Fatalf("a third connection: %+v", job)
		}
		for range 98 {
			f.remove(jobs[0].Key)
			s.Done(jobs[0])
			job := try(s)
			if job == nil {
				t.Fatalf("a released connection is not used; %s", dump(s))
			}
			jobs = append(jobs[1:], job)
			if extra := try(s); extra != nil {
				t.Fatal("one release let two go")
			}
		}
	})
}

// TestDeliveredFreesTheConnectionNotTheSlot: while an outcome is being stored, the next entry goes, up to MaxInFlight.
func TestDeliveredFreesTheConnectionNotTheSlot(t *testing.T) {
	f := newShelf(t)
	o := Options{Store: f, MaxConnectionsPerSite: 1, MaxInFlight: 4}
	simulate(t, o, nil, func(s *Scheduler, _ *rate.Limiter) {
		s.Wake(f.put(10, "acme.example", "d.example", time.Now())...)
		var jobs []*Job
		for range 4 {
			job := must(t, s)
			if extra := try(s); extra != nil {
				t.Fatal("a second connection")
			}
			s.Delivered(job)
			s.Delivered(job)
			jobs = append(jobs, job)
		}
		if job := try(s); job != nil {
			t.Fatalf("a fifth slot: %+v", job)
		}
		for _, job := range jobs {
			f.remove(job.Key)
			s.Done(job)
		}
		s.Done(must(t, s))
	})
}

// TestFullSiteHoldsNobodyAtAGate: the first lane at the gate cannot go for a reason of its own.
func TestFullSiteHoldsNobodyAtAGate(t *testing.T) {
	f := newShelf(t)
	p := perSite("tenant")
	p.Key, p.Messages, p.PerSeconds, p.Burst = config.KeySenderDomain, 1, 1, 1
	o := Options{Store: f, MaxConnectionsPerSite: 1}
	simulate(t, o, []config.RatePolicy{p}, func(s *Scheduler, _ *rate.Limiter) {
		s.Wake(f.put(1, "other.example", "full.example", time.Now())...)
		stuck := must(t, s)
		s.Wake(f.put(1, "acme.example", "b.example", time.Now())...)
		must(t, s)
		s.Wake(f.put(3, "acme.example", "full.example", time.Now())...)
		s.Wake(f.put(3, "acme.example", "c.example", time.Now())...)
		if job := must(t, s); job.Site != "c.example" {
			t.Errorf("%+v went, want c.example", job)
		}
		s.Done(stuck)
		time.Sleep(10 * time.Second)
		if job := must(t, s); job.Site != "full.example" {
			t.Errorf("%+v went, want full.example when it is free", job)
		}
	})
}

func TestReconsiderFreesWhatWaited(t *testing.T) {
	f := newShelf(t)
	p := perSite("p")
	p.Messages, p.PerSeconds, p.Burst = 1, 3600, 1
	simulate(t, Options{Store: f}, []config.RatePolicy{p}, func(s *Scheduler, l *rate.Limiter) {
		s.Wake(f.put(30, "acme.example", "a.example", time.Now())...)
		must(t, s)
		if job := try(s); job != nil {
			t.Fatalf("the limit does not hold: %+v", job)
		}
		p.Messages, p.MaxConnections = 0, 25
		l.Configure([]config.RatePolicy{p})
		s.Reconsider()
		n := 1
		for job := try(s); job != nil; job = try(s) {
			n++
		}
		if n != 25 {
			t.Errorf("%d in flight; the policy grants 25", n)
		}
	})
}

// The due index is for what is not in memory: mail that comes and goes at once is not looked for there.
func TestBusyReadsSeldom(t *testing.T) {
	f := newShelf(t)
	simulate(t, Options{Store: f}, nil, func(s *Scheduler, _ *rate.Limiter) {
		try(s)
		before := f.readings()
		for range 1000 {
			s.Wake(f.put(1, "acme.example", "a.example", time.Now())...)
			job := must(t, s)
			f.remove(job.Key)
			s.Wake() // no DSN came of it
			s.Done(job)
			time.Sleep(time.Millisecond)
		}
		if n := f.readings() - before; n > 10 {
			t.Errorf("%d reads of the due index in a busy second", n)
		}
	})
}

func TestNothingDueNothingRead(t *testing.T) {
	f := newShelf(t)
	simulate(t, Options{Store: f}, nil, func(s *Scheduler, _ *rate.Limiter) {
		f.put(1, "acme.example", "a.example", time.Now().Add(24*time.Hour))
		time.Sleep(time.Hour)
		if n := f.readings(); n > envelope.Classes*(2*61+2) {
			t.Errorf("%d reads of the due index in an idle hour", n)
		}
		time.Sleep(22*time.Hour + 30*time.Minute)
		began := time.Now()
		must(t, s)
		if after := time.Since(began); after != 30*time.Minute {
			t.Errorf("went after %v, due after 30m", after)
		}
	})
}

// TestDeferredComesBackInTime: nobody tells the schedule when; it finds out.
func TestDeferredComesBackInTime(t *testing.T) {
	f := newShelf(t)
	simulate(t, Options{Store: f}, nil, func(s *Scheduler, _ *rate.Limiter) {
		s.Wake(f.put(1, "acme.example", "a.example", time.Now())...)
		job := must(t, s)
		due := time.Now().Add(5 * time.Second)
		f.move(job.Key, due)
		s.Done(job)
		if again := must(t, s); !time.Now().Equal(due) {
			t.Errorf("%v came %v after it was due", again.Key, time.Since(due))
		}
	})
}

func TestWakeWhileInFlight(t *testing.T) {
	f := newShelf(t)
	simulate(t, Options{Store: f}, nil, func(s *Scheduler, _ *rate.Limiter) {
		all := f.put(1, "acme.example", "a.example", time.Now())
		s.Wake(all...)
		job := must(t, s)
		s.Wake(all...)
		if twice := try(s); twice != nil {
			t.Fatal("an entry is in flight twice")
		}
		s.Done(job)
		s.Done(job) // does nothing
		if s.free() != 256 {
			t.Errorf("%d slots free after Done twice, want 256", s.free())
		}
		must(t, s)
		if took := s.Waiting()["a.example"]; took.Reason != InFlight {
			t.Errorf("waiting: %+v, want in flight", took)
		}
	})
}

// TestOverflowIsPostponed: what a slow site cannot take for long leaves the head of the due index.
func TestOverflowIsPostponed(t *testing.T) {
	f := newShelf(t)
	o := Options{Store: f, ReadyPerSite: 10, MaxConnectionsPerSite: 1}
	simulate(t, o, nil, func(s *Scheduler, _ *rate.Limiter) {
		f.put(200, "acme.example", "slow.example", time.Now())
		s.Reconsider()
		must(t, s) // and never done
		time.Sleep(3 * time.Minute)
		now, _, _ := f.Due(envelope.Normal, spool.Cursor{}, time.Now(), 1000)
		if len(now) > 1+10+15 { // in flight, ready, and what the queue may reach at its pace
			t.Errorf("%d entries stand at the head of the due index", len(now))
		}
		later, _, _ := f.Due(envelope.Normal, spool.Cursor{}, time.Now().Add(2*horizon), 1000)
		if len(later) != 200 {
			t.Errorf("%d entries within %v, want all 200", len(later), 2*horizon)
		}
	})
}

// TestSlowAnswers: entries that wait for their site are neither lost nor doubled, and hold up nobody.
func TestSlowAnswers(t *testing.T) {
	f := newShelf(t)
	asked := map[string]int{}
	var mu sync.Mutex
	site := func(_ context.Context, _, domain string) (string, []string) {
		mu.Lock()
		asked[domain]++
		mu.Unlock()
		if domain == "slow.example" {
			time.Sleep(5 * time.Second)
		}
		return domain, nil
	}
	simulate(t, Options{Store: f, Site: site}, nil, func(s *Scheduler, _ *rate.Limiter) {
		s.Wake(f.put(15, "acme.example", "slow.example", time.Now())...)
		s.Wake(f.put(1, "acme.example", "fast.example", time.Now())...)
		if job := try(s); job == nil || job.Site != "fast.example" {
			t.Fatalf("%+v went first, want fast.example at once", job)
		}
		s.Reconsider()
		seen := map[envelope.Key]bool{}
		for range 15 {
			seen[must(t, s).Key] = true
		}
		if len(seen) != 15 || try(s) != nil {
			t.Errorf("%d different entries went, want each of 15 once", len(seen))
		}
		if asked["slow.example"] != 1 {
			t.Errorf("asked %d times where slow.example is", asked["slow.example"])
		}
	})
}
