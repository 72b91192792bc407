package schedule

import (
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/rate"
)

// slowly ends an attempt after a time, as a slow receiver does.
func slowly(s *Scheduler, f *shelf, job *Job, after time.Duration) {
	time.AfterFunc(after, func() {
		f.remove(job.Key)
		s.Done(job)
	})
}

// TestManySlowSitesLeaveSlots: three hundred receivers that take 20 s for each message never hold all slots, and one that
// is quick has its mail as it comes.
func TestManySlowSitesLeaveSlots(t *testing.T) {
	f := newShelf(t)
	simulate(t, Options{Store: f, MaxInFlight: 256}, nil, func(s *Scheduler, _ *rate.Limiter) {
		for i := range 300 {
			s.Wake(f.put(20, "bulk.example", fmt.Sprintf("slow%d.example", i), time.Now())...)
		}
		most := 0
		take := func() (healthy bool) {
			for job := try(s); job != nil; job = try(s) {
				if job.Site == "healthy.example" {
					f.remove(job.Key)
					s.Done(job)
					return true
				}
				slowly(s, f, job, 20*time.Second)
				most = max(most, len(s.flights))
			}
			return false
		}
		take()
		if most > 256-256/16 {
			t.Errorf("%d of 256 slots for sites of which nothing is known", most)
		}
		time.Sleep(21 * time.Second) // now all are known
		most = 0
		for i := range 100 {
			time.Sleep(500 * time.Millisecond)
			s.Wake(f.put(1, "reset.example", "healthy.example", time.Now())...)
			if !take() {
				t.Fatalf("message %d to a healthy receiver waits for slow ones", i)
			}
		}
		if most < 150 || most > 256-256/16 {
			t.Errorf("slow sites held %d slots, want most but a sixteenth", most)
		}
	})
}

// TestOneSlowSiteHoldsItsShare: thirty thousand wait for one receiver that takes 20 s for each.
func TestOneSlowSiteHoldsItsShare(t *testing.T) {
	f := newShelf(t)
	f.put(30_000, "bulk.example", "slow.example", time.Now())
	o := Options{Store: f, MaxInFlight: 256, MaxConnectionsPerSite: 1000}
	simulate(t, o, nil, func(s *Scheduler, _ *rate.Limiter) {
		for i := range 60 {
			time.Sleep(time.Second)
			probe := f.put(1, "reset.example", fmt.Sprintf("healthy%d.example", i%3), time.Now())
			s.Wake(probe...)
			found := false
			for job := try(s); job != nil; job = try(s) {
				if job.Key == probe[0].Key() {
					found = true
					f.remove(job.Key)
					s.Done(job)
					continue
				}
				slowly(s, f, job, 20*time.Second)
			}
			if slow := len(s.flights); !found || slow > 128 {
				t.Fatalf("after %d s: %d slots for the slow one, the healthy one had its mail: %v", i, slow, found)
			}
		}
		if n := s.inMemory(); n > 1000+256 {
			t.Errorf("%d entries in memory", n)
		}
	})
}

// TestStalledAttempt: one that never ends gives back its slot, is not made twice at once, and is found again when it ends
// after all.
func TestStalledAttempt(t *testing.T) {
	f := newShelf(t)
	var told []*Job
	o := Options{Store: f, MaxInFlight: 2, MaxConnectionsPerSite: 1, Stall: time.Hour, Stalled: func(j *Job) { told = append(told, j) }}
	simulate(t, o, nil, func(s *Scheduler, _ *rate.Limiter) {
		s.Wake(f.put(2, "acme.example", "hangs.example", time.Now())...)
		hangs := must(t, s)
		f.begin(hangs.Key, time.Now())
		if job := try(s); job != nil {
			t.Fatal("a second connection")
		}
		if w, ok := s.Reason(hangs.Key); !ok || w.Reason != InFlight {
			t.Errorf("%+v", w)
		}
		next := must(t, s) // an hour later
		if age := time.Since(hangs.Began()); next.Key == hangs.Key || age < time.Hour || age > time.Hour+2*watch {
			t.Fatalf("%v went after %v", next.Key, age)
		}
		w, _ := s.Reason(hangs.Key)
		if len(told) != 1 || told[0] != hangs || s.Stalls() != 1 || s.free() != 1 ||
			w.Reason != Stalled || s.Waiting()["hangs.example"].Reason != Stalled {
			t.Errorf("told of %d, %d stalled, %d free, %+v", len(told), s.Stalls(), s.free(), w)
		}
		f.remove(next.Key)
		s.Done(next)
		time.Sleep(5 * time.Hour)
		if job := try(s); job != nil {
			t.Fatal("its mail is attempted a second time at once")
		}
		s.Delivered(hangs)
		s.Done(hangs)
		if s.Stalls() != 0 || s.free() != 2 {
			t.Errorf("%d stalled, %d free", s.Stalls(), s.free())
		}
		if job := must(t, s); job.Key != hangs.Key { // for its outcome was not stored
			t.Errorf("then %v", job.Key)
		}
	})
}

func TestPacesAreBounded(t *testing.T) {
	s := New(Options{Store: nothing{}, Limiter: rate.New(time.Now), Site: ownSite})
	for i := range 3 * maxPaces {
		s.remember(fmt.Sprint(i), slow)
	}
	if len(s.paces) > maxPaces {
		t.Errorf("%d sites remembered", len(s.paces))
	}
}

// TestNoHerd: whatever makes ten thousand due at once, a site has no more attempts at a time than its connections, and
// what is refused comes back spread over half of its wait.
func TestNoHerd(t *testing.T) {
	const entries, connections = 2000, 20
	for name, due := range map[string]func(f *shelf, s *Scheduler){
		"a restart with everything overdue": func(f *shelf, s *Scheduler) {
			f.put(entries, "acme.example", "a.example", time.Now().Add(-24*time.Hour))
			s.Reconsider()
		},
		"a flush of all": func(f *shelf, s *Scheduler) {
			for _, e := range f.put(entries, "acme.example", "a.example", time.Now().Add(time.Hour)) {
				f.move(e.Key(), time.Now())
				s.Wake(f.get(e.Key()))
			}
		},
	} {
		f := newShelf(t)
		simulate(t, Options{Store: f, MaxConnectionsPerSite: connections}, nil, func(s *Scheduler, _ *rate.Limiter) {
			due(f, s)
			for range entries / connections {
				var flying []*Job
				for job := try(s); job != nil; job = try(s) {
					flying = append(flying, job)
				}
				if len(flying) > connections {
					t.Fatalf("%s: %d at a time", name, len(flying))
				}
				time.Sleep(10 * time.Millisecond)
				for i, job := range flying {
					jitter := float64(i) / connections
					f.move(job.Key, time.Now().Add(envelope.Retry{Initial: time.Hour, Max: time.Hour, Jitter: jitter}.Wait(1)))
					s.Done(job)
				}
			}
			perMinute := map[time.Duration]int{}
			began := time.Now()
			for range entries {
				job := must(t, s)
				perMinute[time.Since(began)/time.Minute]++
				f.remove(job.Key)
				s.Done(job)
			}
			for minute, n := range perMinute {
				if n > entries/10 {
					t.Errorf("%s: %d of %d came back in minute %d", name, n, entries, minute)
				}
			}
		})
	}
}
