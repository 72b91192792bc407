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

// notice is a DSN that is owed: what it says of whom, and the message to store.
type notice struct {
	action     bounce.Action
	recipients []envelope.Recipient
	draft      spool.Draft
}

// drafts are what is stored of notices.
func drafts(notices []notice) []spool.Draft {
	var all []spool.Draft
	for _, n := range notices {
		all = append(all, n.draft)
	}
	return all
}

// notices makes the DSNs that a changed entry owes: for recipients that failed, and for those that have waited
// long. Mail from <> is owed none (RFC 5321 §6.1).
func (s *settings) notices(e *envelope.Envelope, header []byte, now time.Time) ([]notice, error) {
	if e.ReversePath == "" {
		return nil, nil
	}
	var made []notice
	for _, n := range []notice{
		{action: bounce.Failed, recipients: failed(e)},
		{action: bounce.Delayed, recipients: s.newlyDelayed(e, now)},
	} {
		if len(n.recipients) == 0 {
			continue
		}
		var err error
		if n.draft, err = s.notice(e, n.action, n.recipients, header, now); err != nil {
			return nil, err
		}
		made = append(made, n)
	}
	return made, nil
}

// owed makes the DSNs that an attempt owes. When they cannot be made yet, for want of a key to sign them, what was
// delivered is recorded all the same, and a failure waits for its DSN: the recipient is tried again later.
func (r *Relay) owed(s *settings, e *envelope.Envelope, header []byte, now time.Time) []notice {
	settled := slices.Clone(e.Recipients)
	made, err := s.notices(e, header, now)
	if err == nil {
		return made
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
