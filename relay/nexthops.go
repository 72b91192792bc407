package relay

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/health"
	"github.com/postrider/postrider/relay/route"
	"github.com/postrider/postrider/relay/spool"
)

const (
	// hastenedAtOnce is how many entries are made due at the same time when a next hop is up again: they share their
	// syncs, and leave room for new mail.
	hastenedAtOnce = 16
	// flushPatience is how long an admin's flush waits for the probes of next hops that are down.
	flushPatience = 12 * time.Second
)

// watchHops tells what is wrong with the routes, and has the next hops that they name watched.
func (r *Relay) watchHops(s *settings) {
	for _, problem := range s.router.Problems() {
		r.log.Error("a part of the configuration cannot be used; mail for it waits", "error", problem)
	}
	r.hops.Watch(s.router.Watched())
}

// observeHop is told by every attempt what a host, as a whole, came to.
func (r *Relay) observeHop(hop route.Hop, err error) { r.hops.Attempted(hop.Key(), err) }

// probeHop says why a next hop that is down cannot be used.
func (r *Relay) probeHop(ctx context.Context, k health.Key) error {
	s := r.settings.Load()
	if s == nil {
		return errNoConfig
	}
	hop, err := s.router.Resolve(ctx, k)
	if err != nil {
		return err
	}
	return r.client.Greet(ctx, s.config.Relay.Hostname, hop)
}

func (r *Relay) hopChanged(k health.Key, now health.State) {
	if now.Down {
		r.log.Warn("next hop is down: mail for it waits", "next_hop", k.String(), "error", now.Last, "probe", now.Due)
		return
	}
	r.log.Info("next hop is up", "next_hop", k.String())
}

// resync sends what waited for a next hop once it is up again: all of it is due at once, but the number of connections
// to its sites begins at one. What an attempt had in hand while the mail was made due is found at the end.
func (r *Relay) resync(ctx context.Context, k health.Key) {
	sites := r.settings.Load().router.Sites(k)
	defer r.limitSites(sites, 0)
	r.limitSites(sites, health.Ramp(0))
	var hastening errgroup.Group
	hastening.Go(func() error { r.hasten(ctx, k); return nil })
	r.ramp(ctx, sites)
	_ = hastening.Wait() // it fails never
	r.hasten(ctx, k)
}

// ramp lets the sites have more and more connections, until that limits them no more.
func (r *Relay) ramp(ctx context.Context, sites []string) {
	began := time.Now()
	ticker := time.NewTicker(health.RampStep)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		most := health.Ramp(time.Since(began))
		if most > attempts {
			return
		}
		r.limitSites(sites, most)
	}
}

func (r *Relay) limitSites(sites []string, connections int) {
	for _, site := range sites {
		r.schedule.Limit(site, connections)
	}
}

// hasten makes the deferred mail due that goes to a next hop, the oldest destination first, page by page.
func (r *Relay) hasten(ctx context.Context, k health.Key) {
	began, entries := time.Now(), 0
	destinations := r.spool.Destinations()
	slices.SortFunc(destinations, func(a, b spool.Destination) int { return a.Oldest.Compare(b.Oldest) })
	for _, d := range destinations {
		if d.Deferred == 0 || ctx.Err() != nil {
			continue
		}
		n, err := r.hastenDomain(ctx, k, d.Domain)
		if entries += n; err != nil {
			r.log.Error("deferred mail keeps its due time", "domain", d.Domain, "error", err)
		}
	}
	if entries > 0 {
		r.log.Info("deferred mail is due", "next_hop", k.String(), "entries", entries, "seconds", time.Since(began).Seconds())
	}
}

func (r *Relay) hastenDomain(ctx context.Context, k health.Key, domain string) (entries int, err error) {
	for after := (envelope.Key{}); ctx.Err() == nil; {
		router := r.settings.Load().router
		page, err := r.spool.List(spool.Filter{Domain: domain}, after, admin.MaxPage)
		if err != nil || len(page) == 0 {
			return entries, err
		}
		after = page[len(page)-1].Key()
		var group errgroup.Group
		group.SetLimit(hastenedAtOnce)
		for _, e := range page {
			if e.Held != "" || !deferred(&e, time.Now()) || !router.MayUse(k, e.SenderDomain(), e.Domain) {
				continue
			}
			entries++
			group.Go(func() error { return r.hastenEntry(e.Key()) })
		}
		if err := group.Wait(); err != nil {
			return entries, err
		}
	}
	return entries, nil
}

// deferred says whether an attempt was made for a recipient, which waits for the next one.
func deferred(e *envelope.Envelope, now time.Time) bool {
	for i := range e.Recipients {
		if isDeferred(&e.Recipients[i], now) {
			return true
		}
	}
	return false
}

func isDeferred(to *envelope.Recipient, now time.Time) bool {
	return to.State == envelope.Queued && to.Attempts > 0 && to.Due.After(now)
}

func (r *Relay) hastenEntry(k envelope.Key) error {
	after, _, err := r.spool.Change(k, func(e *envelope.Envelope) ([]spool.Draft, error) {
		now := time.Now()
		for i := range e.Recipients {
			if isDeferred(&e.Recipients[i], now) {
				e.Recipients[i].Due = now
			}
		}
		return nil, nil
	})
	if errors.Is(err, spool.ErrNotFound) {
		return nil // delivered in the meantime
	}
	if err != nil {
		return err
	}
	r.schedule.Wake(after)
	return nil
}

// probeForFlush has the next hops probed that are down and that the flushed mail may go to, so that the flush finds
// them as they are.
func (r *Relay) probeForFlush(sel admin.Selection) {
	s := r.settings.Load()
	if s == nil {
		return
	}
	var keys []health.Key
	if sel.Domain != "" {
		keys = s.router.Behind(sel.Domain)
	} else {
		for k := range s.router.Watched() {
			keys = append(keys, k)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushPatience)
	defer cancel()
	r.hops.Probe(ctx, keys)
}

// nextHopDown says since when an entry has no next hop that is up, if so.
func (r *Relay) nextHopDown(e *envelope.Envelope) health.State {
	s := r.settings.Load()
	if s == nil {
		return health.State{}
	}
	return s.router.Down(e.SenderDomain(), e.Domain)
}

// farthest is how far ahead mail may be due after so many attempts: the wait for the next one, or the end of a suspension.
// It is not known, 0, before a configuration is in force.
func (r *Relay) farthest(attempts int) time.Duration {
	s := r.settings.Load()
	if s == nil {
		return 0
	}
	far := s.retry(time.Time{}, 1).Wait(attempts)
	now := time.Now()
	for _, d := range r.directives.Current().List() {
		far = max(far, d.Until.Add(spread).Sub(now))
	}
	return far
}
