package relay

import (
	"fmt"
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
