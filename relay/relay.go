// Package relay wires the engine together: it alone knows all of its parts. It opens the spool, follows the
// configuration, runs listeners, schedule and attempts, and stops them in order.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/deliver"
	"github.com/postrider/postrider/relay/filter"
	"github.com/postrider/postrider/relay/handoff"
	"github.com/postrider/postrider/relay/health"
	"github.com/postrider/postrider/relay/journal"
	"github.com/postrider/postrider/relay/rate"
	"github.com/postrider/postrider/relay/schedule"
	"github.com/postrider/postrider/relay/spool"
	"github.com/postrider/postrider/relay/suppress"
	"github.com/postrider/postrider/relay/tracing"
	"github.com/postrider/postrider/relay/verify"
	"github.com/postrider/postrider/relay/webhook"
)

// Options say where a relay finds its things.
type Options struct {
	// ConfigDir holds the configuration; see relay/config.
	ConfigDir string
	// DataDir is where the spool is kept.
	DataDir string
	// AdminSocket is the path of the Unix socket for the CLI; empty for none.
	AdminSocket string
	// Bind is the address that listeners and admin ports listen on; empty for all.
	Bind string
	// HealthAddress is host:port of the kubelet's probes; empty for none.
	HealthAddress string
	// Pod is the name in status; Version is ours.
	Pod, Version string
	// PodUID tells the pod from others of its name; empty without a cluster.
	PodUID string
	// Local says that this is the admin's own machine: webhooks may be on it, and when it is stopped somebody waits.
	Local bool
	// DrainEndpoints returns when load balancers have learned that the relay, which was told to stop, is not ready any
	// more; until then new clients are served as before. Nil where there is none.
	DrainEndpoints func()
	Log            *slog.Logger
}

const (
	// attempts is how many deliveries may be in flight at the same time.
	attempts = 256
	// attemptTime is how long an attempt may take: at each of ten addresses all that the time-outs of the protocol allow
	// would be longer. What is undecided then is deferred.
	attemptTime = 2 * time.Hour
	// overdue is how long after that one is given up that still does not end: later than the last answer is waited for.
	overdue = 5*time.Minute + config.ReplySeconds*time.Second
	// grace is how long attempts in flight may go on after a relay was told to stop. Those that have sent the whole
	// message wait for the answer, however long that takes; see config.ReplySeconds.
	grace = (config.EndpointSeconds + config.SessionSeconds) * time.Second
	// localReply is how long they wait where somebody waits for them.
	localReply = 5 * time.Second
)

// Relay is a running engine.
type Relay struct {
	options  Options
	log      *slog.Logger
	started  time.Time
	spool    *spool.Store
	limiter  *rate.Limiter
	schedule *schedule.Scheduler
	client   *deliver.Client
	hops     *health.Monitor
	verifier *verify.Verifier
	metrics  *metrics
	doors    *doors
	ports    *ports
	pressure *pressure
	journal  *journal.Journal
	tracer   *tracing.Tracer
	webhooks *webhook.Hooks
	// filterMetrics outlive the filters of a configuration.
	filterMetrics *filter.Metrics
	// quotes are the places in memory for messages that DSNs return whole.
	quotes chan struct{}
	// copies are buffers for the bodies of messages that come in, as *[]byte.
	copies sync.Pool
	// sinks are told of all that happens to mail. They do not change while the relay runs.
	sinks []sink

	directives *directives

	suppressions *suppress.List

	sender   *handoff.Sender
	receiver *handoff.Receiver
	// receiving counts the messages that are coming in from clients.
	receiving atomic.Int64

	// idleFromBefore says that connections may wait for another message that were opened under other policies.
	idleFromBefore atomic.Bool

	// settings is the configuration in force, nil before the first one.
	settings atomic.Pointer[settings]
	// relieve starts another worker for attempts.
	relieve func()
	// configError says why a newer configuration is not in force.
	configError atomic.Pointer[string]
	selfTest    selfTest
	stopping    atomic.Bool
}

// Run opens the spool in o.DataDir and relays mail until ctx is done; then it is not ready any more, refuses new mail
// with 421 when o.DrainEndpoints returns, lets transactions and attempts in flight end, and closes the spool. A relay that
// was killed instead has lost nothing. config.TerminationSeconds is how long all that takes at most.
func Run(ctx context.Context, o Options) error {
	r, err := open(o)
	if err != nil {
		return err
	}
	holding, release := context.WithCancel(context.Background())
	var held sync.WaitGroup
	held.Go(func() { r.holdSpool(holding) }) // to the very end: an attempt in flight may take its time
	defer held.Wait()
	defer release()
	return errors.Join(r.run(ctx), r.close())
}

func open(o Options) (*Relay, error) {
	fence, err := fenceAtStart(o)
	if err != nil {
		return nil, err
	}
	store, err := spool.Open(filepath.Join(o.DataDir, "spool"), spool.Options{Logger: o.Log, Holder: o.PodUID, Token: fence.Token})
	if err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	r := &Relay{
		options: o,
		log:     o.Log,
		started: time.Now(),
		spool:   store,
		limiter: rate.New(time.Now),
		quotes:  make(chan struct{}, wholeQuotes),
		journal: journal.New(journal.Options{Dir: filepath.Join(o.DataDir, "journal"), Log: o.Log}),
	}
	r.tracer = tracing.New(tracing.Options{Pod: o.Pod, Version: o.Version, Log: o.Log})
	r.sinks = []sink{r.journal}
	r.suppressions = suppress.New(store)
	r.client = deliver.New(deliver.Options{Observe: r.observeHop, Log: o.Log, LastReply: lastReply(o.Local)})
	r.verifier = verify.New(verify.Options{Prober: r.client})
	r.hops = health.New(health.Options{Probe: r.probeHop, Changed: r.hopChanged, Risen: r.resync})
	r.schedule = schedule.New(schedule.Options{
		Store:       store,
		Limiter:     r.limiter,
		Site:        r.site,
		Weight:      r.weight,
		Farthest:    r.farthest,
		MaxInFlight: attempts,
		Stall:       attemptTime + overdue,
		Stalled:     r.stalled,
	})
	if r.directives, err = openDirectives(store); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	if err := r.newHandoff(); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	r.metrics = newMetrics(r)
	r.ports = newPorts(r)
	r.doors = newDoors(r)
	r.pressure = &pressure{free: store.Free, memory: memoryInUse, pause: r.ports.caps.Pause, log: o.Log}
	r.pressure.check()
	r.webhooks = newWebhooks(r)
	r.filterMetrics = filter.NewMetrics(r.metrics.registry)
	r.sinks = append(r.sinks, r.webhooks)
	return r, nil
}

func (r *Relay) close() error {
	r.client.CloseIdle()
	return r.spool.Close()
}

// run starts everything and stops it in order: listeners first, so that nothing new comes in; then the schedule,
// so that nothing new goes out; the admin doors last, so that one can watch. A door that cannot be opened or the
// schedule's end stops it all: half a relay would be worse than one that is started again.
func (r *Relay) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	working, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	watching, stopDoors := context.WithCancel(context.WithoutCancel(ctx))
	defer stopDoors()

	var doors, work errgroup.Group
	doors.Go(func() error { defer stop(); return r.doors.serve(watching) })
	doors.Go(func() error { r.journal.Run(watching); return nil })
	work.Go(func() error { r.endDirectives(working); return nil })
	work.Go(func() error { r.sweepSuppressions(working); return nil })
	work.Go(func() error { r.sender.Run(working); return nil })
	work.Go(func() error { r.sweepHandoffs(working); return nil })
	work.Go(func() error { r.pressure.watch(working); return nil })
	work.Go(func() error { r.tidy(working); return nil })
	work.Go(func() error { return r.hops.Run(working) })
	work.Go(func() error { r.verifySpool(working); return nil })
	work.Go(func() error { r.prove(working); return nil })
	r.startAttempts(ctx, working, &work)
	work.Go(func() error { defer stop(); return r.schedule.Run(working) })

	err := r.follow(ctx) // until ctx is done
	r.stopping.Store(true)
	if r.options.DrainEndpoints != nil {
		r.log.Info("stopping: not ready any more")
		r.options.DrainEndpoints()
	}
	r.log.Info("stopping: no new mail is accepted")
	r.ports.drain()
	stopWork()
	err = errors.Join(err, ignoreCanceled(work.Wait()))
	r.ports.shutdown()
	r.webhooks.Close()
	r.tracer.Close()
	stopDoors()
	return errors.Join(err, ignoreCanceled(doors.Wait()))
}

// startAttempts runs the attempts until ctx is done. One that is running then may go on until the grace period is
// over, which begins when told is done: sessions that end meanwhile do not prolong it.
func (r *Relay) startAttempts(told, ctx context.Context, group *errgroup.Group) {
	lingering, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(told, func() { time.AfterFunc(grace, cancel) })
	r.relieve = func() { group.Go(func() error { return r.attempts(lingering, ctx) }) }
	for range attempts {
		r.relieve()
	}
}

// attempts makes one attempt after the other until ctx is done.
func (r *Relay) attempts(lingering, ctx context.Context) error {
	for {
		job, err := r.schedule.Next(ctx)
		if err != nil {
			return err
		}
		r.metrics.inFlight.Inc()
		err = r.attempt(lingering, job)
		r.metrics.inFlight.Dec()
		if err != nil {
			r.log.Error("attempt not recorded; it will be repeated", "spool_id", job.Key.ID, "error", err)
		}
	}
}

// stalled is told of an attempt that does not end, though its time was over: somebody else takes up its slot.
func (r *Relay) stalled(job *schedule.Job) {
	r.log.Error("an attempt does not end; its mail is not tried again before it does, or before a restart",
		"spool_id", job.Key.ID, "domain", job.Key.Domain, "site", job.Site, "began", job.Began())
	r.relieve()
}

// verifySpool reads what opening the spool left unread. It ends with the relay at the latest.
func (r *Relay) verifySpool(ctx context.Context) {
	if err := r.spool.Verify(ctx); err != nil {
		r.log.Error("the spool could not be verified; what is damaged is found when it is read", "error", err)
	}
}

// lastReply is how long an attempt that was broken off waits for the answer to a message that was sent whole.
func lastReply(local bool) time.Duration {
	if local {
		return localReply
	}
	return config.ReplySeconds * time.Second
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// site is where mail of a sender domain for a domain goes, as the schedule wants to know it.
func (r *Relay) site(ctx context.Context, senderDomain, domain string) (string, []string) {
	s := r.settings.Load()
	if s == nil {
		return domain, nil
	}
	return s.router.Site(ctx, senderDomain, domain)
}

// weight is the share of a sender domain at a site.
func (r *Relay) weight(senderDomain string) int {
	if s := r.settings.Load(); s != nil {
		if weight, set := s.weights[senderDomain]; set {
			return weight
		}
	}
	return config.DefaultWeight
}

// Ready implements admin.Relay.
func (r *Relay) Ready() error {
	switch {
	case r.stopping.Load():
		return errors.New("stopping")
	case r.selfTest.result() != nil:
		return r.selfTest.result()
	default:
		return r.ports.ready()
	}
}

func (r *Relay) whyNoConfig() string {
	if why := r.configError.Load(); why != nil {
		return *why
	}
	return "none was read"
}

var _ admin.Relay = (*Relay)(nil)
