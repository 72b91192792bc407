package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/route"
)

// attempt is the state of one Do or Probe.
type attempt struct {
	client   *Client
	ehlo     string
	envelope *envelope.Envelope
	open     func() (io.ReadCloser, error) // nil for a probe
	plan     route.Plan

	outcomes []envelope.Outcome
	// pending are the recipients, by index, whose outcome may still change.
	pending []int
	tries   int
	// ready says that the host at hand got as far as MAIL, unheard that one before it did not.
	ready, unheard bool
	// conn is the connection at hand.
	conn *conn
	// failed is what became of the hosts that decided nothing; unfit is that of the first that lacks an extension.
	failed, unfit envelope.Outcome
}

func newAttempt(c *Client, ehlo string, e *envelope.Envelope, open func() (io.ReadCloser, error), plan route.Plan) *attempt {
	a := &attempt{client: c, ehlo: ehlo, envelope: e, open: open, plan: plan, unheard: plan.Skipped, outcomes: make([]envelope.Outcome, len(e.Recipients))}
	from := unsendable(e.ReversePath, e.UTF8, "5.1.7")
	for i, r := range e.Recipients {
		to := unsendable(r.Address, e.UTF8, "5.1.3")
		switch {
		case from.Code != 0:
			a.outcomes[i] = envelope.Outcome{Reply: from, At: c.o.Now()}
		case to.Code != 0:
			a.outcomes[i] = envelope.Outcome{Reply: to, At: c.o.Now()}
		default:
			a.pending = append(a.pending, i)
		}
	}
	return a
}

// run makes the attempt. A panic ends it, and nothing else.
func (a *attempt) run(ctx context.Context) (outcomes []envelope.Outcome) {
	defer func() {
		if p := recover(); p != nil {
			outcomes = a.panicked(p)
		}
	}()
	onlyUp := a.client.down.spares(a.plan, a.client.o.Now())
	for _, hop := range a.plan.Hops {
		if a.over(ctx) {
			break
		}
		a.visit(ctx, hop, onlyUp)
	}
	return a.end(ctx)
}

func (a *attempt) over(ctx context.Context) bool {
	return len(a.pending) == 0 || a.tries == maxTries || ctx.Err() != nil
}

// visit tries the addresses of a host until one has said what there is to say.
func (a *attempt) visit(ctx context.Context, hop route.Hop, onlyUp bool) {
	a.ready = false
	var trouble error
	before := a.tries
	for _, addr := range hop.Addrs {
		t := newTarget(hop, addr, a.ehlo)
		if onlyUp && a.client.down.holds(t.key.addr, a.client.o.Now()) {
			continue
		}
		a.tries++
		if trouble = a.try(ctx, t); trouble == nil || a.over(ctx) {
			break
		}
	}
	a.unheard = a.unheard || !a.ready
	if a.tries > before && a.open != nil && a.client.o.Observe != nil && ctx.Err() == nil {
		if a.ready {
			trouble = nil
		}
		a.client.o.Observe(hop, trouble)
	}
}

// try goes as far as it can with one address. Its error is the address's trouble: another one may help.
func (a *attempt) try(ctx context.Context, t target) error {
	a.conn = a.waiting(t)
	for len(a.pending) > 0 {
		if a.conn == nil {
			var err error
			if a.conn, err = a.client.session(ctx, t); err != nil {
				return a.hostFailed(err, unreachedOutcome(err, t))
			}
		}
		if lack := a.conn.lack(a.envelope); lack.Code != 0 {
			a.lacking(lack, t)
			break
		}
		err := a.transact(ctx, t)
		if err != nil && !errors.Is(err, errStale) {
			a.ready = true
			outcome := a.conn.outcome(t)
			a.conn.close()
			return a.hostFailed(err, outcome)
		}
		a.next(err)
	}
	if a.conn != nil {
		a.client.pool.put(a.conn)
	}
	return nil
}

// waiting takes a connection out of the pool that may carry one more message.
func (a *attempt) waiting(t target) *conn {
	conn := a.client.pool.take(t.key)
	if conn != nil && conn.messages >= conn.maxMessages(a.plan.MaxMessages) {
		conn.quit()
		return nil
	}
	return conn
}

// next lets go of a connection that is of no more use after a transaction.
func (a *attempt) next(stale error) {
	a.ready = a.ready || stale == nil
	switch {
	case stale != nil:
		a.conn.close()
	case a.conn.messages >= a.conn.maxMessages(a.plan.MaxMessages):
		a.conn.quit()
	default:
		return
	}
	a.conn = nil
}

// lacking notes that a host cannot be given the message. That is final only when no host goes before it that might
// have taken it.
func (a *attempt) lacking(lack reply.Reply, t target) {
	a.ready = true
	if a.unheard {
		lack.Code, lack.Enhanced = 451, "4"+lack.Enhanced[1:]
		lack.Text += "; a host that goes before it cannot be asked now"
	}
	if a.unfit.Reply.Code == 0 {
		a.unfit = a.conn.outcome(t)
		a.unfit.Reply, a.unfit.At = lack, a.client.o.Now()
	}
}

// hostFailed notes why a host was of no use; the last one's reason is what is reported. Such a reason is never
// permanent.
func (a *attempt) hostFailed(err error, o envelope.Outcome) error {
	o.Reply = replyFor(err)
	o.At = a.client.o.Now()
	a.failed = o
	a.conn = nil
	return err
}

// unreachedOutcome is that of a target there is no session with.
func unreachedOutcome(err error, t target) envelope.Outcome {
	if errors.Is(err, errUnreached) {
		return envelope.Outcome{}
	}
	return envelope.Outcome{NextHop: t.String()}
}

func noNextHop() reply.Reply {
	return reply.Reply{Code: 421, Enhanced: "4.4.1", Text: "there is no next hop to try"}
}

// end gives the recipients that no host decided over what the hosts lacked, else the last failure.
func (a *attempt) end(ctx context.Context) []envelope.Outcome {
	last := a.failed
	switch {
	case ctx.Err() != nil:
		text := "the attempt was broken off: " + context.Cause(ctx).Error()
		last.Reply, last.At = reply.Reply{Code: 421, Enhanced: "4.3.2", Text: text}, a.client.o.Now()
	case a.unfit.Reply.Code != 0:
		last = a.unfit
	case last.Reply.Code == 0:
		last.Reply, last.At = noNextHop(), a.client.o.Now()
	}
	return a.settled(last)
}

func (a *attempt) settled(last envelope.Outcome) []envelope.Outcome {
	for _, i := range a.pending {
		if a.outcomes[i].Reply.Code == 0 {
			a.outcomes[i] = last
		}
	}
	return a.outcomes
}

// panicked defers what is undecided.
func (a *attempt) panicked(p any) []envelope.Outcome {
	a.client.o.Log.Error("panic in a delivery attempt", "spool_id", a.envelope.ID, "domain", a.envelope.Domain,
		"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if a.conn != nil {
		a.conn.abort()
	}
	internal := reply.Reply{Code: 451, Enhanced: "4.3.0", Text: "internal error"}
	return a.settled(envelope.Outcome{Reply: internal, At: a.client.o.Now()})
}

// transact makes one transaction for the first of the pending recipients and settles what it decides. An error
// means that the connection is of no more use.
func (a *attempt) transact(ctx context.Context, t target) (err error) {
	conn := a.conn
	conn.handed.Store(false)
	stop := context.AfterFunc(ctx, func() { conn.interrupt(a.client.o.LastReply) })
	defer func() {
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
	}()
	to := a.pending[:min(len(a.pending), conn.maxRecipients(a.plan.MaxRecipients))]
	tx := transaction{conn: conn, envelope: a.envelope, to: to, open: a.open, replies: make([]reply.Reply, len(to))}
	err = tx.run()
	if tx.misunderstood && ctx.Err() == nil {
		conn.careful = true
		a.client.careful.remember(t.key.addr, a.client.o.Now())
	}
	a.settle(&tx, t)
	return err
}

// settle carries over what a transaction decided.
func (a *attempt) settle(tx *transaction, t target) {
	outcome := tx.conn.outcome(t)
	outcome.At = a.client.o.Now()
	var again []int
	for n, i := range tx.to {
		outcome.Reply, outcome.Handover = tx.replies[n], envelope.HandoverRelayed
		outcome.AtRecipient = tx.refusedAtRCPT(n)
		if outcome.Reply.Class() == reply.Success {
			outcome.Handover = tx.conn.handover()
		}
		if outcome.Reply.Code != 0 {
			a.outcomes[i] = outcome
		}
		if tooMany := tx.again(n); tooMany || outcome.Reply.Code == 0 {
			again = append(again, i)
			if tooMany {
				tx.conn.limits.recipients = tx.answers.accepted()
			}
		}
	}
	a.pending = append(again, a.pending[len(tx.to):]...)
}

// failure is a host-level failure with the reply that stands for it.
type failure struct {
	reply reply.Reply
	cause error
}

func (f failure) Error() string { return f.reply.String() }
func (f failure) Unwrap() error { return f.cause }

// replyFor is the reply that stands for a failure.
func replyFor(err error) reply.Reply {
	var f failure
	var garbled protocolError
	switch {
	case errors.As(err, &f):
		return f.reply
	case errors.As(err, &garbled):
		return reply.Reply{Code: 451, Enhanced: "4.5.0", Text: err.Error()}
	case isTimeout(err):
		return reply.Reply{Code: 421, Enhanced: "4.4.2", Text: fmt.Sprintf("time-out: %v", err)}
	default:
		return reply.Reply{Code: 421, Enhanced: "4.4.2", Text: fmt.Sprintf("connection lost: %v", err)}
	}
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}
