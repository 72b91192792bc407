package relay

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/health"
	"github.com/postrider/postrider/relay/schedule"
	"github.com/postrider/postrider/relay/spool"
	"github.com/postrider/postrider/relay/status"
)

// explainable is how many entries of a domain are looked at to explain why its mail waits.
const explainable = 1000

// facts are what is known of an entry that waits.
type facts struct {
	entry envelope.Envelope
	// waiting is what the schedule says of it, if inMemory.
	waiting  schedule.Waiting
	inMemory bool
	// opens is when the limit that waiting names is asked again; zero when that is not known.
	opens time.Time
	// directive is the one that counts for it, or that held it; nil for none.
	directive *directive.Directive
	// down says since when it has no next hop that is up, if so.
	down health.State
	now  time.Time
}

// explain says why an entry waits. It is the one decision behind status and explain: the first that holds of held,
// being attempted, suspended, limited, waiting for its next attempt, and ready.
func explain(f facts) admin.Explanation {
	e := &f.entry
	x := admin.Explanation{
		Domain: e.Domain, ID: e.ID, Entries: 1, Recipients: len(e.Recipients), Attempts: e.Attempts(), Reason: status.Ready,
	}
	last := lastOutcome(*e)
	if last != nil {
		x.NextHop, x.Reply = last.NextHop, last.Reply.String()
	}
	due := e.Due()
	x.Since, x.Due = due, &due
	switch {
	case e.Held != "":
		f.explainHold(&x)
	case f.inMemory && f.waiting.Reason == schedule.Stalled:
		x.Reason, x.Since, x.Due = status.InFlight, f.waiting.Since, nil
		x.Sentence = fmt.Sprintf("An attempt runs since %s and does not end: it is stalled. It is made again after a restart.", clock(x.Since))
	case f.inMemory && f.waiting.Reason == schedule.InFlight:
		x.Reason, x.Since, x.Due = status.InFlight, f.waiting.Since, nil
		x.Sentence = "An attempt is running."
	case f.directive != nil && f.directive.Act == directive.Suspend:
		x.Reason, x.Since, x.Directive = status.Suspended, later(f.directive.Since, e.Accepted), f.directive
		x.Sentence = fmt.Sprintf("Directive %s suspends %s until %s (%s).",
			f.directive.ID, f.directive.Scope, clock(f.directive.Until), f.directive.Reason)
	case f.inMemory && f.waiting.Reason == schedule.RateLimited:
		f.explainLimit(&x)
	case due.After(f.now):
		f.explainDelay(&x, last)
	case f.inMemory:
		x.Since = f.waiting.Since
		fallthrough
	default:
		x.Sentence = "It may go at any moment."
	}
	return x
}

func (f *facts) explainHold(x *admin.Explanation) {
	e := &f.entry
	x.Reason, x.Since, x.Due = status.Held, e.Accepted, nil
	if d := f.directive; d != nil && d.Holds(e) {
		until := d.Until
		x.Since, x.Due, x.Directive = later(d.Since, e.Accepted), &until, d
		x.Sentence = fmt.Sprintf("Directive %s holds %s until %s (%s).", d.ID, d.Scope, clock(until), d.Reason)
		return
	}
	x.Sentence = fmt.Sprintf("It is held until an admin releases it (%s).", e.Held)
}

func (f *facts) explainLimit(x *admin.Explanation) {
	x.Reason, x.Since, x.Policy, x.Due = status.RateLimited, f.waiting.Since, f.waiting.Policy, nil
	if f.opens.IsZero() {
		x.Sentence = fmt.Sprintf("Policy %s lets no more go until another delivery ends.", x.Policy)
		return
	}
	opens := f.opens
	x.Due = &opens
	x.Sentence = fmt.Sprintf("Policy %s lets no more go until %s.", x.Policy, clock(opens))
}

// explainDelay says why the next attempt is later. An attempt that has neither ended nor runs was broken off by a crash,
// and is repeated when its lease ends.
func (f *facts) explainDelay(x *admin.Explanation, last *envelope.Outcome) {
	switch {
	case last == nil && x.Attempts > 0:
		x.Reason, x.Since = status.Deferred, x.Due.Add(-envelope.AttemptLease)
		x.Sentence = fmt.Sprintf("The attempt of %s was broken off before its outcome was known; it is repeated at %s.", clock(x.Since), clock(*x.Due))
		return
	case last == nil:
		x.Since = f.entry.Accepted
		x.Sentence = fmt.Sprintf("There is no room for it among the mail that goes next; it is looked at again at %s.", clock(*x.Due))
		return
	}
	if x.Reason, x.Since = deferral(last.Reply), last.At; f.down.Down {
		x.Reason, x.Since = status.NextHopDown, f.down.Since
	}
	switch x.Reason {
	case status.LookupFailed:
		x.Sentence = fmt.Sprintf("DNS gave no answer at %s; the next attempt is at %s.", clock(last.At), clock(*x.Due))
	case status.NextHopDown:
		x.Sentence = fmt.Sprintf("Its next hop is down; it goes when that is up again, and is looked at again at %s.", clock(*x.Due))
	default:
		x.Sentence = fmt.Sprintf("Attempt %d was put off at %s; the next one is at %s.", x.Attempts, clock(last.At), clock(*x.Due))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// facts gathers what explain wants to know of an entry.
func (r *Relay) facts(e envelope.Envelope, waiting map[string]schedule.Waiting, now time.Time) facts {
	f := facts{entry: e, now: now, directive: r.directiveFor(&e, now), down: r.nextHopDown(&e)}
	f.waiting, f.inMemory = r.schedule.Reason(e.Key())
	if w := waiting[e.Domain]; !f.inMemory && w.Reason == schedule.RateLimited && (e.Attempts() == 0 || !e.Due().After(now)) {
		f.waiting, f.inMemory = w, true // it found no room behind what the limit holds up
	}
	if f.inMemory && f.waiting.Reason == schedule.RateLimited {
		f.opens = r.schedule.Opens(&e)
	}
	return f
}

// directiveFor is the directive that held an entry, or else the one that counts for it.
func (r *Relay) directiveFor(e *envelope.Envelope, now time.Time) *directive.Directive {
	set := r.directives.Current()
	if e.Held == "" {
		return set.Decide(e, now)
	}
	for _, d := range set.List() {
		if d.Holds(e) {
			return &d
		}
	}
	return nil
}

// Explain implements admin.Relay.
func (r *Relay) Explain(q admin.Question) (admin.Explanations, error) {
	entries, err := r.spool.List(spool.Filter{ID: q.ID, Domain: q.Domain}, envelope.Key{}, explainable)
	if err != nil {
		return admin.Explanations{}, err
	}
	if len(entries) == 0 {
		return admin.Explanations{}, fmt.Errorf("%w for %s%s", admin.ErrNotFound, q.Domain, q.ID)
	}
	return admin.Explanations{Explanations: r.explainAll(entries), Partial: len(entries) == explainable}, nil
}

// explainAll explains entries, those that wait for the same as one.
func (r *Relay) explainAll(entries []envelope.Envelope) []admin.Explanation {
	type cause struct {
		domain, policy, directive, held string
		reason                          status.Reason
	}
	waiting, now := r.schedule.Waiting(), time.Now()
	at := map[cause]int{}
	var all []admin.Explanation
	for i := range entries {
		x := explain(r.facts(entries[i], waiting, now))
		c := cause{domain: x.Domain, policy: x.Policy, held: entries[i].Held, reason: x.Reason}
		if x.Directive != nil {
			c.directive = x.Directive.ID
		}
		if n, known := at[c]; known {
			all[n].Entries++
			all[n].Recipients += x.Recipients
			continue
		}
		at[c] = len(all)
		if len(all) < slowest && x.Reason == status.Held && x.Directive == nil {
			x.Since = later(x.Since, r.heldSince(&entries[i]))
		}
		all = append(all, x)
	}
	return all
}

// heldSince asks the journal when an admin held an entry, which does not say so itself; zero when that is forgotten.
func (r *Relay) heldSince(e *envelope.Envelope) time.Time {
	events, err := r.journal.Find(string(e.ID))
	if err != nil {
		r.log.Warn("the journal cannot be read", "error", err)
	}
	for i := len(events) - 1; i >= 0; i-- {
		if events[i].Type == event.Held && envelope.DomainOf(events[i].Recipient) == e.Domain {
			return events[i].At
		}
	}
	return time.Time{}
}
