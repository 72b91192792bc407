package schedule

import (
	"context"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/rate"
)

// What a refill passed over, because its site was being asked for, is not left until all that is due later has gone.
func TestARefillGoesBackForWhatWaitedForItsSite(t *testing.T) {
	store := newShelf(t)
	slow := time.Duration(0)
	o := Options{Store: store, Site: func(_ context.Context, _, domain string) (string, []string) {
		if domain == "b.test" {
			time.Sleep(slow)
		}
		return "site", nil
	}}
	simulate(t, o, nil, func(s *Scheduler, _ *rate.Limiter) {
		due := time.Now()
		store.put(1000, "sender.test", "a.test", due)
		store.put(100, "sender.test", "b.test", due)
		store.put(8000, "sender.test", "a.test", due)
		s.Reconsider()
		handed := func(domain string, most int) int {
			for n := 1; n <= most; n++ {
				job := must(t, s)
				store.remove(job.Key)
				s.Done(job)
				if job.Key.Domain == domain {
					return n
				}
				time.Sleep(time.Millisecond)
			}
			return most + 1
		}
		handed("", 100) // the queue is full, and both sites are known
		slow = time.Second
		s.Reconsider()
		if n := handed("b.test", 3500); n > 3500 {
			t.Errorf("none of what is due earlier was handed out among %d", n-1)
		}
		for len(store.entries) > 0 { // and nothing is forgotten, or handed out once more
			job := must(t, s)
			if _, left := store.entries[job.Key]; !left {
				t.Fatalf("%v was handed out twice", job.Key)
			}
			store.remove(job.Key)
			s.Done(job)
		}
	})
}
