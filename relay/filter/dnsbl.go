package filter

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/dns"
	"github.com/postrider/postrider/relay/reply"
)

const (
	// remember is how long an answer about a client is believed, forgive how long the lack of one: it spares each of a
	// session's recipients the wait for a list that does not answer.
	remember = 5 * time.Minute
	forgive  = 30 * time.Second
	// maxClients is how many answers are kept.
	maxClients = 10_000
)

// Resolver is what block lists ask: dns.Client.
type Resolver interface {
	// A returns the IPv4 addresses of a name; dns.NotFound tells a definite "no".
	A(ctx context.Context, name string) ([]netip.Addr, error)
	// TXT returns the TXT records of a name.
	TXT(ctx context.Context, name string) ([]string, error)
}

// list is a filter of block lists.
type list struct {
	config.Filter
	resolver Resolver
	metrics  *Metrics
	log      *slog.Logger
	now      func() time.Time

	mu    sync.Mutex
	known map[netip.Addr]standing
}

// standing is what the lists say about a client.
type standing struct {
	// zone lists the client, for this reason; empty when none does.
	zone, reason string
	// failed is why there is no answer: no zone lists the client, and not all of them answered.
	failed  error
	expires time.Time
}

func newList(f config.Filter, o Options) *list {
	return &list{
		Filter: f, resolver: o.Resolver, metrics: o.Metrics, log: o.Log, now: time.Now,
		known: map[netip.Addr]standing{},
	}
}

// judge returns a reply.Reply for a client that may not send.
func (l *list) judge(ctx context.Context, addr netip.Addr) error {
	s := l.standing(ctx, addr)
	switch {
	case s.zone != "" && l.DNSBL.Action == config.DNSBLReject:
		text := fmt.Sprintf("Client %s is listed by %s", addr, s.zone)
		if s.reason != "" {
			text += ": " + s.reason
		}
		return reply.Reply{Code: 550, Enhanced: "5.7.1", Text: text}
	case s.failed != nil && l.OnFailure == config.FailDefer:
		return unavailable(l.Name)
	}
	return nil
}

// standing asks the zones, or remembers.
func (l *list) standing(ctx context.Context, addr netip.Addr) standing {
	if s, ok := l.recall(addr); ok {
		return s
	}
	within, cancel := context.WithTimeout(ctx, time.Duration(l.TimeoutSeconds)*time.Second)
	defer cancel()
	s := l.ask(within, addr)
	if ctx.Err() != nil { // the client is gone, and says nothing about the lists
		return s
	}
	l.report(addr, s)
	l.keep(addr, s)
	return s
}

// report counts an answer, and logs one that matters.
func (l *list) report(addr netip.Addr, s standing) {
	verdict := "accept"
	switch {
	case s.zone != "":
		verdict = "report"
		if l.DNSBL.Action == config.DNSBLReject {
			verdict = "refuse"
		}
		l.log.Info("a client is listed", "filter", l.Name, "client", addr.String(), "zone", s.zone, "reason", s.reason, "action", l.DNSBL.Action)
	case s.failed != nil:
		verdict = "none"
		l.log.Warn("a filter gave no verdict", "filter", l.Name, "client", addr.String(), "on_failure", l.OnFailure, "error", s.failed)
	}
	l.metrics.count(l.Name, verdict)
}

// ask puts the question to all zones at the same time. The first of them in the configuration that lists the client
// counts.
func (l *list) ask(ctx context.Context, addr netip.Addr) standing {
	answers := make([]standing, len(l.DNSBL.Zones))
	var asking sync.WaitGroup
	for i, zone := range l.DNSBL.Zones {
		asking.Go(func() { answers[i] = lookUp(ctx, l.resolver, addr, zone) })
	}
	asking.Wait()
	var all standing
	for _, a := range answers {
		if a.zone != "" {
			return a
		}
		all.failed = errors.Join(all.failed, a.failed)
	}
	return all
}

// lookUp asks one zone (RFC 5782 §2).
func lookUp(ctx context.Context, r Resolver, addr netip.Addr, zone string) standing {
	name := listName(addr, zone)
	addrs, err := r.A(ctx, name)
	switch {
	case dns.NotFound(err):
		return standing{}
	case err != nil:
		return standing{failed: err}
	}
	if i := slices.IndexFunc(addrs, func(a netip.Addr) bool { return !isListing(a) }); i >= 0 {
		return standing{failed: fmt.Errorf("%s answers %s, which is no listing", zone, addrs[i])}
	}
	s := standing{zone: zone}
	if texts, err := r.TXT(ctx, name); err == nil && len(texts) > 0 {
		s.reason = inert(texts[0], maxText)
	}
	return s
}

// isListing says whether an address means that a client is listed: 127.0.0.0/8 (RFC 5782 §2.1), but for 127.255.255.0/24,
// by which lists say that they do not answer whoever asks. A zone that has been given up answers with a public address.
func isListing(a netip.Addr) bool {
	if a = a.Unmap(); !a.Is4() {
		return false
	}
	octets := a.As4()
	return octets[0] == 127 && (octets[1] != 255 || octets[2] != 255)
}

// listName is the name to ask for: the address reversed, by octets (RFC 5782 §2.1) or, for IPv6, by nibbles (§2.4),
// under the zone.
func listName(addr netip.Addr, zone string) string {
	var labels []string
	if addr.Is4() {
		for _, octet := range addr.As4() {
			labels = append(labels, fmt.Sprint(octet))
		}
	} else {
		octets := addr.As16()
		labels = strings.Split(hex.EncodeToString(octets[:]), "")
	}
	slices.Reverse(labels)
	return strings.Join(append(labels, strings.TrimSuffix(zone, ".")), ".")
}

func (l *list) recall(addr netip.Addr) (standing, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.known[addr]
	return s, ok && l.now().Before(s.expires)
}

// keep remembers an answer. When there are too many, those that expired go, or else any.
func (l *list) keep(addr netip.Addr, s standing) {
	now := l.now()
	s.expires = now.Add(remember)
	if s.failed != nil {
		s.expires = now.Add(forgive)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.known) >= maxClients {
		for a, old := range l.known {
			if !now.Before(old.expires) || len(l.known) >= maxClients {
				delete(l.known, a)
			}
		}
	}
	l.known[addr] = s
}
