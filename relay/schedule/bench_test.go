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
