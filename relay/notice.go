package relay

import (
	"bytes"
	"fmt"
	"io"
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

// owed is what an entry that an attempt or an admin has just changed owes its sender: at most one DSN for each
// action. late says that recipients that wait have waited long. Mail from <> is owed none (RFC 5321 §6.1).
func owed(e *envelope.Envelope, late bool) []notice {
	if e.ReversePath == "" {
		return nil
	}
	var all []notice
	for _, action := range []bounce.Action{bounce.Failed, bounce.Delayed, bounce.Relayed, bounce.Delivered} {
		n := notice{action: action}
		for _, r := range e.Recipients {
			if news(&r, late) == action && wanted(action, r.Notify, e.Origin) {
				n.recipients = append(n.recipients, r)
			}
		}
		if len(n.recipients) > 0 {
			all = append(all, n)
		}
	}
	return all
}

// news is what there is to tell about a recipient: nothing when it is empty. A next hop that was told what the sender
// wants tells it itself (RFC 3461 §5.2.2).
func news(r *envelope.Recipient, late bool) bounce.Action {
	switch {
	case r.State == envelope.Failed:
		return bounce.Failed
	case r.State == envelope.Queued && late && r.Attempts > 0 && !r.DelayNotified:
		return bounce.Delayed
	case r.State == envelope.Delivered && r.Last != nil && r.Last.Handover == envelope.HandoverRelayed:
		return bounce.Relayed
	case r.State == envelope.Delivered && r.Last != nil && r.Last.Handover == envelope.HandoverFinal:
		return bounce.Delivered
	}
	return ""
}

// wanted says whether a sender is to hear of it (RFC 3461 §4.1); with NEVER, which stands alone, of nothing. One that did not say hears of failures; of delays
// only when it gave us the mail to send, for to others that would be backscatter.
func wanted(a bounce.Action, n envelope.Notify, origin envelope.Origin) bool {
	switch a {
	case bounce.Failed:
		return n == 0 || n.Has(envelope.NotifyFailure)
	case bounce.Delayed:
		return n.Has(envelope.NotifyDelay) || n == 0 && (origin == envelope.Submitted || origin == envelope.Trusted)
	default:
		return n.Has(envelope.NotifySuccess)
	}
}

// late says whether mail has waited so long that its sender is told.
func (s *settings) late(e *envelope.Envelope, now time.Time) bool {
	after := s.delayWarning()
	return after > 0 && !now.Before(e.Accepted.Add(after))
}

// notices makes the DSNs that a changed entry owes, and marks the recipients whose delay is told: that is told once.
func (s *settings) notices(e *envelope.Envelope, q quote, now time.Time) []notice {
	made := owed(e, s.late(e, now))
	for i := range made {
		made[i].draft = s.draft(e, &made[i], q, now)
		for _, told := range made[i].recipients {
			if made[i].action == bounce.Delayed {
				find(e.Recipients, told.Address).DelayNotified = true
			}
		}
	}
	return made
}

func (s *settings) draft(e *envelope.Envelope, n *notice, q quote, now time.Time) spool.Draft {
	dsn := s.composed(bounce.Notice{
		ID:           fmt.Sprintf("%s.%d", e.ID, now.UnixNano()),
		ReportingMTA: s.config.Relay.Hostname,
		Action:       n.action,
		Envelope:     *e,
		Recipients:   n.recipients,
		Original:     q.octets,
		Whole:        q.whole && n.action == bounce.Failed, // RET is for failures (RFC 3461 §4.3)
		Until:        s.retry(e.Accepted, 0).Expires,
		Now:          now,
	})
	return spool.Draft{Content: dsn.Content, Entries: []envelope.Envelope{{
		Domain:   envelope.DomainOf(e.ReversePath),
		Origin:   envelope.Internal,
		Accepted: now,
		Priority: e.Priority, // as of the mail that it is about (RFC 6710)
		EightBit: dsn.EightBit,
		UTF8:     dsn.UTF8,

		EnvelopeID: string(e.ID),
		Recipients: []envelope.Recipient{{
			Address: e.ReversePath, State: envelope.Queued, Due: now, Notify: envelope.NotifyNever, // RFC 3461 §6.1
		}},
	}}}
}

// composed makes a DSN. Mail with a SendingDomain in From is never unsigned, and a DSN does not wait for a key, which
// would have its recipients tried again: it comes from the postmaster or, while that cannot be signed, from the host,
// or else from nobody.
func (s *settings) composed(n bounce.Notice) bounce.DSN {
	for _, n.From = range []string{s.config.Relay.Postmaster, "MAILER-DAEMON@" + s.config.Relay.Hostname} {
		dsn := bounce.Compose(n)
		signed, err := s.signed(dsn.Content, envelope.DomainOf(n.From), n.Now)
		if err == nil {
			dsn.Content = signed
			return dsn
		}
	}
	n.From = ""
	return bounce.Compose(n)
}

// wholeQuotes is how many messages are in memory at once to be returned whole.
const wholeQuotes = 8

// quote is what DSNs return of a message: its header block, or all of it.
type quote struct {
	octets  []byte
	whole   bool
	release func() // gives its place in memory back; nil for none
}

func (q quote) done() {
	if q.release != nil {
		q.release()
	}
}

// quoteFor reads what the DSNs that a change will owe are to quote; nothing when it owes none. That is done ahead of
// the change because the spool must not be asked while an entry is being changed. done must follow.
func (r *Relay) quoteFor(s *settings, e envelope.Envelope, change func(*envelope.Envelope)) quote {
	e.Recipients = slices.Clone(e.Recipients)
	change(&e)
	due := owed(&e, s.late(&e, time.Now()))
	if len(due) == 0 {
		return quote{}
	}
	q, err := r.quote(e.ID, e.Return == envelope.ReturnFull && due[0].action == bounce.Failed)
	if err != nil {
		r.log.Warn("a DSN will not quote its message", "spool_id", e.ID, "error", err)
	}
	return q
}

// quoteForWork is quoteFor what an admin does.
func (r *Relay) quoteForWork(s *settings, k envelope.Key, w work) quote {
	e, err := r.spool.Get(k)
	if err != nil {
		return quote{} // the change will say why
	}
	return r.quoteFor(s, e, func(e *envelope.Envelope) { w.apply(e, time.Now()) })
}

// quote reads a message, whole if that is wanted and it is not too long.
func (r *Relay) quote(id envelope.ID, whole bool) (quote, error) {
	m, err := r.spool.Message(id)
	if err != nil {
		return quote{}, err
	}
	defer m.Close()
	if !whole || m.Size > bounce.MaxWhole {
		header, err := readHeader(m)
		return quote{octets: header}, err
	}
	r.quotes <- struct{}{}
	q := quote{whole: true, release: func() { <-r.quotes }}
	q.octets, err = io.ReadAll(io.LimitReader(m, bounce.MaxWhole))
	return q, err
}

// readHeader is the header block of a message, without the blank line.
func readHeader(m io.Reader) ([]byte, error) {
	const most = 320 << 10 // what a client may send, and what we add
	block, err := io.ReadAll(io.LimitReader(m, most))
	if end := bytes.Index(block, []byte("\r\n\r\n")); end >= 0 {
		return block[:end+2], nil
	}
	return block, err
}

// lost says in the log that a DSN of ours could not be delivered. It is booked as failed, and nobody is told.
func (r *Relay) lost(e *envelope.Envelope, settled []envelope.Recipient) {
	for _, to := range settled {
		if e.Origin == envelope.Internal && to.State == envelope.Failed {
			r.log.Warn("a DSN could not be delivered and is dropped", "spool_id", e.ID, "to", to.Address)
		}
	}
}
