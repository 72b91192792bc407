package webhook

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	// waiting is how many events may wait for the queue's owner.
	waiting = 4096
	// burst is how many of them it takes before it looks at anything else.
	burst = 1024
	// lastWords is how long a request may go on when the relay stops.
	lastWords = 2 * time.Second

	lowDisk = "the disk is below its reserve"
)

// hook is one webhook. Its goroutine, run, owns the queue.
type hook struct {
	name     string
	dir      string
	options  Options
	metrics  *metrics
	log      *slog.Logger
	settings atomic.Pointer[settings]
	// dropping says that events are being lost, and that the log has it.
	dropping atomic.Bool

	incoming chan *occurrence
	changed  chan struct{}
	stopping chan struct{}
	// patient says that what is under way may end when stopping is closed; set before that.
	patient bool
	ended   chan struct{}

	// What follows belongs to run.
	queue    *queue
	broken   error  // why there is no queue
	batch    *batch // to be told
	failures int    // in a row
	due      time.Time
	answered chan answer
	posting  bool
	asked    *settings // of the request that is under way
	cancel   context.CancelFunc
}

func newHook(h *Hooks, name string) *hook {
	return &hook{
		name: name, dir: h.dirOf(name), options: h.options, metrics: h.metrics,
		log:      h.options.Log.With("webhook", name),
		incoming: make(chan *occurrence, waiting),
		changed:  make(chan struct{}, 1),
		stopping: make(chan struct{}),
		ended:    make(chan struct{}),
		answered: make(chan answer, 1),
	}
}

// use puts settings in force. What waits is tried at once.
func (k *hook) use(s *settings) {
	k.settings.Store(s)
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// offer hands an event over, or drops it.
func (k *hook) offer(o *occurrence) {
	if !k.settings.Load().wants(o.Type) {
		return
	}
	select {
	case k.incoming <- o:
	default:
		k.drop(1, "they come faster than they can be written")
	}
}

// drop counts events that are lost. The log says it once, until a batch gets through.
func (k *hook) drop(n int, why string) {
	if n == 0 {
		return
	}
	k.metrics.dropped.WithLabelValues(k.name).Add(float64(n))
	if !k.dropping.Swap(true) {
		k.log.Warn("events are being dropped; postrider_webhook_events_dropped_total counts them", "reason", why)
	}
}

// stop tells run to end.
func (k *hook) stop(patient bool) {
	k.patient = patient
	close(k.stopping)
}

// end tells run to end and waits for it.
func (k *hook) end(patient bool) {
	k.stop(patient)
	<-k.ended
}

// run writes events down and tells them, until it is stopped.
func (k *hook) run() {
	defer close(k.ended)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		k.ready()
		if wait := k.tell(ctx); wait > 0 {
			timer.Reset(wait)
		}
		select {
		case o := <-k.incoming:
			k.write(o)
		case a := <-k.answered:
			k.settle(a)
		case <-k.changed:
			k.due, k.failures = time.Time{}, 0
		case <-timer.C:
		case <-k.stopping:
			k.finish(cancel)
			return
		}
	}
}

// ready opens the queue, where that has not happened yet.
func (k *hook) ready() {
	if k.queue != nil {
		return
	}
	if k.queue, k.broken = openQueue(k.dir, k.options.Quota); k.broken == nil {
		k.count()
	}
}

func (k *hook) count() { k.metrics.queued.WithLabelValues(k.name).Set(float64(k.queue.waiting())) }

// write puts an event, and those that wait behind it, into the queue. When the disk is low, events give way to mail.
func (k *hook) write(o *occurrence) {
	if k.queue != nil && k.options.Low() {
		k.drop(k.queue.giveWay(), lowDisk)
	}
	for n := 1; ; n++ {
		k.add(o)
		if n == burst {
			break
		}
		var more bool
		select {
		case o = <-k.incoming:
			more = true
		default:
		}
		if !more {
			break
		}
	}
	if k.queue != nil {
		k.trouble(k.queue.flush())
		k.count()
	}
}

func (k *hook) add(o *occurrence) {
	switch {
	case k.queue == nil:
		k.drop(1, "the queue cannot be opened: "+k.broken.Error())
		return
	case k.options.Low():
		k.drop(1, lowDisk)
		return
	}
	line, err := o.line(k.settings.Load().source)
	dropped := 0
	if err == nil {
		dropped, err = k.queue.add(line)
	}
	k.drop(dropped, "the queue is full")
	var lost *lostError
	if err != nil && !errors.As(err, &lost) {
		k.drop(1, err.Error())
		return
	}
	k.trouble(err)
}

// trouble takes note of events that could not be written.
func (k *hook) trouble(err error) {
	var lost *lostError
	if errors.As(err, &lost) {
		k.drop(lost.events, lost.Error())
	}
}

// tell sends the next batch, if there is one. It returns how long to wait for the time when it is due; 0 when
// something else must happen first.
func (k *hook) tell(ctx context.Context) time.Duration {
	s := k.settings.Load()
	if k.posting || k.queue == nil || s.problem != nil {
		return 0
	}
	if wait := time.Until(k.due); wait > 0 {
		return wait
	}
	for k.batch == nil || k.batch.events == 0 {
		if k.batch != nil { // it held nothing that can be told
			k.finished(k.batch.spoilt)
		}
		if k.batch = k.next(); k.batch == nil {
			return 0
		}
	}
	body := k.batch.body
	ctx, k.cancel = context.WithCancel(ctx)
	k.posting, k.asked = true, s
	go func() { k.answered <- s.post(ctx, body, time.Now()) }()
	return 0
}

// next is the batch that has waited longest. A segment that cannot be read is given up.
func (k *hook) next() *batch {
	for {
		b, err := k.queue.take()
		var lost *lostError
		switch {
		case err == nil:
			return b
		case errors.As(err, &lost):
			k.trouble(err)
		default:
			k.drop(k.queue.drop(), err.Error())
		}
	}
}

// settle decides what an answer means for the batch.
func (k *hook) settle(a answer) {
	k.posting = false
	k.cancel()
	fate := a.fate()
	if fate != taken {
		k.metrics.failed.WithLabelValues(k.name).Inc()
	}
	switch fate {
	case again:
		if k.asked != k.settings.Load() {
			return // others are in force by now: they are tried at once
		}
		k.failures++
		wait := a.wait(k.failures, k.options.backoff, rand.Float64())
		k.due = time.Now().Add(wait)
		if k.failures == 1 {
			k.log.Warn("a webhook does not take events; they wait", "answer", a.String())
		}
		return
	case refused:
		k.drop(k.batch.events, "the webhook refuses them: "+a.String())
	case taken:
		k.metrics.sent.WithLabelValues(k.name).Add(float64(k.batch.events))
		k.dropping.Store(false)
	}
	if k.failures > 0 {
		k.log.Info("the webhook answers again", "answer", a.String())
	}
	k.failures, k.due = 0, time.Time{}
	k.finished(k.batch.spoilt)
}

// finished takes the batch off the queue.
func (k *hook) finished(spoilt int) {
	k.drop(spoilt, "what stands in the queue is damaged")
	if err := k.queue.settle(k.batch); err != nil {
		k.log.Warn("some events will be told again after a restart", "error", err)
	}
	k.batch = nil
	k.count()
}

// finish writes down what waits, and lets a request that is under way end.
func (k *hook) finish(cancel context.CancelFunc) {
	for more := true; more; {
		select {
		case o := <-k.incoming:
			k.write(o)
		default:
			more = false
		}
	}
	if k.posting {
		if k.patient {
			defer time.AfterFunc(lastWords, cancel).Stop()
		} else {
			cancel()
		}
		k.settle(<-k.answered)
	}
	if k.queue != nil {
		k.trouble(k.queue.seal())
	}
	if s := k.settings.Load(); s.client != nil {
		s.client.CloseIdleConnections()
	}
}
