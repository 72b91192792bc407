package schedule

import (
	"cmp"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/rate"
)

func oneSite(context.Context, string, string) (string, []string) { return "mx.example", nil }

// count takes n jobs, one at a time, and counts them by what of says.
func count(t *testing.T, s *Scheduler, f *shelf, n int, of func(*Job) string) map[string]int {
	t.Helper()
	got := map[string]int{}
	synctest.Wait() // all sites are known
	for range n {
		job := must(t, s)
		got[of(job)]++
		f.remove(job.Key)
		s.Done(job)
	}
	return got
}

func bySender(j *Job) string { return j.SenderDomain }

func byClass(f *shelf) func(*Job) string {
	return func(j *Job) string { e := f.get(j.Key); return e.Class().String() }
}

// TestShareIsByWeight: at a site that is free, and at one whose rate is limited, where all wait at the gate.
func TestShareIsByWeight(t *testing.T) {
	limited := perSite("p")
	limited.Messages, limited.PerSeconds, limited.Burst = 1, 1, 1
	for name, policies := range map[string][]config.RatePolicy{"connections": nil, "rate": {limited}} {
		f := newShelf(t)
		weights := map[string]int{"heavy.example": 30, "light.example": 5}
		o := Options{Store: f, Site: oneSite, MaxConnectionsPerSite: 1, Weight: func(sender string) int { return cmp.Or(weights[sender], 10) }}
		simulate(t, o, policies, func(s *Scheduler, _ *rate.Limiter) {
			for i := range 4 { // many destinations give no larger share
				s.Wake(f.put(100, "usual.example", fmt.Sprintf("d%d.example", i), time.Now())...)
			}
			s.Wake(f.put(400, "heavy.example", "a.example", time.Now())...)
			s.Wake(f.put(400, "light.example", "a.example", time.Now())...)
			got := count(t, s, f, 180, bySender)
			for sender, want := range map[string]int{"heavy.example": 120, "usual.example": 40, "light.example": 20} {
				if n := got[sender]; n < want-3 || n > want+3 {
					t.Errorf("%s: %s had %d turns of 180, want about %d", name, sender, n, want)
				}
			}
		})
	}
}

// TestNobodyGainsByComing: one whose mail comes piece by piece has no more turns than one whose mail waits.
func TestNobodyGainsByComing(t *testing.T) {
	f := newShelf(t)
	simulate(t, Options{Store: f, Site: oneSite, MaxConnectionsPerSite: 1}, nil, func(s *Scheduler, _ *rate.Limiter) {
		s.Wake(f.put(400, "waits.example", "a.example", time.Now())...)
		got := map[string]int{}
		s.Wake(f.put(1, "comes.example", "b.example", time.Now())...)
		synctest.Wait()
		for range 100 {
			job := must(t, s)
			got[job.SenderDomain]++
			f.remove(job.Key)
			if job.SenderDomain == "comes.example" {
				s.Wake(f.put(1, "comes.example", "b.example", time.Now())...)
			}
			s.Done(job)
		}
		if n := got["comes.example"]; n < 48 || n > 52 {
			t.Errorf("%v, want half for either", got)
		}
	})
}

// TestUrgentGoesFirstAndBulkGoesToo, at a site that is free and at a gate.
func TestUrgentGoesFirstAndBulkGoesToo(t *testing.T) {
	limited := perSite("p")
	limited.Messages, limited.PerSeconds, limited.Burst = 1, 1, 1
	for name, policies := range map[string][]config.RatePolicy{"connections": nil, "rate": {limited}} {
		f := newShelf(t)
		simulate(t, Options{Store: f, Site: oneSite, MaxConnectionsPerSite: 1}, policies, func(s *Scheduler, _ *rate.Limiter) {
			s.Wake(f.putAs(-5, 300, "acme.example", "a.example", time.Now())...)
			s.Wake(f.put(300, "acme.example", "b.example", time.Now())...)
			s.Wake(f.putAs(1, 300, "acme.example", "a.example", time.Now())...)
			got := count(t, s, f, 100, byClass(f))
			if got["Urgent"] < 75 || got["Urgent"] > 85 || got["Normal"] < 9 || got["Bulk"] < 9 {
				t.Errorf("%s: %v of 100, want 80 urgent and 10 of either other", name, got)
			}
		})
	}
}

// TestUrgentOfOneIsNothingToOthers: a class counts among the mail of one sender domain alone.
func TestUrgentOfOneIsNothingToOthers(t *testing.T) {
	f := newShelf(t)
	simulate(t, Options{Store: f, Site: oneSite, MaxConnectionsPerSite: 1}, nil, func(s *Scheduler, _ *rate.Limiter) {
		s.Wake(f.putAs(9, 300, "loud.example", "a.example", time.Now())...)
		s.Wake(f.putAs(-9, 300, "meek.example", "b.example", time.Now())...)
		if got := count(t, s, f, 100, bySender); got["meek.example"] < 48 {
			t.Errorf("%v, want half for either", got)
		}
	})
}

// TestUrgentPassesABacklogOnDisk: a hundred thousand of the same sender domain wait, most of them on disk alone. What is
// urgent is next, when it comes and after a restart, without the others being read.
func TestUrgentPassesABacklogOnDisk(t *testing.T) {
	f := newShelf(t)
	o := Options{Store: f, Site: oneSite, MaxConnectionsPerSite: 1}
	simulate(t, o, nil, func(s *Scheduler, _ *rate.Limiter) {
		f.putAs(-5, blackHole, "acme.example", "a.example", time.Now().Add(-time.Hour))
		s.Reconsider()
		synctest.Wait()
		first := must(t, s)
		for range 5 {
			urgent := f.putAs(5, 1, "acme.example", "a.example", time.Now())
			s.Wake(urgent...)
			f.remove(first.Key)
			s.Done(first)
			if first = must(t, s); first.Key != urgent[0].Key() {
				t.Fatalf("%v went before what is urgent", first.Key)
			}
		}
		if s.inMemory() > 2*s.o.ReadyPerSite {
			t.Errorf("%d entries in memory", s.inMemory())
		}
	})
	simulate(t, o, nil, func(s *Scheduler, _ *rate.Limiter) { // as after a restart: more than a queue holds is on disk
		f.putAs(5, 3000, "acme.example", "a.example", time.Now().Add(-time.Hour))
		s.Reconsider()
		synctest.Wait()
		before := f.readings()
		got := count(t, s, f, 3000, byClass(f))
		if got["Urgent"] < 2600 {
			t.Errorf("after a restart %v", got)
		}
		if n := f.readings() - before; n > 200 {
			t.Errorf("%d windows were read for 3,000 jobs", n)
		}
	})
}

// TestClassesHaveRoomOfTheirOwn: while the site is asked for, what is bulk does not crowd out what is urgent.
func TestClassesHaveRoomOfTheirOwn(t *testing.T) {
	f := newShelf(t)
	site := func(context.Context, string, string) (string, []string) {
		time.Sleep(time.Second)
		return "mx.example", nil
	}
	o := Options{Store: f, Site: site, ReadyPerSite: 10, MaxReady: 20, MaxConnectionsPerSite: 1}
	simulate(t, o, nil, func(s *Scheduler, _ *rate.Limiter) {
		s.Wake(f.putAs(-1, 100, "acme.example", "a.example", time.Now())...)
		urgent := f.putAs(1, 1, "acme.example", "a.example", time.Now())
		s.Wake(urgent...)
		if job := must(t, s); job.Key != urgent[0].Key() {
			t.Error("what is bulk went first")
		}
		if n := s.ReadyByClass(); n != [envelope.Classes]int{0, 0, 10} {
			t.Errorf("ready: %v", n)
		}
	})
}
