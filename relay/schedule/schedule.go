// Package schedule decides what is attempted, when, and in which order. Mail waits in two stages: scheduled, in
// the due index on disk, and ready, in bounded queues in memory by site, sender domain and class. The package takes
// turns over sites and, within a site, over sender domains by their weight, lets what is urgent among the mail of one
// sender domain go first, and keeps to rate policies and connection limits. It owns no mail: what it holds are names of entries, and one that it drops or forgets is found again on disk. It
// delivers nothing and changes nothing in the spool but the due time of what finds no room.
package schedule

import (
	"cmp"
	"container/list"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/rate"
	"github.com/postrider/postrider/relay/spool"
)

// Store is what the schedule needs of the spool.
type Store interface {
	// Due lists entries of a class due at or before until, in order, at most limit of them, from a cursor on.
	Due(c envelope.Class, from spool.Cursor, until time.Time, limit int) ([]spool.Item, spool.Cursor, error)
	// Postpone moves the due time of entries to what to returns, asked once for each.
	Postpone(keys []envelope.Key, to func() time.Time) error
	// PullIn moves what of the entries is due later than mail may be after so many attempts to an earlier time, and
	// returns of how many.
	PullIn(keys []envelope.Key, latest func(attempts int) time.Time, to time.Time) (int, error)
}

// Options are what a scheduler works with.
type Options struct {
	Store   Store
	Limiter *rate.Limiter
	// Site says where mail of a sender domain for a domain goes, and the MX hosts of the domain if that is by MX. It may
	// take its time, is called from several goroutines, and must not outlive its context by much.
	Site func(ctx context.Context, senderDomain, domain string) (site string, hosts []string)
	// Weight is the share of a sender domain where several wait for a site, in proportion to the others: 1 or more; nil
	// for equal shares.
	Weight func(senderDomain string) int
	// Farthest is how far ahead mail that was deferred may be due after so many attempts, the more the farther. What is
	// due later was put there by a clock that ran ahead, and is due now; nil for any time, and 0 while it is not known.
	Farthest func(attempts int) time.Duration
	// Now is the wall clock, by which mail is due; time.Now when nil. Only due times are compared with it.
	Now func() time.Time
	// Log is told when the spool cannot be read; slog.Default() when nil.
	Log *slog.Logger
	// ReadyPerSite bounds each ready queue, one for every class of a sender domain at a site; 1,000 when 0.
	ReadyPerSite int
	// MaxReady bounds all ready queues together, those of urgent mail apart from the others; 50,000 when 0.
	MaxReady int
	// MaxConnectionsPerSite bounds the attempts in flight at a site for which no policy of key Site says
	// otherwise; 20 when 0.
	MaxConnectionsPerSite int
	// MaxInFlight bounds all attempts in flight; 256 when 0. No site holds more of them than it leaves free, and slow
	// sites leave a quarter to those that are quick.
	MaxInFlight int
	// Stall is how long an attempt may run at most; one that runs longer is stalled, and its slot is free. 0 for any time.
	Stall time.Duration
	// Stalled, when set, is told of each attempt that is stalled. It must neither block nor call the Scheduler.
	Stalled func(*Job)
}

// Scheduler hands out jobs. Its methods are safe for concurrent use.
type Scheduler struct {
	o    Options
	kick chan struct{} // tells Run that there is something to do before it would look

	mu sync.Mutex
	// entries are all that are in memory: waiting for their site, ready, or in flight.
	entries map[envelope.Key]*entry
	waiting [envelope.Classes]int // entries that wait for their site or are ready
	// ended are the entries whose attempt ended while Run reads the due index, which may still show them as they
	// were before; nil when it does not read.
	ended map[envelope.Key]struct{}
	// flights are the jobs handed out and not done, stalled how many of them hold no slot any more.
	flights map[*Job]struct{}
	stalled int
	watched time.Time       // when they were looked at
	paces   map[string]pace // of sites
	sites   map[string]*site
	// ceilings are the sites that must not have as many connections as they may otherwise.
	ceilings map[string]int
	routes   routes
	gates    gates
	expelled expelled
	// turns are the sites and open gates that may have something to hand out, by their pace; turn is the pace of the
	// one that did last.
	turns   [paceCount]deque[source]
	turn    pace
	callers list.List // of chan *Job, one for each call of Next that waits

	// What Run is to do.
	armed        time.Time           // when it looks by itself
	scanAt       time.Time           // when the due index is to be read
	scanned      time.Time           // when it was
	scannedWhole time.Time           // when it was from its beginning
	whole        bool                // the next time it is to be
	refills      deque[*queue]       // queues that have room again and more on disk
	behind       map[*queue]struct{} // queues that have more on disk

	// Run's alone.
	cursors [envelope.Classes]spool.Cursor // up to here the due index was read
	// strays: up to here what is due too late was pulled in; nil when there was no more.
	strays [envelope.Classes]*spool.Cursor
	clock  clock
}

// entry is the name of a spool entry in memory.
type entry struct {
	key envelope.Key
	of  of
	// again says that it was changed while it was in flight.
	again bool
	// flying says that a job was handed out.
	flying bool
}

// Job is an entry that may be attempted now. It may be stale: an admin may have removed or held the entry while it
// was ready, or a scan may have found it, and had it delivered, before Wake told of it. Then spool.Begin says so,
// there is nothing to attempt, and Done is called at once.
type Job struct {
	Key          envelope.Key
	Site         string
	SenderDomain string

	lane  *lane
	lease *rate.Lease
	began time.Time
	// stalled says that it holds no slot any more.
	stalled bool
}

// Began is when it was handed out.
func (j *Job) Began() time.Time { return j.began }

// New makes a scheduler. It hands out nothing from disk until Run runs.
func New(o Options) *Scheduler {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Weight == nil {
		o.Weight = func(string) int { return 1 }
	}
	o.Log = cmp.Or(o.Log, slog.Default())
	o.ReadyPerSite = cmp.Or(o.ReadyPerSite, 1000)
	o.MaxReady = cmp.Or(o.MaxReady, 50_000)
	o.MaxConnectionsPerSite = cmp.Or(o.MaxConnectionsPerSite, 20)
	o.MaxInFlight = cmp.Or(o.MaxInFlight, 256)
	return &Scheduler{
		o:        o,
		kick:     make(chan struct{}, 1),
		entries:  map[envelope.Key]*entry{},
		flights:  map[*Job]struct{}{},
		sites:    map[string]*site{},
		ceilings: map[string]int{},
		paces:    map[string]pace{},
		routes:   newRoutes(),
		gates:    newGates(),
		expelled: expelled{gates: map[rate.Bucket]struct{}{}},
		behind:   map[*queue]struct{}{},
		whole:    true,
	}
}

// Next waits until an entry may be attempted: its site has a connection free, and the policies let it go. A slot
// and a lease are held for it until Done; the lease can go earlier, see Delivered. The error is ctx's.
func (s *Scheduler) Next(ctx context.Context) (*Job, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if job := s.pick(); job != nil {
		s.mu.Unlock()
		return job, nil
	}
	handed := make(chan *Job, 1)
	place := s.callers.PushBack(handed)
	s.mu.Unlock()
	select {
	case job := <-handed:
		return job, nil
	case <-ctx.Done():
		return s.leave(place, ctx.Err())
	}
}

// leave ends a wait. A job that was handed over in the meantime is not lost.
func (s *Scheduler) leave(place *list.Element, err error) (*Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case job := <-place.Value.(chan *Job):
		return job, nil
	default:
		s.callers.Remove(place)
		return nil, err
	}
}

// dispatch hands jobs to those who wait. It follows every change that may let one go.
func (s *Scheduler) dispatch() {
	for s.callers.Len() > 0 {
		job := s.pick()
		if job == nil {
			return
		}
		s.callers.Remove(s.callers.Front()).(chan *Job) <- job
	}
}

// Delivered frees a job's lease: its connection may serve the next one while the outcome is being stored. The slot
// stays taken until Done, so that what a crash may repeat stays bounded.
func (s *Scheduler) Delivered(job *Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.flights[job]; ok {
		s.disconnect(job)
		s.dispatch()
	}
}

// disconnect frees a job's lease, once.
func (s *Scheduler) disconnect(job *Job) {
	if job.lease == nil {
		return
	}
	for b := range job.lease.Buckets() {
		s.released(b)
	}
	job.lease.Release()
	job.lease = nil
	site := job.lane.queue.site
	site.flying--
	s.enqueue(site)
	s.dropSite(site)
}

// Done frees a job's slot, and its lease if Delivered did not. Its outcome is stored, or there was nothing to attempt. Further calls with
// the same job do nothing.
func (s *Scheduler) Done(job *Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.flights[job]; !ok {
		return
	}
	delete(s.flights, job)
	if job.stalled {
		s.stalled--
	} else if time.Since(job.began) < quickly {
		s.remember(job.Site, quick)
	}
	if s.entries[job.Key].again {
		s.whole = true
	}
	delete(s.entries, job.Key)
	if s.ended != nil {
		s.ended[job.Key] = struct{}{}
	}
	s.disconnect(job)
	s.scanBy(s.scanned.Add(settle))
	s.dispatch()
}

// InFlight says that one of the entries was handed out and is not done.
func (s *Scheduler) InFlight(keys []envelope.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(keys, func(k envelope.Key) bool { e := s.entries[k]; return e != nil && e.flying })
}

// Wake tells of entries that were accepted or changed. Those due now are handed out as soon as they may; those
// for which there is no room are found on disk. It never waits.
func (s *Scheduler) Wake(entries ...envelope.Envelope) {
	now := s.o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range entries {
		e := &entries[i]
		switch due := e.Due(); {
		case e.Held != "" || due.IsZero():
		case due.After(now):
			s.scanBy(time.Now().Add(due.Sub(now)))
		default:
			s.wake(e)
		}
	}
	s.dispatch()
}

func (s *Scheduler) wake(e *envelope.Envelope) {
	if known := s.entries[e.Key()]; known != nil {
		known.again = known.again || known.flying
		return
	}
	delete(s.ended, e.Key()) // whatever was read of it before, this is how it is now
	s.offer(e.Key(), of{e.SenderDomain(), e.Class()}, spool.Cursor{}, nil)
}

// Limit bounds the attempts in flight at a site, whatever else it may have; 0 lifts the bound. It is for a next hop that
// is to be given its mail slowly.
func (s *Scheduler) Limit(siteName string, connections int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if connections > 0 {
		s.ceilings[siteName] = connections
	} else {
		delete(s.ceilings, siteName)
	}
	if at := s.sites[siteName]; at != nil {
		at.ceiling = connections
		s.enqueue(at)
		s.dispatch()
	}
}

// Reconsider tells that the limiter or the routes were configured anew: nothing that waited for a limit waits on, and
// sites are asked for again. What is ready already goes under the site that it was put at.
func (s *Scheduler) Reconsider() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.routes.expire()
	s.openAll()
	for _, site := range s.sites {
		s.limitSite(site)
		s.enqueue(site)
	}
	s.whole = true
	s.scanBy(time.Now())
	s.dispatch()
}
