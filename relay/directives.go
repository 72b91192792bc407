package relay

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/listener"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/spool"
)

const (
	// spread is over how long what a suspension kept back becomes due when it ends.
	spread = time.Minute
	// undoAgain is how long it takes until the end of a directive is tried again that could not be stored.
	undoAgain = 10 * time.Second
)

// directives are what an admin told the relay to do for a time, and the goroutine that ends them.
type directives struct {
	*directive.Book
	changed chan struct{}
	// undoing lets one at a time undo what a directive did.
	undoing sync.Mutex
}

func openDirectives(store *spool.Store) (*directives, error) {
	book, err := directive.Open(store)
	return &directives{Book: book, changed: make(chan struct{}, 1)}, err
}

// Directives implements admin.Relay.
func (r *Relay) Directives() []directive.Directive { return r.directives.Current().List() }

// Direct implements admin.Relay. The directive is in force before the mail that is there already is gone through: what
// comes in meanwhile meets it at its attempt.
func (r *Relay) Direct(o directive.Order) (admin.Directed, error) {
	if o.Act == directive.Bounce && r.settings.Load() == nil {
		return admin.Directed{}, errNoDSN
	}
	d, err := r.directives.Add(o, time.Now())
	if err != nil {
		return admin.Directed{}, err
	}
	r.logDirective("directive", &d)
	select {
	case r.directives.changed <- struct{}{}:
	default: // it was told
	}
	result := admin.Result{}
	switch d.Act {
	case directive.Hold:
		result, err = r.actOnAll(filterOf(d.Scope), holdFor(&d))
	case directive.Bounce:
		result, err = r.actOnAll(filterOf(d.Scope), bounceFor(&d))
	}
	return admin.Directed{Directive: d, Result: result}, err
}

// EndDirective implements admin.Relay.
func (r *Relay) EndDirective(id string) (admin.Directed, error) {
	d, err := r.directives.End(id, time.Now())
	if err != nil {
		return admin.Directed{}, err
	}
	result, err := r.undo(&d)
	return admin.Directed{Directive: d, Result: result}, err
}

// undo lets go what a directive that is over kept back, and forgets it. A crash in between repeats it.
func (r *Relay) undo(d *directive.Directive) (result admin.Result, err error) {
	r.directives.undoing.Lock()
	defer r.directives.undoing.Unlock()
	s := r.settings.Load()
	switch {
	case !slices.ContainsFunc(r.Directives(), func(o directive.Directive) bool { return o.ID == d.ID }):
		return result, nil // another was faster
	case d.Act == directive.Hold:
		result, err = r.actOnAll(filterOf(d.Scope), releaseFrom(d))
	case d.Act != directive.Suspend || d.Ended == nil: // what a suspension kept back is due when its time is over
	case s == nil:
		err = errNoConfig // which says when mail expires
	default:
		result, err = r.actOnAll(filterOf(d.Scope), resumeFrom(d, s))
	}
	if err == nil {
		err = r.directives.Drop(d.ID)
	}
	if err == nil {
		r.logDirective("directive ended", d)
	}
	return result, err
}

// endDirectives ends them when their time is over, until ctx is done.
func (r *Relay) endDirectives(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.directives.changed:
		}
		timer.Reset(r.endOver(time.Now()))
	}
}

// endOver ends what is over, and says how long the others hold at least.
func (r *Relay) endOver(now time.Time) time.Duration {
	next := time.Hour
	for _, d := range r.Directives() {
		if !d.Over(now) {
			next = min(next, d.Until.Sub(now))
		} else if _, err := r.undo(&d); err != nil {
			r.log.Error("what a directive kept back is not all let go yet; trying again", "directive", d.ID, "error", err)
			next = min(next, undoAgain)
		}
	}
	return next
}

// holdDirected holds new entries as an admin told the relay to, from the moment in which they are accepted.
func holdDirected(set *directive.Set, entries []envelope.Envelope, now time.Time) {
	if set.Empty() {
		return
	}
	for i := range entries {
		if d := set.Decide(&entries[i], now); d != nil && d.Act == directive.Hold && entries[i].Held == "" {
			entries[i].Held = d.HeldText()
		}
	}
}

// releaseEnded lets entries go that were just held by a directive of the set which has ended meanwhile: whoever ended it
// may have gone through what it held before these were stored.
func (r *Relay) releaseEnded(set *directive.Set, entries []envelope.Envelope) {
	current := r.directives.Current()
	if set == current {
		return
	}
	for _, d := range set.List() {
		if slices.ContainsFunc(current.List(), func(o directive.Directive) bool { return o.ID == d.ID && o.Ended == nil }) {
			continue
		}
		for i := range entries {
			if !d.Holds(&entries[i]) {
				continue
			}
			if _, err := r.actOn(entries[i].Key(), releaseFrom(&d)); err != nil {
				r.log.Error("held by a directive that ended; an admin may release it", "directive", d.ID, "error", err)
			}
		}
	}
}

// directed meets an entry that is to be attempted with what an admin told the relay to do. It says whether the attempt
// is off.
func (r *Relay) directed(s *settings, k envelope.Key) (bool, error) {
	set := r.directives.Current()
	if set.Empty() {
		return false, nil
	}
	e, err := r.spool.Get(k)
	if errors.Is(err, spool.ErrNotFound) {
		return true, nil // an admin was faster
	}
	now := time.Now()
	d := set.Decide(&e, now)
	if err != nil || d == nil || e.Held != "" {
		return false, err
	}
	switch {
	case d.Act == directive.Hold:
		_, err = r.actOn(k, holdFor(d))
		e.Held = d.HeldText()
		r.releaseEnded(set, []envelope.Envelope{e})
	case d.Act == directive.Bounce:
		_, err = r.actOn(k, bounceFor(d))
	case now.Before(s.retry(e.Accepted, 0).Expires):
		until := keptUntil(d, s.retry(e.Accepted, rand.Float64()))
		err = r.spool.Postpone([]envelope.Key{k}, func() time.Time { return until })
	default:
		_, err = r.actOn(k, expireUnder(d, s))
	}
	return true, err
}

// keptUntil is when a suspended entry is due again: scattered after the end of the suspension, but at the end of its
// own life at the latest.
func keptUntil(d *directive.Directive, retry envelope.Retry) time.Time {
	until := d.Until.Add(time.Duration(retry.Jitter * float64(spread)))
	if until.After(retry.Expires) {
		return retry.Expires
	}
	return until
}

// keptBack says whether keptUntil chose the due time of an entry.
func keptBack(d *directive.Directive, e *envelope.Envelope, expires time.Time) bool {
	due := e.Due()
	return !due.Before(d.Until) && !due.After(d.Until.Add(spread)) || due.Equal(expires)
}

// refused is the reply to a recipient whose mail is bounced for a time, as far as that is known at RCPT.
func (r *Relay) refused(c *listener.Session, to envelope.Recipient) error {
	set := r.directives.Current()
	if set.Empty() {
		return nil
	}
	mail := envelope.Envelope{Domain: envelope.DomainOf(to.Address), ReversePath: c.ReversePath}
	if d := set.Decide(&mail, time.Now()); d != nil && d.Act == directive.Bounce {
		return bouncedBy(d)
	}
	return nil
}

func bouncedBy(d *directive.Directive) reply.Reply {
	return reply.Reply{Code: 550, Enhanced: "5.7.1", Text: "Refused by an admin of this relay: " + d.Reason}
}

func holdFor(d *directive.Directive) work {
	held := *d
	return work{name: "hold", apply: func(e *envelope.Envelope, now time.Time) []event.Event {
		if e.Held != "" || held.Over(now) {
			return nil // whoever held it first lets it go
		}
		e.Held, e.Released = held.HeldText(), false
		return eventsOf(event.Held, e, now, e.Held)
	}}
}

func releaseFrom(d *directive.Directive) work {
	return work{name: "release", apply: func(e *envelope.Envelope, now time.Time) []event.Event {
		if !d.Holds(e) {
			return nil
		}
		e.Held = ""
		return eventsOf(event.Released, e, now, "directive "+d.ID+" ended")
	}}
}

func resumeFrom(d *directive.Directive, s *settings) work {
	return work{name: "resume", apply: func(e *envelope.Envelope, now time.Time) []event.Event {
		if !keptBack(d, e, s.retry(e.Accepted, 0).Expires) {
			return nil
		}
		due(e, now)
		return eventsOf(event.Flushed, e, now, "directive "+d.ID+" ended")
	}}
}

func bounceFor(d *directive.Directive) work {
	return work{name: "bounce", notify: true, apply: func(e *envelope.Envelope, now time.Time) []event.Event {
		if e.Origin == envelope.Internal {
			return nil // as Decide has it
		}
		return failAll(e, bouncedBy(d), d.Reason, now)
	}}
}

// expireUnder gives up mail whose max age passed while it was suspended. Its DSN says so.
func expireUnder(d *directive.Directive, s *settings) work {
	why := reply.Reply{Code: 450, Enhanced: "4.3.2", Text: "Deliveries were suspended by an admin of this relay: " + d.Reason}
	return work{name: "expire", notify: true, apply: func(e *envelope.Envelope, now time.Time) []event.Event {
		if now.Before(s.retry(e.Accepted, 0).Expires) {
			return nil
		}
		return failAll(e, why, "directive "+d.ID+": "+d.Reason, now)
	}}
}

func filterOf(s directive.Scope) spool.Filter {
	return spool.Filter{Domain: s.Domain, Sender: s.Sender}
}

// endHolds ends the hold directives that a release covers: all of them, or those with just its scope.
func (r *Relay) endHolds(sel admin.Selection) (total admin.Result, failed error) {
	for _, d := range r.Directives() {
		same := d.Domain == strings.ToLower(sel.Domain) && strings.EqualFold(d.Sender, sel.Sender)
		everything := sel.All && sel.Domain == "" && sel.Sender == ""
		if sel.ID != "" || d.Act != directive.Hold || !same && !everything {
			continue
		}
		ended, err := r.EndDirective(d.ID)
		total.Entries += ended.Entries
		total.Recipients += ended.Recipients
		failed = errors.Join(failed, err)
	}
	return total, failed
}

func (r *Relay) logDirective(what string, d *directive.Directive) {
	r.log.Info(what, "directive", d.ID, "act", d.Act, "domain", d.Domain, "sender", d.Sender, "all", d.All,
		"reason", d.Reason, "by", d.By, "until", d.Until, "early", d.Ended != nil)
}
