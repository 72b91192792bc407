package rate

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
)

// TestNeverMoreThanBurstPlusRate checks GCRA's promise over every window of random arrivals.
func TestNeverMoreThanBurstPlusRate(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := messages("p", 1+r.IntN(1000), 1+r.IntN(100), 1+r.IntN(20))
		c := newClock()
		l := New(c.now)
		l.Configure([]config.RatePolicy{p})
		interval := time.Duration(p.PerSeconds) * time.Second / time.Duration(p.Messages)
		var went []time.Time
		for range 400 {
			c.advance(time.Duration(r.Int64N(int64(2 * interval))))
			if lease, _ := l.Acquire(Subject{Site: "mx"}); lease != nil {
				lease.Release()
				went = append(went, c.now())
			}
		}
		checkWindows(t, p, went)
	}
}

func checkWindows(t *testing.T, p config.RatePolicy, went []time.Time) {
	t.Helper()
	perSecond := float64(p.Messages) / float64(p.PerSeconds)
	for i := range went {
		for j := i; j < len(went); j++ {
			allowed := float64(p.Burst) + perSecond*went[j].Sub(went[i]).Seconds()
			if n := j - i + 1; float64(n) > allowed+1e-6 {
				t.Fatalf("%+v: %d messages in %v, at most %.2f allowed", p, n, went[j].Sub(went[i]), allowed)
			}
		}
	}
}

// TestWaitIsExact holds Until to both sides: not a nanosecond sooner, and then it goes.
func TestWaitIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	c := newClock()
	l := New(c.now)
	l.Configure([]config.RatePolicy{messages("a", 7, 3, 2), messages("b", 11, 5, 4)})
	for range 1000 {
		lease, w := l.Acquire(Subject{Site: "mx"})
		if lease != nil {
			lease.Release()
			c.advance(time.Duration(r.Int64N(int64(time.Second / 2))))
			continue
		}
		c.t = w.Until.Add(-1)
		if _, early := l.Acquire(Subject{Site: "mx"}); early == nil {
			t.Fatal("went before Until")
		}
		c.advance(1)
		if _, late := l.Acquire(Subject{Site: "mx"}); late != nil {
			t.Fatalf("waits again at Until: %+v", late)
		}
	}
}

// TestConcurrentUse reconfigures while leases come and go: the limit holds and nothing is left open.
func TestConcurrentUse(t *testing.T) {
	l := New(time.Now)
	var mu sync.Mutex
	open := map[string]int{}
	enter := func(site string, by int) int {
		mu.Lock()
		defer mu.Unlock()
		open[site] += by
		return open[site]
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			site := fmt.Sprint(w % 2)
			for range 2000 {
				l.Accept(Subject{Sender: site})
				lease, _ := l.Acquire(Subject{Site: site})
				if lease == nil {
					continue
				}
				if n := enter(site, 1); n > 3 {
					t.Errorf("%d connections to %s, limit 3", n, site)
				}
				enter(site, -1)
				lease.Release()
			}
		})
	}
	for i := range 200 {
		other := connections("other", 1+i%3)
		other.Key = config.KeySenderDomain
		l.Configure([]config.RatePolicy{connections("limit", 3), other}[:1+i%2])
	}
	wg.Wait()
	if n := openConnections(l); n != 0 {
		t.Errorf("%d connections left open", n)
	}
}

func BenchmarkAcquire(b *testing.B) {
	for _, n := range []int{0, 1, 100} {
		b.Run(fmt.Sprintf("policies=%d", n), func(b *testing.B) {
			l := New(time.Now)
			var policies []config.RatePolicy
			for i := range n {
				p := messages(fmt.Sprint("p", i), 1<<30, 1, 1<<30)
				if i > 0 {
					p.DestinationDomains = []string{fmt.Sprintf("domain%d.example", i)}
				}
				policies = append(policies, p)
			}
			l.Configure(policies)
			s := Subject{Site: "mx.example", DestinationDomain: "domain5.example", SenderDomain: "acme.example"}
			b.ReportAllocs()
			for b.Loop() {
				lease, _ := l.Acquire(s)
				lease.Release()
			}
		})
	}
}

// share is a pod's part in a limit on messages.
func share(n, burst int) config.RatePolicy {
	p := messages("p", n, 1, burst)
	p.Shares = map[string]config.Share{"own": {Messages: n, Burst: burst}}
	return p.For("own")
}

// TestSharesNeverMakeMore plays pods whose shares are moved to and fro between them, and who start again: over every
// window all of them together send no more than the limit.
func TestSharesNeverMakeMore(t *testing.T) {
	const perSecond, burst = 12, 6
	whole := messages("p", perSecond, 1, burst)
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 3))
		c := newClock()
		part := [2]int{3, 3} // of the burst; the rate goes with it
		pods := [2]*Limiter{New(c.now), New(c.now)}
		configure := func(i int) { pods[i].Configure([]config.RatePolicy{share(perSecond*part[i]/burst, part[i])}) }
		configure(0)
		configure(1)
		var went []time.Time
		for range 600 {
			c.advance(time.Duration(r.Int64N(int64(time.Second / 8))))
			switch i := r.IntN(2); r.IntN(20) {
			case 0: // i grows after the other has shrunk
				part[1-i] = 1 + r.IntN(part[1-i])
				configure(1 - i)
				part[i] = burst - part[1-i]
				configure(i)
			case 1:
				pods[i] = New(c.now)
				configure(i)
			case 2:
				configure(i)
			default:
				for range r.IntN(3) {
					if lease, _ := pods[i].Acquire(Subject{Site: "mx"}); lease != nil {
						lease.Release()
						went = append(went, c.now())
					}
				}
			}
		}
		checkWindows(t, whole, went)
		if len(went) < 100 {
			t.Errorf("seed %d: only %d went", seed, len(went))
		}
	}
}
