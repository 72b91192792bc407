package relay

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/rate"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/schedule"
	"github.com/postrider/postrider/relay/spool"
)

// attempt is the second half of a message's path: from the schedule to the next hop, and what came of it into
// the spool. The slot and the lease are free only when the outcome is stored.
func (r *Relay) attempt(ctx context.Context, job *schedule.Job) error {
	defer r.schedule.Done(job)
	s := r.settings.Load()
	if s == nil || r.sender.Leaving(job.Key.ID) {
		return nil // nothing in force yet, or a peer is getting it: the entry stays due
	}
	if off, err := r.directed(s, job.Key); off || err != nil {
		return err
	}
	began := time.Now()
	e, err := r.spool.Begin(job.Key, began)
	if errors.Is(err, spool.ErrNotFound) || errors.Is(err, spool.ErrHeld) {
		return nil // an admin was faster
	}
	if err != nil {
		return err
	}
	outcomes, damaged := r.deliverInTime(ctx, s, &e)
	r.schedule.Delivered(job)
	change := func(current *envelope.Envelope) { settle(current, &e, concluded(ctx, outcomes), time.Now(), s) }
	quoted := r.quoteFor(s, e, change)
	defer quoted.done()
	var made []notice
	var settled []envelope.Recipient
	after, created, err := r.spool.Change(job.Key, func(current *envelope.Envelope) ([]spool.Draft, error) {
		change(current)
		r.quarantine(current, damaged)
		made = s.notices(current, quoted, time.Now())
		settled = slices.Clone(current.Recipients)
		return drafts(made), nil
	})
	if err != nil && !errors.Is(err, spool.ErrNotFound) {
		return err
	}
	r.metrics.duration.Observe(time.Since(began).Seconds())
	r.record(attempted(job, &e, outcomes, settled)...)
	r.record(reported(&e, made, created)...)
	if damaged != nil {
		r.record(eventsOf(event.Held, &after, time.Now(), after.Held)...)
	}
	r.schedule.Wake(created...)
	r.lost(&e, settled)
	r.learn(s, &e, outcomes)
	return nil
}

// deliverInTime makes the attempt, unless the last one was made after the mail's time was over: then that decides.
func (r *Relay) deliverInTime(ctx context.Context, s *settings, e *envelope.Envelope) ([]envelope.Outcome, error) {
	if over := e.Over(time.Now(), s.retry(e.Accepted, 0)); over != nil {
		return over, nil
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	return r.deliver(ctx, s, e)
}

// deliver makes the attempt. The second result is the error of a message whose stored octets are damaged.
func (r *Relay) deliver(ctx context.Context, s *settings, e *envelope.Envelope) ([]envelope.Outcome, error) {
	plan, err := s.router.Plan(ctx, e)
	if err != nil {
		return sameFor(e, envelope.Outcome{Reply: asReply(err), At: time.Now()}), nil
	}
	plan.MaxRecipients, plan.MaxMessages = r.limiter.Sizes(rate.Subject{
		Site: plan.Site, MXHosts: plan.MXHosts, DestinationDomain: e.Domain, SenderDomain: e.SenderDomain(),
	})
	var damaged error
	open := func() (io.ReadCloser, error) {
		m, err := r.spool.Message(e.ID)
		if err != nil {
			if errors.Is(err, spool.ErrDamaged) {
				damaged = err
			}
			return nil, err
		}
		return &noticing{m, &damaged}, nil
	}
	outcomes := r.client.Do(ctx, s.config.Relay.Hostname, e, open, plan)
	return outcomes, damaged
}

// noticing remembers that a message turned out to be damaged while it was read.
type noticing struct {
	io.ReadCloser
	damaged *error
}

func (n *noticing) Read(p []byte) (int, error) {
	count, err := n.ReadCloser.Read(p)
	if errors.Is(err, spool.ErrDamaged) {
		*n.damaged = err
	}
	return count, err
}

func sameFor(e *envelope.Envelope, o envelope.Outcome) []envelope.Outcome {
	outcomes := make([]envelope.Outcome, len(e.Recipients))
	for i := range outcomes {
		outcomes[i] = o
	}
	return outcomes
}

func asReply(err error) reply.Reply {
	var r reply.Reply
	if errors.As(err, &r) {
		return r
	}
	return reply.Reply{Code: 451, Enhanced: "4.3.0", Text: err.Error()}
}

// concluded are the outcomes that count. When ctx is done an attempt was broken off for our own sake: what is not
// decided then has no outcome, code 0, so that it neither expires by it nor waits longer than after a crash.
func concluded(ctx context.Context, outcomes []envelope.Outcome) []envelope.Outcome {
	if ctx.Err() == nil {
		return outcomes
	}
	outcomes = slices.Clone(outcomes)
	for i := range outcomes {
		if outcomes[i].Reply.Class() == reply.Transient {
			outcomes[i].Reply = reply.Reply{}
		}
	}
	return outcomes
}

// settle carries the outcomes of the attempt over to the entry as it is stored now.
func settle(current, attempted *envelope.Envelope, outcomes []envelope.Outcome, now time.Time, s *settings) {
	retry := s.retry(current.Accepted, rand.Float64())
	for i, tried := range attempted.Recipients {
		if outcomes[i].Reply.Code == 0 {
			continue
		}
		for j, r := range current.Recipients {
			if r.Address == tried.Address {
				current.Recipients[j] = r.After(outcomes[i], now, retry)
			}
		}
	}
}

// quarantine holds an entry whose stored octets fail their checksum, so that all others flow. What was settled
// before the damage was met stays settled.
func (r *Relay) quarantine(e *envelope.Envelope, damaged error) {
	if damaged == nil {
		return
	}
	e.Held = damaged.Error()
	r.log.Error("message held: it is damaged", "spool_id", e.ID, "domain", e.Domain, "error", damaged)
}
