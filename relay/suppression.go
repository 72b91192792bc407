package relay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/listener"
	"github.com/postrider/postrider/relay/policy"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/suppress"
)

// sweepEvery is how often what has expired is taken off the suppression lists.
const sweepEvery = time.Hour

// suppressionsOf are the rules of the domains that have one.
func suppressionsOf(domains []config.Domain) map[string]*config.Suppression {
	rules := map[string]*config.Suppression{}
	for _, d := range domains {
		if d.Suppression != nil {
			rules[d.Name] = d.Suppression
		}
	}
	return rules
}

// suppressed is the reply to a recipient on a list.
func suppressed(e suppress.Entry) reply.Reply {
	return reply.Reply{Code: 550, Enhanced: "5.1.1", Text: fmt.Sprintf(
		"Mail of %s for this recipient is suppressed until %s: %s", e.Domain, e.Until.UTC().Format(time.RFC3339), e.Reason)}
}

// suppressedAtRCPT refuses a recipient on the list of the SendingDomain whose the reverse path is, if that wants
// refusals. From, which says as whom a message is sent, is not known yet.
func (r *Relay) suppressedAtRCPT(s *settings, c *listener.Session, client policy.Client, to string) error {
	domain := envelope.DomainOf(c.ReversePath)
	rule := s.suppressions[domain]
	if rule == nil || rule.Action != config.SuppressReject || client.Origin == envelope.Relayed {
		return nil
	}
	now := time.Now()
	e, listed, err := r.suppressions.Find(domain, to, now)
	if err != nil || !listed {
		return err
	}
	refused := envelope.Recipient{Address: to}
	mark(&refused, e, now)
	r.record(suppressedEvents(c, &envelope.Envelope{
		ReversePath: c.ReversePath, Tenant: domain, User: c.User, Origin: client.Origin, Recipients: []envelope.Recipient{refused},
	})...)
	return suppressed(e)
}

// mark says that a recipient is not to get mail, and why.
func mark(to *envelope.Recipient, e suppress.Entry, now time.Time) {
	to.State, to.Last = envelope.Suppressed, &envelope.Outcome{Reply: suppressed(e), At: now}
}

// suppress marks the recipients of a transaction who are on the list of the SendingDomain that the message is sent
// as. They are accepted and not tried. The message is refused when they are all and the domain wants refusals.
func (r *Relay) suppress(s *settings, c *listener.Session, client policy.Client, tenant string, now time.Time) error {
	rule := s.suppressions[tenant]
	if rule == nil {
		return nil
	}
	var refusal error
	left := len(c.Recipients)
	for i := range c.Recipients {
		to := &c.Recipients[i]
		e, listed, err := r.suppressions.Find(tenant, to.Address, now)
		if err != nil {
			return err
		}
		if listed {
			mark(to, e, now)
			refusal = suppressed(e)
			left--
		}
	}
	if left > 0 || rule.Action != config.SuppressReject {
		return nil
	}
	r.record(suppressedEvents(c, &envelope.Envelope{
		ReversePath: c.ReversePath, Tenant: tenant, User: c.User, Origin: client.Origin, Recipients: c.Recipients,
	})...)
	return refusal
}

// suppressedEvents are the events of those recipients of a message who are suppressed.
func suppressedEvents(c *listener.Session, e *envelope.Envelope) []event.Event {
	var events []event.Event
	for _, to := range e.Recipients {
		if to.State != envelope.Suppressed {
			continue
		}
		told := eventOf(event.Suppressed, e, to.Address, to.Last.At)
		told.Listener, told.Client, told.Helo, told.Reason = c.Listener.Name, c.Remote.String(), c.Helo, to.Last.Reply.Text
		events = append(events, told)
	}
	return events
}

// dropped are the events of the recipients of entries who were accepted and are not tried: first that they were
// accepted, then that they are suppressed. Commit keeps no entry that would tell of them.
func dropped(c *listener.Session, id envelope.ID, entries []envelope.Envelope) []event.Event {
	var told []event.Event
	for i := range entries {
		entries[i].ID = id
		told = append(told, suppressedEvents(c, &entries[i])...)
	}
	all := slices.Clone(told)
	for i := range told {
		all[i].Type, all[i].Reason = event.Accepted, ""
	}
	return append(all, told...)
}

// learn lists the recipients of an attempt that do not exist, if the SendingDomain keeps a list.
func (r *Relay) learn(s *settings, e *envelope.Envelope, outcomes []envelope.Outcome) {
	rule := s.suppressions[e.Tenant]
	if rule == nil {
		return
	}
	for i, o := range outcomes {
		if !suppress.Hard(o.Reply, o.AtRecipient) {
			continue
		}
		err := r.suppressions.Add(suppress.Entry{
			Domain: e.Tenant, Address: e.Recipients[i].Address, Reason: o.Reply.String(), Since: o.At, Until: o.At.Add(time.Duration(rule.Seconds) * time.Second),
		})
		if err != nil {
			r.log.Error("a recipient is not put on the suppression list", "domain", e.Tenant, "to", e.Recipients[i].Address, "error", err)
			continue
		}
		r.log.Info("recipient listed", "domain", e.Tenant, "to", e.Recipients[i].Address, "reason", o.Reply.String())
	}
}

// sweepSuppressions takes off what has expired until ctx is done.
func (r *Relay) sweepSuppressions(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if n, err := r.suppressions.Sweep(ctx, now); err != nil {
				r.log.Error("suppression lists are not swept", "error", err)
			} else if n > 0 {
				r.log.Info("suppression lists swept", "entries", n)
			}
		}
	}
}

// Suppressions implements admin.Relay. Its places between pages are written domain/address.
func (r *Relay) Suppressions(q admin.SuppressionQuery) (admin.SuppressionPage, error) {
	after := strings.Replace(q.After, "/", "\x00", 1)
	entries, next, err := r.suppressions.Page(q.Domain, after, q.Limit, time.Now())
	page := admin.SuppressionPage{Entries: make([]admin.Suppression, len(entries)), Next: strings.Replace(next, "\x00", "/", 1)}
	for i, e := range entries {
		page.Entries[i] = admin.Suppression(e)
	}
	return page, err
}

// Suppress implements admin.Relay.
func (r *Relay) Suppress(o admin.SuppressionOrder) (admin.Suppression, error) {
	s := r.settings.Load()
	if s == nil || s.suppressions[o.Domain] == nil {
		return admin.Suppression{}, fmt.Errorf("%s: %w", o.Domain, admin.ErrNoSuppression)
	}
	if o.Seconds == 0 {
		o.Seconds = s.suppressions[o.Domain].Seconds
	}
	now := time.Now().UTC()
	e := suppress.Entry{
		Domain: o.Domain, Address: o.Address, Reason: o.Reason, Since: now, Until: now.Add(time.Duration(o.Seconds) * time.Second),
	}
	if err := r.suppressions.Add(e); err != nil {
		return admin.Suppression{}, err
	}
	r.log.Info("admin act", "act", "suppress", "domain", e.Domain, "to", e.Address, "until", e.Until, "reason", e.Reason)
	return admin.Suppression(e), nil
}

// Unsuppress implements admin.Relay.
func (r *Relay) Unsuppress(o admin.SuppressionOrder) (bool, error) {
	removed, err := r.suppressions.Remove(o.Domain, o.Address)
	if removed && err == nil {
		r.log.Info("admin act", "act", "unsuppress", "domain", o.Domain, "to", o.Address, "reason", o.Reason)
	}
	return removed, err
}
