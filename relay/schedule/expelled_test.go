package schedule

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/rate"
	"github.com/postrider/postrider/relay/spool"
)

// TestExpelled: all mail that a policy never lets go is told of, however much there is, and no other.
func TestExpelled(t *testing.T) {
	const messages = 2*maxExpelled + 500
	store, limiter := newStore(t), rate.New(time.Now)
	closed := perSite("ns/closed")
	closed.MaxConnections, closed.DestinationDomains = 1, []string{"a.example", "c.example"}
	closed.Shares = map[string]config.Share{"other": {MaxConnections: 1}}
	limiter.Configure([]config.RatePolicy{closed.For("this")})
	add(t, store, messages-1, "acme.example", "a.example", time.Now())
	add(t, store, 1, "acme.example", "c.example", time.Now())
	add(t, store, 3, "acme.example", "b.example", time.Now())
	s := start(t, Options{Store: store, Limiter: limiter, ReadyPerSite: 600})
	for range 3 {
		job := next(t, s)
		if job.Key.Domain != "b.example" {
			t.Fatalf("%s was handed out", job.Key.Domain)
		}
		settleAs(t, store, job, 250)
		s.Done(job)
	}
	ctx, stop := context.WithCancel(t.Context())
	var worker sync.WaitGroup
	defer worker.Wait()
	defer stop()
	worker.Go(func() { // mail is sorted while somebody asks for it
		if job, err := s.Next(ctx); err == nil {
			t.Errorf("%v was handed out", job.Key)
		}
	})
	if ids := s.Expelled(); ids != nil {
		t.Fatalf("%d nobody wants", len(ids))
	}
	w := s.Waiting()["a.example"]
	for began := time.Now(); w.Reason != RateLimited && time.Since(began) < 5*time.Second; time.Sleep(5 * time.Millisecond) {
		w = s.Waiting()["a.example"]
	}
	if w.Reason != RateLimited || w.Policy != "ns/closed" {
		t.Errorf("it waits for %+v", w)
	}

	s.WantExpelled(true)
	s.Reconsider()
	told := 0
	for began := time.Now(); told < messages && time.Since(began) < 20*time.Second; time.Sleep(5 * time.Millisecond) {
		for _, id := range s.Expelled() {
			if _, err := store.HandOut(id, "gone", spool.Row{Key: string(id)}); err == nil {
				told++
			}
		}
	}
	if told != messages || store.Totals().Queued != 0 {
		t.Errorf("%d were told of, %d are left", told, store.Totals().Queued)
	}
}
