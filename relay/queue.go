package relay

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/spool"
)

// actsAtOnce is how many entries an admin's act changes at the same time: they share their syncs.
const actsAtOnce = 64

// List implements admin.Relay.
func (r *Relay) List(q admin.Query) (admin.Page, error) {
	after, err := parseKey(q.After)
	if err != nil {
		return admin.Page{}, err
	}
	filter := spool.Filter{ID: q.ID, Domain: q.Domain, Sender: q.Sender, Held: q.Held}
	entries, err := r.spool.List(filter, after, q.Limit)
	page := admin.Page{Entries: entries}
	if len(entries) == q.Limit {
		page.Next = formatKey(entries[len(entries)-1].Key())
	}
	return page, err
}

// Keys stand in URLs as domain/id.
func formatKey(k envelope.Key) string { return k.Domain + "/" + string(k.ID) }

func parseKey(s string) (envelope.Key, error) {
	domain, id, ok := strings.Cut(s, "/")
	if s != "" && !ok {
		return envelope.Key{}, fmt.Errorf("after must be the next of the page before, not %q", s)
	}
	return envelope.Key{Domain: domain, ID: envelope.ID(id)}, nil
}

// Show implements admin.Relay.
func (r *Relay) Show(id envelope.ID) (admin.Detail, error) {
	entries, err := r.spool.List(spool.Filter{ID: id}, envelope.Key{}, admin.MaxPage)
	if err != nil {
		return admin.Detail{}, err
	}
	if len(entries) == 0 {
		return admin.Detail{}, fmt.Errorf("%w: %s", admin.ErrNotFound, id)
	}
	header, err := r.header(id)
	return admin.Detail{Entries: entries, Header: string(header)}, err
}

// header is the header block of a stored message, without the blank line.
func (r *Relay) header(id envelope.ID) ([]byte, error) {
	m, err := r.spool.Message(id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = m.Close() }() // it was only read
	const most = 320 << 10           // what a client may send, and what we add
	block, err := io.ReadAll(io.LimitReader(m, most))
	if end := strings.Index(string(block), "\r\n\r\n"); end >= 0 {
		return block[:end+2], nil
	}
	return block, err
}

// Act implements admin.Relay. It works page by page, so that it takes little memory whatever is selected.
func (r *Relay) Act(act admin.Act, sel admin.Selection) (admin.Result, error) {
	if act == admin.Bounce && r.settings.Load() == nil {
		return admin.Result{}, errors.New("no configuration is in force yet: a DSN could not be made")
	}
	if act == admin.Flush {
		r.probeForFlush(sel)
	}
	var done struct{ entries, recipients atomic.Int64 }
	filter := spool.Filter{ID: sel.ID, Domain: strings.ToLower(sel.Domain), Sender: sel.Sender}
	var after envelope.Key
	var failed error
	for {
		page, err := r.spool.List(filter, after, admin.MaxPage)
		if err != nil || len(page) == 0 {
			failed = errors.Join(failed, err)
			break
		}
		after = page[len(page)-1].Key()
		var group errgroup.Group
		group.SetLimit(actsAtOnce)
		for _, e := range page {
			group.Go(func() error {
				n, err := r.actOn(e.Key(), act, sel.Reason)
				if n > 0 {
					done.entries.Add(1)
					done.recipients.Add(int64(n))
				}
				return err
			})
		}
		failed = errors.Join(failed, group.Wait())
	}
	result := admin.Result{Entries: int(done.entries.Load()), Recipients: int(done.recipients.Load())}
	r.log.Info("admin act", "act", act, "id", sel.ID, "domain", sel.Domain, "sender", sel.Sender, "all", sel.All,
		"reason", sel.Reason, "entries", result.Entries, "recipients", result.Recipients)
	return result, failed
}

// actOn changes one entry and returns how many recipients that concerned.
func (r *Relay) actOn(k envelope.Key, act admin.Act, reason string) (int, error) {
	recipients := 0
	var header []byte
	if act == admin.Bounce {
		header, _ = r.header(k.ID) // a DSN goes out without it, too
	}
	var events []event.Event
	var made []notice
	after, created, err := r.spool.Change(k, func(e *envelope.Envelope) ([]spool.Draft, error) {
		recipients = apply(act, e, reason, time.Now())
		if recipients > 0 {
			events = acted(act, e, reason, time.Now())
		}
		if act != admin.Bounce {
			return nil, nil
		}
		var err error
		made, err = r.settings.Load().notices(e, header, time.Now())
		return drafts(made), err
	})
	if errors.Is(err, spool.ErrNotFound) {
		return 0, nil // delivered in the meantime
	}
	if err != nil {
		return 0, fmt.Errorf("%s %s for %s: %w", act, k.ID, k.Domain, err)
	}
	r.record(events...)
	r.record(reported(&after, made, created)...)
	r.schedule.Wake(created...)
	if len(after.Recipients) > 0 && after.Held == "" {
		r.schedule.Wake(after)
	}
	return recipients, nil
}

// acted are the events of an act, one for each recipient.
func acted(act admin.Act, e *envelope.Envelope, reason string, now time.Time) []event.Event {
	types := map[admin.Act]event.Type{
		admin.Flush: event.Flushed, admin.Hold: event.Held, admin.Release: event.Released,
		admin.Delete: event.Removed, admin.Bounce: event.Bounced,
	}
	events := make([]event.Event, len(e.Recipients))
	for i := range e.Recipients {
		events[i] = eventOf(types[act], e, e.Recipients[i].Address, now)
		events[i].Reason = reason
		if act == admin.Bounce {
			events[i].Reply = e.Recipients[i].Last.Reply.String()
		}
	}
	return events
}

// apply is what an act does to an entry; it returns the number of recipients concerned.
func apply(act admin.Act, e *envelope.Envelope, reason string, now time.Time) int {
	switch act {
	case admin.Hold:
		e.Held = reason
		if reason == "" {
			e.Held = "held by an admin"
		}
		return len(e.Recipients)
	case admin.Release:
		if e.Held == "" {
			return 0
		}
		e.Held = ""
	}
	for i := range e.Recipients {
		rcpt := &e.Recipients[i]
		switch act {
		case admin.Flush, admin.Release:
			rcpt.Due = now
		case admin.Delete:
			rcpt.State = envelope.Removed
		case admin.Bounce:
			rcpt.State = envelope.Failed
			rcpt.Last = &envelope.Outcome{At: now, Reply: reply.Reply{
				Code: 550, Enhanced: "5.0.0", Text: strings.TrimSpace("returned by an admin of this relay " + reason),
			}}
		}
	}
	return len(e.Recipients)
}
