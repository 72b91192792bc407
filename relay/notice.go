package relay

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/postrider/postrider/relay/bounce"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
)

// notices makes the DSNs that a changed entry owes: for recipients that failed, and for those that have waited
// long. Mail from <> is owed none (RFC 5321 §6.1).
func (s *settings) notices(e *envelope.Envelope, header []byte, now time.Time) ([]spool.Draft, error) {
	if e.ReversePath == "" {
		return nil, nil
	}
	var drafts []spool.Draft
	for _, n := range []struct {
		action     bounce.Action
		recipients []envelope.Recipient
	}{
		{bounce.Failed, failed(e)},
		{bounce.Delayed, s.newlyDelayed(e, now)},
	} {
		if len(n.recipients) == 0 {
			continue
		}
		draft, err := s.notice(e, n.action, n.recipients, header, now)
		if err != nil {
			return nil, err
		}
		drafts = append(drafts, draft)
	}
	return drafts, nil
}

// owed makes the DSNs that an attempt owes. When they cannot be made yet, for want of a key to sign them, what was
// delivered is recorded all the same, and a failure waits for its DSN: the recipient is tried again later.
func (r *Relay) owed(s *settings, e *envelope.Envelope, header []byte, now time.Time) []spool.Draft {
	settled := slices.Clone(e.Recipients)
	drafts, err := s.notices(e, header, now)
	if err == nil {
		return drafts
	}
	r.log.Error("a DSN cannot be made yet; its recipients wait", "spool_id", e.ID, "error", err)
	retry := s.retry(e.Accepted, rand.Float64())
	for i := range settled {
		if to := &settled[i]; to.State == envelope.Failed {
			to.State, to.Due = envelope.Queued, now.Add(retry.Wait(to.Attempts))
		}
	}
	e.Recipients = settled
	return nil
}

func failed(e *envelope.Envelope) []envelope.Recipient {
	var rs []envelope.Recipient
	for _, r := range e.Recipients {
		if r.State == envelope.Failed {
			rs = append(rs, r)
		}
	}
	return rs
}

// newlyDelayed marks and returns the recipients whose sender is to be told, once, that they wait. Only who gave us
// the mail to send is told: to others it would be backscatter.
func (s *settings) newlyDelayed(e *envelope.Envelope, now time.Time) []envelope.Recipient {
	after := s.delayWarning()
	if after == 0 || now.Before(e.Accepted.Add(after)) || (e.Origin != envelope.Submitted && e.Origin != envelope.Trusted) {
		return nil
	}
	var rs []envelope.Recipient
	for i := range e.Recipients {
		r := &e.Recipients[i]
		if r.State == envelope.Queued && r.Attempts > 0 && !r.DelayNotified {
			r.DelayNotified = true
			rs = append(rs, *r)
		}
	}
	return rs
}

func (s *settings) notice(e *envelope.Envelope, a bounce.Action, rs []envelope.Recipient, header []byte, now time.Time) (spool.Draft, error) {
	content, err := s.signed(bounce.Compose(bounce.Notice{
		ID:           fmt.Sprintf("%s.%d", e.ID, now.UnixNano()),
		ReportingMTA: s.config.Relay.Hostname,
		Action:       a,
		Envelope:     *e,
		Recipients:   rs,
		Header:       header,
		Until:        s.retry(e.Accepted, 0).Expires,
		Now:          now,
	}), now)
	return spool.Draft{Content: content, Entries: []envelope.Envelope{{
		Domain:     envelope.DomainOf(e.ReversePath),
		Origin:     envelope.Internal,
		Accepted:   now,
		Recipients: []envelope.Recipient{{Address: e.ReversePath, State: envelope.Queued, Due: now}},
	}}}, err
}
