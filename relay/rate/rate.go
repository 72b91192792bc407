// Package rate counts messages and connections against the limits of rate policies: token buckets (the generic
// cell rate algorithm, GCRA) and connection leases, both held in this process. It says whether a message may go
// and, if not, when to ask again. It never waits, keeps no timer, starts nothing, and does not know what a
// message is.
package rate

import (
	"iter"
	"sync"
	"time"

	"github.com/postrider/postrider/relay/config"
)

// Subject is what a message is counted as.
type Subject struct {
	// Site is the next hop: the domains that share their MX hosts. Key Site.
	Site string
	// MXHosts are the MX hosts of the destination; none when its mail does not go by MX, or they are not known.
	MXHosts []string
	// DestinationDomain is the recipients' domain; policies may be limited to some.
	DestinationDomain string
	// SenderDomain is the SendingDomain, else the domain of the reverse path; policies may be limited to some.
	// Key SenderDomain. Mail that has none (from <>) is counted together, under the empty key.
	SenderDomain string
	// Sender is the AUTH user, else the reverse path. Key Sender.
	Sender string
}

// Bucket names what is counted: one key of one policy.
type Bucket struct{ Policy, Key string }

// Wait is why a message may not go now, and for how long.
type Wait struct {
	// Bucket is the one that is empty. Of several, one that waits for a release comes first, then the one that
	// waits longest.
	Bucket
	// Until is when to ask again; zero when that is after the next release of a lease that counts in Bucket.
	Until time.Time
	// Never says that no release helps: under this configuration nothing goes.
	Never bool
}

// Limiter holds the policies and what was counted. It is safe for concurrent use.
type Limiter struct {
	now   func() time.Time
	start time.Time

	mu       sync.Mutex
	accept   stage
	delivery stage
	claims   []claim // of the message that is being counted
}

// New makes a limiter without policies: everything may go. It asks now for the time.
func New(now func() time.Time) *Limiter { return &Limiter{now: now, start: now()} }

// Configure puts policies in force in place of those before. What was counted stays for a policy whose name,
// stage and key are still there, also when its limits or filters changed: messages already used are held
// against the new limit, and so are leases that are out. What was counted for all others is dropped.
func (l *Limiter) Configure(policies []config.RatePolicy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	clock := l.clock()
	before := l.accept.byIdentity(l.delivery.byIdentity(nil))
	l.accept, l.delivery = stage{}, stage{}
	for _, c := range policies {
		p := newPolicy(c, clock)
		if old := before[p.identity]; old != nil {
			delete(before, p.identity)
			p.inherit(old, clock)
		}
		l.stage(c.Stage).add(p, c.DestinationDomains)
	}
}

func (l *Limiter) stage(s config.Stage) *stage {
	if s == config.StageAccept {
		return &l.accept
	}
	return &l.delivery
}

// Accept takes a message for s out of every bucket of stage Accept that applies. When one has none left, nothing
// is taken from any, and its policy's name is returned with false. Connections are not counted in this stage.
func (l *Limiter) Accept(s Subject) (policy string, ok bool) {
	lease, wait := l.acquire(&l.accept, s)
	if wait != nil {
		return wait.Policy, false
	}
	lease.Release()
	return "", true
}

// Acquire takes a message and a connection for s out of every bucket of stage Delivery that applies; the
// connections come back with Lease.Release, the messages with time. When one bucket has none left, nothing is
// taken from any and the Wait says why. Exactly one result is non-nil.
func (l *Limiter) Acquire(s Subject) (*Lease, *Wait) { return l.acquire(&l.delivery, s) }

func (l *Limiter) acquire(st *stage, s Subject) (*Lease, *Wait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	clock := l.clock()
	l.claims = l.claims[:0]
	var strictest *refusal
	for p := range st.applying(s) {
		c := p.claim(s)
		if r := c.refused(clock); r != nil && r.stricter(strictest) {
			strictest = r
		}
		l.claims = append(l.claims, c)
	}
	if strictest != nil {
		return nil, l.wait(strictest)
	}
	lease := &Lease{limiter: l, counted: make([]*bucket, len(l.claims))}
	for i, c := range l.claims {
		lease.counted[i] = c.take(clock)
	}
	return lease, nil
}

func (l *Limiter) wait(r *refusal) *Wait {
	w := &Wait{Bucket: r.name, Never: r.never}
	if r.until != 0 {
		w.Until = l.start.Add(r.until)
	}
	return w
}

// Connections is the largest number of connections that policies of stage Delivery and key Site grant s at its
// site, and whether there is such a policy.
func (l *Limiter) Connections(s Subject) (limit int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.delivery.applying(s) {
		if p.key == config.KeySite && p.maxConnections > 0 {
			limit, ok = max(limit, p.maxConnections), true
		}
	}
	return limit, ok
}

// Exceeded says that more connections are open than policies of stage Delivery allow. They were opened under policies
// before, and as they end no more are.
func (l *Limiter) Exceeded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.delivery.byIdentity(nil) {
		if p.exceeded() {
			return true
		}
	}
	return false
}

// Sizes are how many recipients a transaction of s may have, and how many transactions a connection, by the strictest
// policies of stage Delivery that apply; 0 where none says.
func (l *Limiter) Sizes(s Subject) (recipients, messages int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.delivery.applying(s) {
		recipients = stricter(recipients, p.recipients)
		messages = stricter(messages, p.messages)
	}
	return recipients, messages
}

// stricter is the lower of two limits, of which 0 is none.
func stricter(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// clock is the time since the limiter was made. It is monotonic, so that a step of the wall clock neither
// refills nor empties a bucket.
func (l *Limiter) clock() time.Duration { return l.now().Sub(l.start) }

// Lease is what one message in delivery counts for.
type Lease struct {
	limiter *Limiter
	// counted are the buckets that it holds a connection of; nil once released.
	counted []*bucket
}

// Release gives the connections back. Further calls do nothing.
func (le *Lease) Release() {
	le.limiter.mu.Lock()
	defer le.limiter.mu.Unlock()
	for _, b := range le.counted {
		b.open--
	}
	le.counted = nil
}

// Buckets are those in which the lease counts: who waits for a release in one of them may ask again once it is
// released. There are none after Release.
func (le *Lease) Buckets() iter.Seq[Bucket] {
	return func(yield func(Bucket) bool) {
		for _, b := range le.counted {
			if !yield(b.name) {
				return
			}
		}
	}
}
