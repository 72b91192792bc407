package health

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// probesAtOnce is how many hosts are probed at the same time.
	probesAtOnce = 8
	// probeTime is how long a probe may take.
	probeTime = 10 * time.Second
)

// Options of a Monitor. All but Now are required.
type Options struct {
	// Probe connects to a host and says why it cannot be used.
	Probe func(ctx context.Context, k Key) error
	// Changed is told of each change between up and down. It must not call the Monitor.
	Changed func(k Key, now State)
	// Risen does what there is to do when a host is up again. Its context ends when the host is down again, is no
	// longer watched, or Run ends.
	Risen func(ctx context.Context, k Key)
	// Now tells the time; time.Now if nil.
	Now func() time.Time
}

// Monitor watches next hops. It is safe for concurrent use.
type Monitor struct {
	o    Options
	kick chan struct{}

	// hosts are those watched; the map is replaced, never changed, so that an attempt at any other host costs no lock.
	hosts atomic.Pointer[map[Key]*host]

	mu sync.Mutex
	// risen are hosts that Run is to call Options.Risen for.
	risen []*host
	// probing is how many probes are running.
	probing int
}

// host is a next hop that is watched. Its fields are the monitor's mutex's, but for state, which is only written
// under it.
type host struct {
	key   Key
	every time.Duration
	state atomic.Pointer[State]
	// probing says that a probe is running.
	probing bool
	// asked is closed when a probe that was asked for has ended, or is needless; nil when none was.
	asked chan struct{}
	gone  bool
	// sink ends what Risen does.
	sink context.CancelFunc
}

// New returns a monitor that watches nothing yet.
func New(o Options) *Monitor {
	if o.Now == nil {
		o.Now = time.Now
	}
	m := &Monitor{o: o, kick: make(chan struct{}, 1)}
	m.hosts.Store(&map[Key]*host{})
	return m
}

// Watch makes the hosts that are watched those given, each with the time between two probes, 0 for the usual. What
// is known of a host stays known, but one that is down is probed at once: the new configuration may have mended it.
func (m *Monitor) Watch(targets map[Key]time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := *m.hosts.Load()
	hosts := make(map[Key]*host, len(targets))
	for k, every := range targets {
		h := before[k]
		if h == nil {
			h = &host{key: k}
			h.state.Store(&State{})
		}
		h.every = every
		if s := h.state.Load(); s.Down {
			due := s.Probe(m.o.Now())
			h.state.Store(&due)
		}
		hosts[k] = h
	}
	for k, h := range before {
		if hosts[k] == nil {
			h.gone = true
			h.end()
			h.answer()
		}
	}
	m.hosts.Store(&hosts)
	m.look()
}

// end ends what is done because the host is up again.
func (h *host) end() {
	if h.sink != nil {
		h.sink()
		h.sink = nil
	}
}

// answer tells those who asked for a probe that there is nothing to wait for any more.
func (h *host) answer() {
	if h.asked != nil {
		close(h.asked)
		h.asked = nil
	}
}

// State is what is known of a host; the zero State for one that is not watched.
func (m *Monitor) State(k Key) State {
	if h := (*m.hosts.Load())[k]; h != nil {
		return *h.state.Load()
	}
	return State{}
}

// States are what is known of all hosts.
func (m *Monitor) States() map[Key]State {
	states := map[Key]State{}
	for k, h := range *m.hosts.Load() {
		states[k] = *h.state.Load()
	}
	return states
}

// Attempted tells what an attempt at a host, as a whole, came to.
func (m *Monitor) Attempted(k Key, err error) {
	h := (*m.hosts.Load())[k]
	if h == nil {
		return
	}
	if s := h.state.Load(); err == nil && !s.Down && s.failures == 0 {
		return // nothing new
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.become(h, h.state.Load().Attempted(err, m.o.Now(), h.every))
}

// become changes a host's state and does what that asks for.
func (m *Monitor) become(h *host, next State) {
	was := h.state.Swap(&next)
	if h.gone {
		return
	}
	switch {
	case next.Down == was.Down:
	case next.Down:
		h.end()
		m.o.Changed(h.key, next)
	default:
		h.answer()
		m.risen = append(m.risen, h)
		m.o.Changed(h.key, next)
	}
	m.look()
}

// Probe has those of the hosts that are down probed at once and waits for that, until ctx is done at the latest.
func (m *Monitor) Probe(ctx context.Context, keys []Key) {
	for _, asked := range m.ask(keys) {
		select {
		case <-asked:
		case <-ctx.Done():
			return
		}
	}
}

// ask makes probes due and returns what is closed at their ends.
func (m *Monitor) ask(keys []Key) []chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	var asked []chan struct{}
	for _, k := range keys {
		h := (*m.hosts.Load())[k]
		if h == nil || !h.state.Load().Down {
			continue
		}
		if h.asked == nil {
			h.asked = make(chan struct{})
		}
		due := h.state.Load().Probe(m.o.Now())
		h.state.Store(&due)
		asked = append(asked, h.asked)
	}
	m.look()
	return asked
}

// look has Run look at what there is to do.
func (m *Monitor) look() {
	select {
	case m.kick <- struct{}{}:
	default: // it will
	}
}

// Run probes the hosts that are down, until ctx is done. It returns ctx's error, after everything it started has
// ended.
func (m *Monitor) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer m.answerAll()
	defer work.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case <-m.kick:
		}
		timer.Reset(m.turn(ctx, work.Go))
	}
}

// answerAll lets nobody wait for a probe that will not be.
func (m *Monitor) answerAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range *m.hosts.Load() {
		h.answer()
	}
}

// turn starts what there is to do and returns how long nothing else will be.
func (m *Monitor) turn(ctx context.Context, start func(func())) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.risen {
		m.rise(ctx, h, start)
	}
	m.risen = nil
	idle := time.Hour
	for _, h := range *m.hosts.Load() {
		s := h.state.Load()
		wait := s.Due.Sub(m.o.Now())
		switch {
		case !s.Down || h.probing:
		case wait > 0:
			idle = min(idle, wait)
		case m.probing < probesAtOnce: // or else when one of those ends
			m.probing++
			h.probing = true
			start(func() { m.probe(ctx, h) })
		}
	}
	return idle
}

// rise does what there is to do for a host that is up again.
func (m *Monitor) rise(ctx context.Context, h *host, start func(func())) {
	if h.gone || h.state.Load().Down {
		return
	}
	h.end()
	ctx, h.sink = context.WithCancel(ctx)
	start(func() { m.o.Risen(ctx, h.key) })
}

func (m *Monitor) probe(ctx context.Context, h *host) {
	limited, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	err := m.o.Probe(limited, h.key)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.probing--
	h.probing = false
	if ctx.Err() == nil { // a probe that was broken off says nothing
		m.become(h, h.state.Load().Probed(err, m.o.Now(), h.every))
	}
	h.answer()
	m.look()
}
