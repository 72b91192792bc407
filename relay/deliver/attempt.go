package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

// attempt is the state of one Do.
type attempt struct {
	client   *Client
	ehlo     string
	envelope *envelope.Envelope
	open     func() (io.ReadCloser, error)

	outcomes []envelope.Outcome
	// pending are the recipients, by index, whose outcome may still change.
	pending []int
	// failed is what became of the hosts that got no further than EHLO.
	failed envelope.Outcome
}

func newAttempt(c *Client, ehlo string, e *envelope.Envelope, open func() (io.ReadCloser, error)) *attempt {
	a := &attempt{client: c, ehlo: ehlo, envelope: e, open: open, outcomes: make([]envelope.Outcome, len(e.Recipients))}
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

// try goes as far as it can with one address.
func (a *attempt) try(ctx context.Context, t target) {
	conn := a.client.pool.take(t.key)
	if conn == nil {
		conn = a.connect(ctx, t)
	}
	for conn != nil && len(a.pending) > 0 {
		stop := context.AfterFunc(ctx, conn.abort)
		err := a.transact(conn, t)
		alive := stop() && err == nil
		switch {
		case alive && conn.messages < maxMessages:
		case alive:
			conn.quit()
			conn = a.connectIfPending(ctx, t)
		case errors.Is(err, errStale) && ctx.Err() == nil:
			conn.close()
			conn = a.connect(ctx, t)
		default:
			conn.close()
			a.hostFailed(err, conn.outcome(t))
			return
		}
	}
	if conn != nil {
		a.client.pool.put(conn)
	}
}

func (a *attempt) connectIfPending(ctx context.Context, t target) *conn {
	if len(a.pending) == 0 {
		return nil
	}
	return a.connect(ctx, t)
}

// connect opens a session. When that fails, the failure is noted and there is none.
func (a *attempt) connect(ctx context.Context, t target) *conn {
	conn, reached, err := a.client.connect(ctx, t)
	if errors.Is(err, errNotSecure) && t.mayGoPlain() && ctx.Err() == nil {
		a.client.plain.remember(t.key.addr, a.client.o.Now())
		conn, reached, err = a.client.connect(ctx, t)
	}
	if err == nil {
		return conn
	}
	var o envelope.Outcome
	if reached {
		o.NextHop = t.String()
	}
	a.hostFailed(err, o)
	return nil
}

// hostFailed notes why a host was of no use; the last one's reason is what is reported. Such a reason is never
// permanent.
func (a *attempt) hostFailed(err error, o envelope.Outcome) {
	if err == nil {
		return
	}
	o.Reply = replyFor(err)
	o.At = a.client.o.Now()
	a.failed = o
}

// end gives the recipients that no host decided over the last failure.
func (a *attempt) end(ctx context.Context) []envelope.Outcome {
	if a.failed.Reply.Code == 0 || ctx.Err() != nil {
		a.failed.Reply = reply.Reply{Code: 421, Enhanced: "4.4.1", Text: "there is no next hop to try"}
		if ctx.Err() != nil {
			a.failed.Reply = reply.Reply{Code: 421, Enhanced: "4.3.2", Text: "the attempt was broken off: " + context.Cause(ctx).Error()}
		}
		a.failed.At = a.client.o.Now()
	}
	for _, i := range a.pending {
		if a.outcomes[i].Reply.Code == 0 {
			a.outcomes[i] = a.failed
		}
	}
	return a.outcomes
}

// transact makes one transaction for the first of the pending recipients and settles what it decides. An error
// means that the connection is of no more use.
func (a *attempt) transact(conn *conn, t target) error {
	to := a.pending[:min(len(a.pending), maxRecipients)]
	tx := transaction{conn: conn, envelope: a.envelope, to: to, open: a.open, replies: make([]reply.Reply, len(to))}
	err := tx.run()
	outcome := conn.outcome(t)
	outcome.At = a.client.o.Now()
	var again []int
	for n, i := range to {
		if outcome.Reply = tx.replies[n]; outcome.Reply.Code != 0 {
			a.outcomes[i] = outcome
		}
		if outcome.Reply.Code == 0 || tx.again(n) {
			again = append(again, i)
		}
	}
	a.pending = append(again, a.pending[len(to):]...)
	return err
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
	var network net.Error
	switch {
	case errors.As(err, &f):
		return f.reply
	case errors.As(err, &garbled):
		return reply.Reply{Code: 451, Enhanced: "4.5.0", Text: err.Error()}
	case errors.As(err, &network) && network.Timeout():
		return reply.Reply{Code: 421, Enhanced: "4.4.2", Text: fmt.Sprintf("time-out: %v", err)}
	default:
		return reply.Reply{Code: 421, Enhanced: "4.4.2", Text: fmt.Sprintf("connection lost: %v", err)}
	}
}

// plainFor is how long a host whose TLS failed is spoken to without.
const plainFor = 10 * time.Minute
