package relay

import (
	"errors"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/route"
	"github.com/postrider/postrider/relay/spool"
	"github.com/postrider/postrider/relay/status"
)

// slowest is how many destinations a report explains.
const slowest = 10

// Status implements admin.Relay.
func (r *Relay) Status() status.Status {
	// In this order: under a configuration that cordons the pod, nothing receiving and then nothing queued is for good.
	s := r.settings.Load()
	receiving := r.receiving.Load() + r.receiver.Receiving()
	st := status.Status{
		Pod:             r.options.Pod,
		Version:         r.options.Version,
		ConfigFormat:    config.Format,
		Started:         r.started,
		Queue:           queueOf(r.spool.Totals(), r.spool.Oldest()),
		DiskLow:         r.pressure.lowDisk.Load(),
		Slowest:         r.slowest(slowest),
		Ledger:          status.Ledger(r.spool.Ledger()),
		Listeners:       r.ports.status(),
		TokenKeysWanted: r.ports.wantTokenKeys(),
		Receiving:       receiving,
		Handoff:         r.handingOff(),
	}
	if why := r.configError.Load(); why != nil {
		st.ConfigError = *why
	}
	if err := r.Ready(); err != nil {
		st.NotReady = err.Error()
	}
	if s != nil {
		st.Generation, st.Exceeds = s.config.Generation, r.exceeds()
		for _, p := range s.config.Relay.Policies {
			st.Policies = append(st.Policies, p.Name)
		}
	}
	return st
}

func queueOf(c spool.Counts, oldest time.Time) status.Queue {
	q := status.Queue{Queued: c.Queued, Deferred: c.Deferred, Held: c.Held, Damaged: c.Damaged}
	if !oldest.IsZero() {
		q.Oldest = &oldest
	}
	return q
}

// slowest explains the destinations whose oldest mail is oldest, by that mail and by what the schedule says of the
// destination.
func (r *Relay) slowest(limit int) []status.Destination {
	waiting, now := r.schedule.Waiting(), time.Now()
	var explained []status.Destination
	for _, d := range r.spool.Slowest(limit, nil) {
		to := status.Destination{Domain: d.Domain, Queue: queueOf(d.Counts, d.Oldest)}
		e, err := r.spool.First(d.Domain)
		if errors.Is(err, spool.ErrNotFound) {
			continue // it has gone since
		}
		if err == nil {
			f := facts{entry: e, directive: r.directiveFor(&e, now), down: r.nextHopDown(&e), now: now}
			f.waiting, f.inMemory = waiting[d.Domain]
			x := explain(f)
			to.Reason, to.Since, to.Reply = x.Reason, x.Since, x.Reply
		}
		explained = append(explained, to)
	}
	return explained
}

// deferral is the reason that a temporary reply stands for: X.4.3 is directory server failure (RFC 3463 §3.5).
func deferral(last reply.Reply) status.Reason {
	switch {
	case last.Enhanced == "4.4.3":
		return status.LookupFailed
	case route.NextHopDown(last):
		return status.NextHopDown
	default:
		return status.Deferred
	}
}

func lastOutcome(e envelope.Envelope) *envelope.Outcome {
	var last *envelope.Outcome
	for _, r := range e.Recipients {
		if r.Last != nil && (last == nil || r.Last.At.After(last.At)) {
			last = r.Last
		}
	}
	return last
}
