package envelope

import (
	"math"
	"time"

	"github.com/postrider/postrider/relay/reply"
)

// Retry is what decides over a recipient's next attempt.
type Retry struct {
	// Initial is the wait after the first failed attempt; it doubles with each further one, up to Max.
	Initial, Max time.Duration
	// Expires is when the recipient is given up.
	Expires time.Time
	// Jitter in [0,1) spreads the wait over 75 % to 125 % of the nominal one.
	Jitter float64
}

// Wait is the time from a failed attempt to the next one.
func (p Retry) Wait(attempts int) time.Duration {
	nominal := float64(p.Initial) * math.Pow(2, float64(min(max(attempts-1, 0), 62)))
	nominal = min(nominal, float64(p.Max))
	return time.Duration(nominal * (0.75 + p.Jitter/2))
}

// expired says whether a recipient is given up after an attempt without a decision. One that was last tried long
// before its end has one more: the clock may have leapt, or the relay stood still, and then all mail would end at its
// first attempt. When all is well the last two attempts are no more than the longest wait apart.
func (p Retry) expired(before *Outcome, now time.Time) bool {
	return !now.Before(p.Expires) && before != nil && p.Expires.Sub(before.At) <= p.Max*5/4
}

// Over are the last outcomes of an entry when all of its recipients were tried after their time was over and may be
// given up for these; nil when another attempt is due. It is asked when the entry is taken up, in place of an attempt.
func (e *Envelope) Over(now time.Time, p Retry) []Outcome {
	if now.Before(p.Expires) {
		return nil
	}
	var last []Outcome
	for i := range e.Recipients {
		r := &e.Recipients[i]
		if r.State != Queued || r.Last == nil || r.Last.At.Before(p.Expires) {
			return nil
		}
		last = append(last, *r.Last)
	}
	return last
}

// After is the state machine of a recipient: its state after an attempt ended with o at time now.
// A recipient that is no longer queued stays as it is.
func (r Recipient) After(o Outcome, now time.Time, p Retry) Recipient {
	if r.State != Queued {
		return r
	}
	before := r.Last
	r.Last = &o
	switch o.Reply.Class() {
	case reply.Success:
		r.State = Delivered
	case reply.Permanent:
		r.State = Failed
	default:
		r.Due = now.Add(p.Wait(r.Attempts))
		if p.expired(before, now) {
			r.State = Failed
		} else if now.Before(p.Expires) && r.Due.After(p.Expires) {
			r.Due = p.Expires // one last attempt at the end of its life
		}
	}
	return r
}

// AttemptLease is how long an attempt that was begun keeps others away after a crash.
const AttemptLease = time.Minute

// Begin is a recipient's state while an attempt runs: the attempt is counted, and due again only after
// AttemptLease, so that a crash loop cannot hammer a receiver.
func (r Recipient) Begin(now time.Time) Recipient {
	if r.State == Queued {
		r.Attempts++
		r.Due = now.Add(AttemptLease)
	}
	return r
}
