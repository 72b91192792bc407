package schedule

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/rate"
	"github.com/postrider/postrider/relay/spool"
)

// nothing is a store without entries.
type nothing struct{}

func (nothing) Due(_ envelope.Class, from spool.Cursor, _ time.Time, _ int) ([]spool.Item, spool.Cursor, error) {
	return nil, from, nil
}
func (nothing) Postpone([]envelope.Key, func() time.Time) error { return nil }
func (nothing) PullIn([]envelope.Key, func(int) time.Time, time.Time) (int, error) {
	return 0, nil
}

// BenchmarkJob is the schedule's share of one message: Wake, Next and Done.
func BenchmarkJob(b *testing.B) {
	for _, policies := range []int{0, 100} {
		for _, domains := range []int{1, 1000} {
			b.Run(fmt.Sprintf("policies=%d/domains=%d", policies, domains), func(b *testing.B) {
				limiter := rate.New(time.Now)
				limiter.Configure(loose(policies))
				s := start(b, Options{Store: nothing{}, Limiter: limiter})
				ctx := context.Background()
				e := newEntry("acme.example", "", time.Now())
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					e.ID = envelope.ID(fmt.Sprint(i))
					e.Domain = fmt.Sprintf("d%d.example", i%domains)
					s.Wake(e)
					job, err := s.Next(ctx)
					if err != nil {
						b.Fatal(err)
					}
					s.Done(job)
				}
			})
		}
	}
}

// loose are policies that apply and never bind.
func loose(n int) []config.RatePolicy {
	var all []config.RatePolicy
	for i := range n {
		p := perSite(fmt.Sprint("p", i))
		p.Messages, p.PerSeconds, p.Burst, p.MaxConnections = 1<<30, 1, 1<<30, 1000
		all = append(all, p)
	}
	return all
}

// BenchmarkConcurrent is the same with fifty workers and a sender.
func BenchmarkConcurrent(b *testing.B) {
	s := start(b, Options{Store: nothing{}})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{}, 1000)
	for range 50 {
		go func() {
			for job, err := s.Next(ctx); err == nil; job, err = s.Next(ctx) {
				s.Done(job)
				done <- struct{}{}
			}
		}()
	}
	e := newEntry("acme.example", "", time.Now())
	ahead := 0
	for i := 0; b.Loop(); i++ {
		e.ID = envelope.ID(fmt.Sprint(i))
		e.Domain = fmt.Sprintf("d%d.example", i%10)
		s.Wake(e)
		if ahead++; ahead > 500 {
			<-done
			ahead--
		}
	}
	for ; ahead > 0; ahead-- {
		<-done
	}
}

// BenchmarkTenants is the same with mail of many sender domains, of every class, that waits for one site.
func BenchmarkTenants(b *testing.B) {
	for _, tenants := range []int{10, 1000} {
		b.Run(fmt.Sprint("tenants=", tenants), func(b *testing.B) {
			benchmarkBacklogged(b, Options{Store: nothing{}, Site: oneSite, MaxReady: 1 << 20}, func(e *envelope.Envelope, i int) {
				e.Tenant, e.Domain, e.Priority = fmt.Sprintf("t%d.example", i%tenants), "d.example", i%3-1
			}, 3*tenants)
		})
	}
}

// BenchmarkSites is the same with mail for many sites, all slow but one.
func BenchmarkSites(b *testing.B) {
	for _, sites := range []int{10, 10_000} {
		b.Run(fmt.Sprint("sites=", sites), func(b *testing.B) {
			benchmarkBacklogged(b, Options{Store: nothing{}, MaxReady: 1 << 20}, func(e *envelope.Envelope, i int) {
				e.Domain = fmt.Sprintf("d%d.example", i%sites)
			}, 2*sites)
		})
	}
}

// benchmarkBacklogged measures Wake, Next and Done while so many other entries wait.
func benchmarkBacklogged(b *testing.B, o Options, shape func(*envelope.Envelope, int), waiting int) {
	s := start(b, o)
	e := newEntry("acme.example", "", time.Now())
	wake := func(i int) {
		e.ID = envelope.ID(fmt.Sprint(i))
		shape(&e, i)
		s.Wake(e)
	}
	for i := range waiting {
		wake(i)
	}
	ctx := context.Background()
	b.ReportAllocs()
	for i := waiting; b.Loop(); i++ {
		wake(i)
		job, err := s.Next(ctx)
		if err != nil {
			b.Fatal(err)
		}
		s.Done(job)
	}
}

// BenchmarkRefill is an attempt for mail of which most is on disk alone, behind ten times as much of another class.
func BenchmarkRefill(b *testing.B) {
	store := newStore(b)
	e := newEntry("acme.example", "a.example", time.Now())
	e.Priority = -1
	for range 20_000 {
		put(b, store, e)
	}
	e.Priority = 1
	for range 2000 {
		put(b, store, e)
	}
	s := start(b, Options{Store: store})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		job, err := s.Next(ctx)
		if err != nil {
			b.Fatal(err)
		}
		s.Done(job)
		if job.lane.queue.class == envelope.Urgent {
			s.Reconsider() // it is still due
		}
	}
}
