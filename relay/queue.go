package relay

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/handoff"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/spool"
)

const (
	// actPage is how many entries an admin's act changes in one batch, and pagesAtOnce of how many at the same time.
	actPage     = 1000
	pagesAtOnce = 2
	// actsAtOnce is how many entries of a page change at the same time where each makes DSNs: they share their syncs.
	actsAtOnce = 32
)

// maxScan is how many entries a page of the queue looks at, whatever matches.
const maxScan = 10_000

// List implements admin.Relay. What is rare in a long queue may be on a later page than the first: a page ends where
// the scan does, be it full or not.
func (r *Relay) List(q admin.Query) (admin.Page, error) {
	var page admin.Page
	after := parseKey(q.After)
	scope := directive.Scope{Domain: q.Domain, Sender: q.Sender}
	for scanned := 0; scanned < maxScan; {
		entries, err := r.spool.List(spool.Filter{ID: q.ID, Domain: q.Domain}, after, admin.MaxPage)
		if err != nil {
			return page, err
		}
		for i := range entries {
			if !scope.Matches(&entries[i]) || q.Held != nil && *q.Held != (entries[i].Held != "") {
				continue
			}
			if page.Entries = append(page.Entries, entries[i]); len(page.Entries) == q.Limit {
				page.Next = formatKey(entries[i].Key())
				return page, nil
			}
		}
		if len(entries) < admin.MaxPage {
			return page, nil
		}
		scanned += len(entries)
		after = entries[len(entries)-1].Key()
	}
	page.Next = formatKey(after)
	return page, nil
}

// Keys stand in URLs as domain/id.
func formatKey(k envelope.Key) string { return k.Domain + "/" + string(k.ID) }

func parseKey(s string) envelope.Key {
	domain, id, _ := strings.Cut(s, "/")
	return envelope.Key{Domain: domain, ID: envelope.ID(id)}
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
	header, err := r.quote(id, false)
	return admin.Detail{Entries: entries, Header: string(header.octets)}, err
}

// errNoDSN is the answer to an act that owes DSNs before there is a host name to send them from.
var errNoDSN = errors.New("no configuration is in force yet: a DSN could not be made")

// Act implements admin.Relay.
func (r *Relay) Act(act admin.Act, sel admin.Selection) (admin.Result, error) {
	if act == admin.Bounce && r.settings.Load() == nil {
		return admin.Result{}, errNoDSN
	}
	filter := spool.Filter{ID: sel.ID, Domain: strings.ToLower(sel.Domain), Sender: sel.Sender}
	if sel.DryRun {
		return r.wouldAct(filter, manual(act, sel.Reason))
	}
	if act == admin.Flush {
		r.probeForFlush(sel)
	}
	var ended admin.Result
	var failed error
	if act == admin.Release {
		ended, failed = r.endHolds(sel)
	}
	result, err := r.actOnAll(filter, manual(act, sel.Reason))
	result.Entries += ended.Entries
	result.Recipients += ended.Recipients
	r.log.Info("admin act", "act", act, "id", sel.ID, "domain", sel.Domain, "sender", sel.Sender, "all", sel.All,
		"reason", sel.Reason, "entries", result.Entries, "recipients", result.Recipients)
	return result, errors.Join(failed, err)
}

// work is what is done to entries for an admin.
type work struct {
	// name is for errors.
	name string
	// apply changes an entry and returns what that was, in events; nothing when there is nothing to change.
	apply func(e *envelope.Envelope, now time.Time) []event.Event
	// notify says that it may fail recipients, whose senders are owed DSNs.
	notify bool
	// removes says that an admin wants mail gone.
	removes bool
}

// errStopping is why work on the queue was not done to its end.
var errStopping = errors.New("the relay is stopping")

// actOnAll works page by page, so that it takes little memory whatever is selected. Where nobody is owed a DSN a page is
// one batch, else the entries of a page share their syncs.
func (r *Relay) actOnAll(filter spool.Filter, w work) (admin.Result, error) {
	var done tally
	var after envelope.Key
	var failed error
	act := r.changePage
	if w.notify {
		act = r.notifyPage
	}
	began := time.Now()
	var group errgroup.Group
	group.SetLimit(pagesAtOnce)
	for {
		if r.stopping.Load() {
			failed = errStopping
			break
		}
		page, err := r.spool.Keys(filter, after, actPage)
		if err != nil || len(page) == 0 {
			failed = err
			break
		}
		after = page[len(page)-1]
		group.Go(func() error { return act(page, w, began, &done) })
	}
	failed = errors.Join(failed, group.Wait())
	return admin.Result{Entries: int(done.entries.Load()), Recipients: int(done.recipients.Load())}, failed
}

// wouldAct counts what work would change, and changes nothing.
func (r *Relay) wouldAct(filter spool.Filter, w work) (admin.Result, error) {
	var would admin.Result
	var after envelope.Key
	for !r.stopping.Load() {
		page, err := r.spool.List(filter, after, actPage)
		if err != nil || len(page) == 0 {
			return would, err
		}
		after = page[len(page)-1].Key()
		for i := range page {
			if did := w.apply(&page[i], time.Now()); len(did) > 0 {
				would.Entries++
				would.Recipients += len(did)
			}
		}
	}
	return would, errStopping
}

// tally counts what was done.
type tally struct{ entries, recipients atomic.Int64 }

func (t *tally) add(entries, recipients int) {
	t.entries.Add(int64(entries))
	t.recipients.Add(int64(recipients))
}

// changePage does work that makes no DSNs.
func (r *Relay) changePage(page []envelope.Key, w work, _ time.Time, done *tally) error {
	now := time.Now()
	var events []event.Event
	var leaving error
	changed, err := r.spool.ChangeMany(page, func(e *envelope.Envelope) bool {
		if r.leaves(e.ID, w) {
			leaving = handoff.ErrLeaving
			return false
		}
		did := w.apply(e, now)
		events = append(events, did...)
		return len(did) > 0
	})
	if err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	r.record(events...)
	done.add(len(changed), len(events))
	r.schedule.Wake(slices.DeleteFunc(changed, func(e envelope.Envelope) bool { return len(e.Recipients) == 0 || e.Held != "" })...)
	return leaving
}

// notifyPage does work that makes DSNs. Those that it makes itself are not part of what is worked on.
func (r *Relay) notifyPage(page []envelope.Key, w work, began time.Time, done *tally) error {
	var group errgroup.Group
	group.SetLimit(actsAtOnce)
	for _, k := range page {
		group.Go(func() error {
			e, err := r.spool.Get(k)
			if err != nil || e.Origin == envelope.Internal && !e.Accepted.Before(began) {
				return ignoreGone(err)
			}
			n, err := r.actOn(k, w)
			if n > 0 {
				done.add(1, n)
			}
			return err
		})
	}
	return group.Wait()
}

// leaves says that a message is on its way to another pod, and not to be worked on.
func (r *Relay) leaves(id envelope.ID, w work) bool {
	return r.sender.Leaving(id) && (!w.removes || !r.sender.Silent(id))
}

// ignoreGone passes on what is not the end of an entry, nor its damage, which is told elsewhere.
func ignoreGone(err error) error {
	if errors.Is(err, spool.ErrNotFound) || errors.Is(err, spool.ErrDamaged) {
		return nil
	}
	return err
}

// errUnchanged says that there was nothing to do.
var errUnchanged = errors.New("unchanged")

// actOn changes one entry and returns how many recipients that concerned.
func (r *Relay) actOn(k envelope.Key, w work) (int, error) {
	s := r.settings.Load()
	var quoted quote
	if w.notify {
		quoted = r.quoteForWork(s, k, w)
	}
	defer quoted.done()
	var events []event.Event
	var made []notice
	after, created, err := r.spool.Change(k, func(e *envelope.Envelope) ([]spool.Draft, error) {
		if r.leaves(k.ID, w) {
			return nil, handoff.ErrLeaving
		}
		now := time.Now()
		if events = w.apply(e, now); len(events) == 0 {
			return nil, errUnchanged
		}
		if w.notify {
			made = s.notices(e, quoted, now)
		}
		return drafts(made), nil
	})
	if errors.Is(err, spool.ErrNotFound) || errors.Is(err, errUnchanged) {
		return 0, nil // delivered in the meantime, or as it should be
	}
	if err != nil {
		return 0, fmt.Errorf("%s %s for %s: %w", w.name, k.ID, k.Domain, err)
	}
	r.record(events...)
	r.record(reported(&after, made, created)...)
	r.schedule.Wake(created...)
	if len(after.Recipients) > 0 && after.Held == "" {
		r.schedule.Wake(after)
	}
	return len(events), nil
}

// manual is the work of an act that an admin does once.
func manual(act admin.Act, reason string) work {
	removes := act == admin.Bounce || act == admin.Delete
	return work{name: string(act), notify: act == admin.Bounce, removes: removes, apply: func(e *envelope.Envelope, now time.Time) []event.Event {
		switch act {
		case admin.Hold:
			e.Held, e.Released = cmp.Or(reason, "held by an admin"), false
			return eventsOf(event.Held, e, now, reason)
		case admin.Release:
			if e.Held == "" {
				return nil
			}
			e.Held, e.Released = "", true
			due(e, now)
			return eventsOf(event.Released, e, now, reason)
		case admin.Flush:
			due(e, now)
			return eventsOf(event.Flushed, e, now, reason)
		case admin.Delete:
			for i := range e.Recipients {
				e.Recipients[i].State = envelope.Removed
			}
			return eventsOf(event.Removed, e, now, reason)
		default:
			text := strings.TrimSpace("returned by an admin of this relay " + reason)
			return failAll(e, reply.Reply{Code: 550, Enhanced: "5.0.0", Text: text}, reason, now)
		}
	}}
}

func due(e *envelope.Envelope, now time.Time) {
	for i := range e.Recipients {
		e.Recipients[i].Due = now
	}
}

// failAll fails every recipient of an entry with a reply of ours.
func failAll(e *envelope.Envelope, why reply.Reply, reason string, now time.Time) []event.Event {
	for i := range e.Recipients {
		e.Recipients[i].State = envelope.Failed
		e.Recipients[i].Last = &envelope.Outcome{At: now, Reply: why}
	}
	events := eventsOf(event.Bounced, e, now, reason)
	for i := range events {
		events[i].Reply = why.String()
	}
	return events
}

// eventsOf are events of a type, one for each recipient of an entry.
func eventsOf(t event.Type, e *envelope.Envelope, now time.Time, reason string) []event.Event {
	events := make([]event.Event, len(e.Recipients))
	for i := range e.Recipients {
		events[i] = eventOf(t, e, e.Recipients[i].Address, now)
		events[i].Reason = reason
	}
	return events
}
