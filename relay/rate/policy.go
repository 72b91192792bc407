package rate

import (
	"iter"
	"maps"
	"math"
	"time"

	"github.com/postrider/postrider/relay/config"
)

// stage is the policies of one stage, found by destination, so that a message pays only for those that may
// apply to it.
type stage struct {
	// everywhere are those without a filter on destinations.
	everywhere   []*policy
	destinations map[string][]*policy
}

func (st *stage) add(p *policy, destinations []string) {
	if len(destinations) == 0 {
		st.everywhere = append(st.everywhere, p)
		return
	}
	if st.destinations == nil {
		st.destinations = map[string][]*policy{}
	}
	for domain := range setOf(destinations) {
		st.destinations[domain] = append(st.destinations[domain], p)
	}
}

// applying yields the policies that apply to s, each once.
func (st *stage) applying(s Subject) iter.Seq[*policy] {
	return func(yield func(*policy) bool) {
		for _, list := range [...][]*policy{st.everywhere, st.destinations[s.DestinationDomain]} {
			for _, p := range list {
				if p.covers(s.SenderDomain) && !yield(p) {
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
	for _, list := range st.destinations {
		for _, p := range list {
			into[p.identity] = p
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
	// interval is the time in which one message flows back into a bucket; 0 when messages are not limited.
	interval time.Duration
	// depth is the time in which an empty bucket fills: burst × interval.
	depth          time.Duration
	maxConnections int
	// recipients are those of a transaction, messages those of a connection; 0 when not limited.
	recipients, messages int

	// buckets are those that are not full or have connections open. One that is not here is full.
	buckets map[string]*bucket
	// sweepAt is the number of buckets at which the full ones are dropped.
	sweepAt int
}

// fewBuckets are not worth a sweep.
const fewBuckets = 64

func newPolicy(c config.RatePolicy) *policy {
	p := &policy{
		identity:       identity{c.Name, c.Stage, c.Key},
		senders:        setOf(c.SenderDomains),
		maxConnections: c.MaxConnections,
		recipients:     c.RecipientsPerMessage,
		messages:       c.MessagesPerConnection,
		buckets:        map[string]*bucket{},
		sweepAt:        fewBuckets,
	}
	if c.Messages > 0 && c.PerSeconds > 0 {
		p.interval = divideUp(time.Duration(c.PerSeconds)*time.Second, c.Messages)
		p.depth = p.interval * min(time.Duration(Burst(c)), math.MaxInt64/4/p.interval)
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

func (p *policy) covers(senderDomain string) bool {
	if len(p.senders) == 0 {
		return true
	}
	_, ok := p.senders[senderDomain]
	return ok
}

func (p *policy) keyOf(s Subject) string {
	switch p.key {
	case config.KeySenderDomain:
		return s.SenderDomain
	case config.KeySender:
		return s.Sender
	default:
		return s.Site
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
	// until is when it has again; 0 when it waits for a release.
	until time.Duration
}

// stricter says whether r binds longer than other. A wait for a release may take forever.
func (r *refusal) stricter(other *refusal) bool {
	return other == nil || other.until != 0 && (r.until == 0 || r.until > other.until)
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
	switch {
	case b == nil:
		return nil
	case p.maxConnections > 0 && b.open >= p.maxConnections:
		return &refusal{name: b.name}
	case p.interval > 0 && b.full+p.interval-p.depth > now:
		return &refusal{name: b.name, until: b.full + p.interval - p.depth}
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
	b.full = max(b.full, now) + p.interval
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
	for _, b := range p.buckets {
		out := 0.0
		if old.interval > 0 && b.full > now {
			out = float64(b.full-now) / float64(old.interval)
		}
		b.full = now + time.Duration(min(out*float64(p.interval), float64(p.depth)))
	}
}
