package rate

import (
	"cmp"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/config"
)

// stage is the policies of one stage, found by destination, so that a message pays only for those that may
// apply to it.
type stage struct {
	// everywhere are those without a filter on destinations.
	everywhere   []*policy
	destinations map[string][]*policy
	// providers are those with MX suffixes and without destinations, by suffix.
	providers map[string][]*policy
}

func (st *stage) add(p *policy, destinations []string) {
	switch {
	case len(destinations) > 0:
		st.destinations = addTo(st.destinations, setOf(destinations), p)
	case len(p.suffixes) > 0:
		st.providers = addTo(st.providers, p.suffixes, p)
	default:
		st.everywhere = append(st.everywhere, p)
	}
}

func addTo(index map[string][]*policy, names map[string]struct{}, p *policy) map[string][]*policy {
	if index == nil {
		index = map[string][]*policy{}
	}
	for name := range names {
		index[name] = append(index[name], p)
	}
	return index
}

// applying yields the policies that apply to s, each once.
func (st *stage) applying(s Subject) iter.Seq[*policy] {
	return func(yield func(*policy) bool) {
		for _, list := range [...][]*policy{st.everywhere, st.destinations[s.DestinationDomain]} {
			for _, p := range list {
				if p.covers(s) && !yield(p) {
					return
				}
			}
		}
		if len(st.providers) == 0 || len(s.MXHosts) == 0 {
			return
		}
		for suffix := range config.DomainsOf(s.MXHosts[0]) {
			for _, p := range st.providers[suffix] {
				if p.covers(s) && !yield(p) {
					return
				}
			}
		}
	}
}

func (st *stage) byIdentity(into map[identity]*policy) map[identity]*policy {
	if into == nil {
		into = map[identity]*policy{}
	}
	for _, p := range st.everywhere {
		into[p.identity] = p
	}
	for _, index := range [...]map[string][]*policy{st.destinations, st.providers} {
		for _, list := range index {
			for _, p := range list {
				into[p.identity] = p
			}
		}
	}
	return into
}

// identity is what makes a policy the same one after a reconfiguration.
type identity struct {
	name  string
	stage config.Stage
	key   config.LimitKey
}

// policy is a configured policy and its buckets.
type policy struct {
	identity
	senders map[string]struct{}
	// suffixes are those of the MX hosts that it is about, none of which ends in another; empty for all.
	suffixes map[string]struct{}
	// provider is the key of the only bucket where there are suffixes and the key is Site.
	provider string
	// interval is the time in which one message flows back into a bucket; 0 when messages are not limited.
	interval time.Duration
	// depth is the time in which an empty bucket fills: burst × interval.
	depth          time.Duration
	maxConnections int
	// recipients are those of a transaction, messages those of a connection; 0 when not limited.
	recipients, messages int
	// exact says that it is a share: a bucket begins empty, so that a pod that starts again, or whose share grows, sends
	// nothing twice. nothing says that it lets nothing through.
	exact, nothing bool
	// full is when a bucket that is not among the buckets is full; unless it is exact, it always is.
	full time.Duration

	// buckets are those that are not full or have connections open. One that is not here is as full as any.
	buckets map[string]*bucket
	// sweepAt is the number of buckets at which the full ones are dropped.
	sweepAt int
}

// fewBuckets are not worth a sweep.
const fewBuckets = 64

func newPolicy(c config.RatePolicy, now time.Duration) *policy {
	p := &policy{
		identity:       identity{c.Name, c.Stage, c.Key},
		senders:        setOf(c.SenderDomains),
		maxConnections: c.MaxConnections,
		recipients:     c.RecipientsPerMessage,
		messages:       c.MessagesPerConnection,
		exact:          c.Exact && c.Stage == config.StageDelivery,
		nothing:        c.Nothing,
		buckets:        map[string]*bucket{},
		sweepAt:        fewBuckets,
	}
	if len(c.MXSuffixes) > 0 {
		p.suffixes, p.provider = shortest(c.MXSuffixes), "*."+slices.Min(c.MXSuffixes)
	}
	if c.Messages > 0 && c.PerSeconds > 0 {
		p.interval = divideUp(time.Duration(c.PerSeconds)*time.Second, c.Messages)
		p.depth = p.interval * min(time.Duration(Burst(c)), math.MaxInt64/4/p.interval)
	}
	if p.exact {
		p.full = p.fullWith(0, now)
	}
	return p
}

// Burst is how many messages may go at once under c. Where c does not say: in stage Delivery what the rate gives
// in one second, at least one, because receivers count over short times; in stage Accept all of c.Messages, because
// people send in bursts and a refusal is theirs to deal with.
func Burst(c config.RatePolicy) int {
	switch {
	case c.Burst > 0:
		return c.Burst
	case c.Stage == config.StageAccept || c.PerSeconds <= 0:
		return max(1, c.Messages)
	default:
		return max(1, c.Messages/c.PerSeconds)
	}
}

// divideUp rounds up, so that a rate is never exceeded.
func divideUp(d time.Duration, n int) time.Duration {
	return (d + time.Duration(n) - 1) / time.Duration(n)
}

func setOf(names []string) map[string]struct{} {
	set := make(map[string]struct{}, len(names))
	for _, n := range names {
		set[n] = struct{}{}
	}
	return set
}

// covers says whether p is about mail of the sender domain, and about the provider: all MX hosts must be its own.
func (p *policy) covers(s Subject) bool {
	if len(p.senders) > 0 {
		if _, ok := p.senders[s.SenderDomain]; !ok {
			return false
		}
	}
	if len(p.suffixes) == 0 {
		return true
	}
	for _, host := range s.MXHosts {
		if !config.EndsIn(host, p.suffixes) {
			return false
		}
	}
	return len(s.MXHosts) > 0
}

// shortest are the suffixes without those that end in another.
func shortest(suffixes []string) map[string]struct{} {
	all, short := setOf(suffixes), map[string]struct{}{}
	for suffix := range all {
		if _, above, more := strings.Cut(suffix, "."); !more || !config.EndsIn(above, all) {
			short[suffix] = struct{}{}
		}
	}
	return short
}

func (p *policy) keyOf(s Subject) string {
	switch p.key {
	case config.KeySenderDomain:
		return s.SenderDomain
	case config.KeySender:
		return s.Sender
	default:
		return cmp.Or(p.provider, s.Site)
	}
}

// bucket is what was counted for one key.
type bucket struct {
	name Bucket
	// full is when all messages have flowed back, GCRA's theoretical arrival time.
	full time.Duration
	// open is the number of leases out.
	open int
}

// refusal says that a bucket has nothing left.
type refusal struct {
	name Bucket
	// until is when it has again; 0 when it waits for a release, or for another configuration.
	until time.Duration
	// never says that no release helps.
	never bool
}

// stricter says whether r binds longer than other. A wait for a release may take forever, and never does.
func (r *refusal) stricter(other *refusal) bool {
	return other == nil || r.never && !other.never || other.until != 0 && (r.until == 0 || r.until > other.until)
}

// claim is one message against one bucket.
type claim struct {
	policy *policy
	key    string
	bucket *bucket // nil when there is none: it is full
}

func (p *policy) claim(s Subject) claim {
	key := p.keyOf(s)
	return claim{p, key, p.buckets[key]}
}

// refused returns nil when the message may go now.
func (c claim) refused(now time.Duration) *refusal {
	p, b := c.policy, c.bucket
	full := p.full
	if b != nil {
		full = max(full, b.full)
	}
	name := Bucket{Policy: p.name, Key: c.key}
	switch {
	case p.nothing:
		return &refusal{name: name, never: true}
	case b != nil && p.maxConnections > 0 && b.open >= p.maxConnections:
		return &refusal{name: name}
	case p.interval > 0 && full+p.interval-p.depth > now:
		return &refusal{name: name, until: full + p.interval - p.depth}
	default:
		return nil
	}
}

// take counts a message that was not refused, and its connection.
func (c claim) take(now time.Duration) *bucket {
	p, b := c.policy, c.bucket
	if b == nil {
		p.sweep(now)
		b = &bucket{name: Bucket{Policy: p.name, Key: c.key}}
		p.buckets[c.key] = b
	}
	b.full = max(b.full, p.full, now) + p.interval
	b.open++
	return b
}

// sweep drops buckets that nothing would be forgotten with. It costs a constant for each bucket made.
func (p *policy) sweep(now time.Duration) {
	if len(p.buckets) < p.sweepAt {
		return
	}
	maps.DeleteFunc(p.buckets, func(_ string, b *bucket) bool { return b.open == 0 && b.full <= now })
	p.sweepAt = max(fewBuckets, 2*len(p.buckets))
}

// inherit takes over what was counted under the policy's earlier limits. Messages that have not flowed back yet
// are still out, as many as the new burst holds.
func (p *policy) inherit(old *policy, now time.Duration) {
	p.buckets, p.sweepAt = old.buckets, old.sweepAt
	if p.exact {
		p.keep(old, now)
		return
	}
	for _, b := range p.buckets {
		out := 0.0
		if old.interval > 0 && b.full > now {
			out = float64(b.full-now) / float64(old.interval)
		}
		b.full = now + time.Duration(min(out*float64(p.interval), float64(p.depth)))
	}
}

// keep takes over what a share had saved up, and nothing else: what a larger one may save up flows in with time, for
// the pod that had it before may just have used it.
func (p *policy) keep(old *policy, now time.Duration) {
	p.full = p.fullWith(old.saved(old.full, now), now)
	for _, b := range p.buckets {
		b.full = p.fullWith(old.saved(max(b.full, old.full), now), now)
	}
}

// saved is how many messages may go at once from a bucket that is full at a time.
func (p *policy) saved(full, now time.Duration) float64 {
	if p.nothing || p.interval == 0 {
		return 0
	}
	return float64(p.depth-max(0, full-now)) / float64(p.interval)
}

// fullWith is when a bucket is full from which so many messages may go now, or as many as it holds.
func (p *policy) fullWith(saved float64, now time.Duration) time.Duration {
	return now + p.depth - time.Duration(min(max(0, saved)*float64(p.interval), float64(p.depth)))
}

// exceeded says that more connections are open than it allows: they are from before.
func (p *policy) exceeded() bool {
	for _, b := range p.buckets {
		if b.open > 0 && (p.nothing || p.maxConnections > 0 && b.open > p.maxConnections) {
			return true
		}
	}
	return false
}
