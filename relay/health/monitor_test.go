package health

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is what the monitor sees and does, in a bubble of synctest.
type world struct {
	*Monitor
	mu      sync.Mutex
	dead    map[Key]bool
	slow    time.Duration // a probe takes
	probed  []string      // host and seconds since the beginning
	changed []string
	began   time.Time
	risen   map[Key]context.Context
}

var one, two = Key{Host: "one.test", Port: 25}, Key{Host: "two.test", Port: 587}

func newWorld(t *testing.T, targets map[Key]time.Duration) *world {
	w := &world{dead: map[Key]bool{}, began: time.Now(), risen: map[Key]context.Context{}}
	w.Monitor = New(Options{Probe: w.probe, Changed: w.change, Risen: func(ctx context.Context, k Key) {
		w.mu.Lock()
		w.risen[k] = ctx
		w.mu.Unlock()
		<-ctx.Done()
	}})
	w.Watch(targets)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = w.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return w
}

func (w *world) probe(_ context.Context, k Key) error {
	time.Sleep(w.slow)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.probed = append(w.probed, fmt.Sprintf("%s %.0f", k.Host, time.Since(w.began).Seconds()))
	if w.dead[k] {
		return errDead
	}
	return nil
}

func (w *world) change(k Key, s State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed = append(w.changed, fmt.Sprintf("%s down %v", k, s.Down))
}

func (w *world) fail(k Key) {
	w.mu.Lock()
	w.dead[k] = true
	w.mu.Unlock()
	for range 3 {
		w.Attempted(k, errDead)
	}
}

// seen is what was probed and told so far.
func (w *world) seen() (probed, changed []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.probed), slices.Clone(w.changed)
}

// rise is the context of what is done for a host that is up again.
func (w *world) rise(k Key) context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.risen[k]
}

func (w *world) revive(k Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead[k] = false
}

// pass lets time pass, and all that happens meanwhile happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAHostThatIsDownIsProbedUntilItIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[Key]time.Duration{one: 0, two: 30 * time.Second})
		w.fail(one)
		w.fail(two)
		pass(40 * time.Second)
		w.revive(one)
		pass(30 * time.Second)
		probed, _ := w.seen()
		if want := []string{"one.test 5", "one.test 15", "two.test 30", "one.test 35", "two.test 60"}; !slices.Equal(probed, want) {
			t.Errorf("probed %v, want %v", probed, want)
		}
		w.revive(two)
		pass(time.Minute)
		if w.State(one).Down || w.State(two).Down {
			t.Errorf("%+v", w.States())
		}
		_, changed := w.seen()
		if want := []string{"one.test:25 down true", "two.test:587 down true", "one.test:25 down false", "two.test:587 down false"}; !slices.Equal(changed, want) {
			t.Errorf("told %v, want %v", changed, want)
		}
	})
}

func TestWhatIsDoneForAHostEndsWhenItIsDownAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[Key]time.Duration{one: 0})
		w.fail(one)
		w.revive(one)
		w.Attempted(one, nil)
		synctest.Wait()
		first := w.rise(one)
		if first == nil || first.Err() != nil {
			t.Fatal("nothing is done for the host")
		}
		w.fail(one)
		if first.Err() == nil {
			t.Error("it goes on while the host is down")
		}
		w.Probe(t.Context(), []Key{one})
		w.revive(one)
		w.Probe(t.Context(), []Key{one, two})
		synctest.Wait()
		if again := w.rise(one); again == first || again.Err() != nil {
			t.Error("nothing is done the second time")
		}
		if time.Since(w.began) != 0 {
			t.Error("a probe that is asked for waited")
		}
		w.Watch(nil)
		if w.rise(one).Err() == nil {
			t.Error("it goes on for a host that is not watched")
		}
	})
}

func TestWhoAsksForAProbeWaitsNoLongerThanItMatters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[Key]time.Duration{one: 0})
		w.slow = 8 * time.Second
		w.fail(one)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.Probe(ctx, []Key{one})
		if got := time.Since(w.began); got != time.Second {
			t.Errorf("waited %v for a probe that takes 8 s", got)
		}
		go func() {
			time.Sleep(time.Second)
			w.Attempted(one, nil)
		}()
		w.Probe(t.Context(), []Key{one})
		if got := time.Since(w.began); got != 2*time.Second {
			t.Errorf("waited until %v for a host that was up after 2 s", got)
		}
		pass(time.Minute)
	})
}

func TestWhatIsKnownSurvivesAReconfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[Key]time.Duration{one: 0})
		w.fail(one)
		w.Watch(map[Key]time.Duration{one: 0, two: 0})
		if !w.State(one).Down || w.State(two).Down || w.State(Key{Host: "other"}).Down {
			t.Errorf("%+v", w.States())
		}
		w.Attempted(Key{Host: "other"}, errDead) // not watched: nothing to count
		synctest.Wait()
		if probed, _ := w.seen(); !slices.Equal(probed, []string{"one.test 0"}) {
			t.Errorf("probed %v, want the host that is down, at once", probed)
		}
	})
}

func TestProbesAtTheSameTimeAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		targets := map[Key]time.Duration{}
		for port := range 20 {
			targets[Key{Host: "many.test", Port: port}] = 0
		}
		w := newWorld(t, targets)
		w.slow = time.Second
		for k := range targets {
			w.fail(k)
		}
		pass(6500 * time.Millisecond)
		if probed, _ := w.seen(); len(probed) != probesAtOnce {
			t.Errorf("%d probes in the first second, want %d", len(probed), probesAtOnce)
		}
		pass(3 * time.Second)
		if probed, _ := w.seen(); len(probed) != 20 {
			t.Errorf("%d probes in all, want 20", len(probed))
		}
	})
}
