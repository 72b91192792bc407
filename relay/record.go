package relay

import (
	"context"
	"log/slog"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/listener"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/schedule"
)

// sink is told of everything that happens to mail. It must never block, and what it has no room for it drops.
type sink interface{ Record(event.Event) }

// record tells what happened: to the log, the traces, the metrics and the sinks. It is called after the fact is stored,
// and before the schedule is told of what follows from it: who listens hears of an acceptance before the delivery.
func (r *Relay) record(events ...event.Event) {
	r.tracer.Tell(events)
	for i := range events {
		e := &events[i]
		r.metrics.count(e)
		for _, s := range r.sinks {
			s.Record(*e)
		}
	}
	r.logEvents(events)
}

// logEvents writes a line for each event, but one for an accepted message whatever the number of its recipients, and
// none for what admins do to single ones: their act is a line already.
func (r *Relay) logEvents(events []event.Event) {
	for i := 0; i < len(events); i++ {
		switch e := &events[i]; e.Type {
		case event.Accepted:
			recipients := acceptedWith(events[i:])
			i += recipients - 1
			r.logAccepted(e, recipients)
		case event.Delivered, event.Deferred, event.Bounced:
			r.logAttempt(e)
		case event.Reported:
			r.line("reported", slog.String("spool_id", e.SpoolID), slog.String("to", e.Recipient),
				slog.String("action", e.Reason), slog.String("dsn", e.Reply))
		case event.Suppressed:
			r.line("suppressed", slog.String("spool_id", e.SpoolID), slog.String("from", e.From),
				slog.String("to", e.Recipient), slog.String("reason", e.Reason))
		}
	}
}

// acceptedWith is how many events, from the first on, are the acceptance of one message.
func acceptedWith(events []event.Event) int {
	n := 1
	for n < len(events) && events[n].Type == event.Accepted && events[n].SpoolID == events[0].SpoolID {
		n++
	}
	return n
}

func (r *Relay) logAccepted(e *event.Event, recipients int) {
	if e.Origin == string(envelope.Internal) {
		return // the line "reported" names it
	}
	attributes := make([]slog.Attr, 0, 12)
	attributes = append(attributes,
		slog.String("spool_id", e.SpoolID), slog.String("listener", e.Listener), slog.String("client", e.Client),
		slog.String("helo", e.Helo), slog.String("from", e.From), slog.Int("recipients", recipients),
		slog.Int64("size", e.Size), slog.String("origin", e.Origin))
	for _, optional := range [...]struct{ key, value string }{{"user", e.User}, {"domain", e.Tenant}, {"tls", e.TLS}} {
		if optional.value != "" {
			attributes = append(attributes, slog.String(optional.key, optional.value))
		}
	}
	r.line("accepted", attributes...)
}

func (r *Relay) logAttempt(e *event.Event) {
	if e.Attempt == 0 {
		return // an admin's act, which has a line of its own
	}
	attributes := make([]slog.Attr, 0, 9)
	attributes = append(attributes,
		slog.String("spool_id", e.SpoolID), slog.String("to", e.Recipient), slog.String("site", e.Site),
		slog.String("next_hop", e.NextHop), slog.String("tls", e.TLS), slog.String("reply", e.Reply),
		slog.Int("attempt", e.Attempt))
	if e.Due != nil {
		attributes = append(attributes, slog.Time("due", *e.Due))
	}
	r.line("attempt", attributes...)
}

func (r *Relay) line(message string, attributes ...slog.Attr) {
	r.log.LogAttrs(context.Background(), slog.LevelInfo, message, attributes...)
}

// eventOf is an event about a recipient of an entry.
func eventOf(t event.Type, e *envelope.Envelope, recipient string, at time.Time) event.Event {
	told := event.Event{
		Type: t, At: at, SpoolID: string(e.ID), Recipient: recipient, From: e.ReversePath,
		Tenant: e.Tenant, User: e.User, Origin: string(e.Origin),
	}
	if e.Origin == envelope.Internal {
		told.About = e.EnvelopeID
	}
	return told
}

// accepted are the events of a message that is about to be answered 250.
func accepted(c *listener.Session, entries []envelope.Envelope) []event.Event {
	n := 0
	for i := range entries {
		n += len(entries[i].Recipients)
	}
	events := make([]event.Event, 0, n)
	client, secured := c.Remote.String(), c.TLS.String()
	for i := range entries {
		e := &entries[i]
		for j := range e.Recipients {
			a := eventOf(event.Accepted, e, e.Recipients[j].Address, e.Accepted)
			a.Listener, a.Client, a.Helo, a.TLS, a.Size = c.Listener.Name, client, c.Helo, secured, e.Size
			events = append(events, a)
		}
	}
	return events
}

// attempted are the events of an attempt, one for each recipient that was tried. now are the recipients as they are
// being stored: one that an admin took away meanwhile is not among them, and then the reply alone says what happened.
func attempted(job *schedule.Job, tried *envelope.Envelope, outcomes []envelope.Outcome, now []envelope.Recipient) []event.Event {
	events := make([]event.Event, len(tried.Recipients))
	for i := range tried.Recipients {
		o, to := &outcomes[i], &tried.Recipients[i]
		e := eventOf(event.Deferred, tried, to.Address, o.At)
		e.Began = job.Began()
		e.Site, e.NextHop, e.TLS, e.Reply, e.Attempt = job.Site, o.NextHop, o.TLS, o.Reply.String(), to.Attempts
		if o.Reply.Class() == reply.Success {
			e.Type = event.Delivered
		} else if stored := find(now, to.Address); stored != nil && stored.State == envelope.Failed {
			e.Type = event.Bounced
		} else if stored != nil {
			due := stored.Due
			e.Due = &due
		}
		events[i] = e
	}
	return events
}

func find(recipients []envelope.Recipient, address string) *envelope.Recipient {
	for i := range recipients {
		if recipients[i].Address == address {
			return &recipients[i]
		}
	}
	return nil
}

// reported are the events of DSNs that were stored, in the order in which they were made: that about each recipient,
// and the acceptance of the DSN itself.
func reported(e *envelope.Envelope, made []notice, stored []envelope.Envelope) []event.Event {
	var events []event.Event
	for i := range stored {
		dsn := &stored[i]
		for _, to := range made[i].recipients {
			about := eventOf(event.Reported, e, to.Address, dsn.Accepted)
			about.Reason, about.Reply = string(made[i].action), string(dsn.ID)
			events = append(events, about)
		}
		for _, to := range dsn.Recipients {
			own := eventOf(event.Accepted, dsn, to.Address, dsn.Accepted)
			own.Size = dsn.Size
			events = append(events, own)
		}
	}
	return events
}
