package handoff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
)

const (
	// again is the wait before what is left is tried again.
	again = time.Second
	// atOnce is how many messages are on their way at the same time: they share their syncs.
	atOnce = 16
	// page is how many messages are listed at once.
	page = 500
	// typical is what a message is taken to need of a peer's room before its size is known.
	typical = 64 << 10
)

// SenderOptions are what a Sender works with.
type SenderOptions struct {
	Store *spool.Store
	// Pod is the name of this one.
	Pod string
	// Client speaks to a peer, and to no other host.
	Client func(config.Peer) *http.Client
	// InFlight says whether an attempt for one of the entries is running. None begins while Leaving says so.
	InFlight func([]envelope.Key) bool
	// Gave is told of entries that a peer has, Kept of a message that stays after all.
	Gave func(to string, entries []envelope.Envelope)
	Kept func(envelope.ID)
	// Strays are messages that only a carrier may deliver; see Follow. Nil for none.
	Strays func() []envelope.ID
	// Lists passes what the pod knows besides its mail, a part at a time; suppressions only if they are asked for.
	Lists func(suppressions bool, pass func(Lists) error) error
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	Log *slog.Logger
}

// Phase is where the hand-off of a pod is.
type Phase string

const (
	// HandingOff: messages go to peers.
	HandingOff Phase = "HandingOff"
	// Waiting: no peer takes anything at the moment.
	Waiting Phase = "Waiting"
	// Done: the pod holds no mail, and what else it knows has reached its peers.
	Done Phase = "Done"
)

// Progress is how far a hand-off is.
type Progress struct {
	Phase Phase
	Since time.Time
	// Problem is what is in the way; empty when nothing is.
	Problem string
}

// Sender hands the mail of this pod to its peers while it is told to.
type Sender struct {
	o       SenderOptions
	changed chan struct{}
	// leaving is the number of messages in away, so that nothing is locked while there are none.
	leaving atomic.Int32

	mu   sync.Mutex
	plan *config.Handoff // nil when nothing is to be handed over
	// carriers take strays; there are none when this pod has none.
	carriers []config.Peer
	// away are the messages that are bound, or are about to be, and since when.
	away     map[envelope.ID]time.Time
	progress Progress
	// open are the tries whose outcome is not known, gone those that a peer need not remember any more.
	open map[string]note
	gone map[config.Peer][]string

	// The rest is Run's.

	peers map[config.Peer]*peer
	// told says that the peers know all since the queue was empty.
	told bool
}

// NewSender makes one, and finds out which messages are bound from before: they are Leaving from now on.
func NewSender(o SenderOptions) (*Sender, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Sender{
		o: o, changed: make(chan struct{}, 1), away: map[envelope.ID]time.Time{}, peers: map[config.Peer]*peer{},
		open: map[string]note{}, gone: map[config.Peer][]string{},
	}
	for after := ""; ; {
		rows, err := o.Store.Rows(outTable, after, page)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			n, err := parseNote(row)
			if err != nil {
				return nil, err
			}
			s.remember(row.Key, n)
			after = row.Key
		}
		if len(rows) < page {
			return s, nil
		}
	}
}

// remember takes up a note from before.
func (s *Sender) remember(key string, n note) {
	if n.Done {
		s.gone[n.Peer] = append(s.gone[n.Peer], key)
		return
	}
	s.open[key] = n
	s.away[n.ID] = n.At
	s.leaving.Add(1)
}

// Leaving says that a message is on its way to a peer, or may be: it must not be changed or attempted.
func (s *Sender) Leaving(id envelope.ID) bool {
	if s.leaving.Load() == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, away := s.away[id]
	return away
}

// Silent says that a message is Leaving, and its peer has not said for ten minutes what became of it. It must not be
// attempted, for the peer may have it; an admin may remove it, for the peer may be gone for good.
func (s *Sender) Silent(id envelope.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	since, away := s.away[id]
	return away && s.o.Now().Sub(since) > silentAfter
}

// Follow says what is to be done from now on: hand over all mail when the plan is for this pod, otherwise just the
// strays, if the pod is none of the carriers. What is on its way is seen to its end.
func (s *Sender) Follow(plan *config.Handoff, carriers []config.Peer) {
	s.mu.Lock()
	if plan != nil && plan.From != s.o.Pod {
		plan = nil
	}
	s.plan, s.carriers = plan, carriers
	if plan == nil {
		s.progress = Progress{}
	} else if s.progress.Phase == "" {
		s.progress = Progress{Phase: HandingOff, Since: s.o.Now()}
	} else if s.progress.Phase == Done {
		s.progress.Phase = HandingOff // until it was seen under this plan
	}
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Progress is how far the hand-off is; zero when there is none.
func (s *Sender) Progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress
}

func (s *Sender) following() *config.Handoff {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plan
}

func (s *Sender) say(plan *config.Handoff, phase Phase, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plan == plan {
		s.progress.Phase, s.progress.Problem = phase, problem
	}
}

// Run hands over what it is told to until ctx is done. What is open then is found again by the next Sender.
func (s *Sender) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		case <-timer.C:
		}
		if s.Step(ctx) {
			timer.Reset(again)
		}
	}
}

// Step goes once through what there is to do, and says whether there will be more.
func (s *Sender) Step(ctx context.Context) bool {
	plan, carriers := s.following(), s.carry()
	unsettled := s.settle(ctx)
	s.release(ctx)
	if plan != nil {
		s.round(ctx, plan, unsettled)
	} else if len(carriers) > 0 {
		s.giveStrays(ctx, carriers)
	}
	open, _ := s.unsettled()
	return plan != nil || len(carriers) > 0 || len(open) > 0
}

// carry are those who take strays.
func (s *Sender) carry() []config.Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.carriers
}

// giveStrays hands over what only carriers may deliver. What they do not take now is told of again.
func (s *Sender) giveStrays(ctx context.Context, carriers []config.Peer) {
	ids := s.o.Strays()
	if len(ids) == 0 {
		return
	}
	peers, err := s.willing(ctx, &config.Handoff{Peers: carriers})
	if err == nil || len(peers) > 0 {
		err = s.handPage(ctx, nil, peers, ids)
	}
	if err != nil {
		s.o.Log.Warn("mail that a rate policy lets only other pods deliver waits", "messages", len(ids), "error", err)
	}
}

// unsettled are copies of what is open and gone.
func (s *Sender) unsettled() (map[string]note, map[config.Peer][]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.open), maps.Clone(s.gone)
}

// settle finds out what became of open tries. The error is about one of those of which it is not known yet.
func (s *Sender) settle(ctx context.Context) (failed error) {
	open, _ := s.unsettled()
	for key, n := range open {
		var err error
		switch {
		case s.removed(n.ID):
			err = s.o.Store.Drop(outTable, key)
			s.unmark(n.ID, key)
		case s.o.Now().Sub(n.At) > askedFor:
			s.abandon(key, n)
		default:
			err = s.conclude(ctx, s.peer(n.Peer), key, n, answer{})
		}
		if errors.Is(err, errElsewhere) && n.Peer.Host != "" {
			n.Peer.Address = "" // its name leads to where it is now
			s.mu.Lock()
			s.open[key] = n
			s.mu.Unlock()
		}
		if err != nil {
			s.o.Log.Warn("a hand-off is not settled", "error", err)
			failed = err
		}
	}
	return failed
}

// removed says that an admin has removed a message here: what became of the try does not matter any more.
func (s *Sender) removed(id envelope.ID) bool {
	m, err := s.o.Store.Message(id)
	if err == nil {
		_ = m.Close()
	}
	return errors.Is(err, spool.ErrNotFound)
}

// abandon asks no more about a try, until the process starts again. Its message is Leaving for good: nobody can say that
// no peer has it.
func (s *Sender) abandon(key string, n note) {
	s.o.Log.Error("a message stays, for its peer may have it and remembers no longer", "spool_id", n.ID, "peer", n.Peer.Pod)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, key)
}

// release has peers forget what is settled. One that is away forgets by itself in a month.
func (s *Sender) release(ctx context.Context) {
	_, gone := s.unsettled()
	for at, keys := range gone {
		keys = keys[:min(len(keys), page)]
		if s.peer(at).forget(ctx, keys) != nil {
			continue
		}
		if err := s.o.Store.DropAll(outTable, keys); err != nil {
			s.o.Log.Error("notes of a hand-off stay", "error", err)
			continue
		}
		s.mu.Lock()
		if s.gone[at] = s.gone[at][len(keys):]; len(s.gone[at]) == 0 {
			delete(s.gone, at)
		}
		s.mu.Unlock()
	}
}

// peer is the one at an address; the plan in force may know a newer one.
func (s *Sender) peer(at config.Peer) *peer {
	if plan := s.following(); plan != nil {
		for _, p := range plan.Peers {
			if p.Pod == at.Pod {
				at = p
			}
		}
	}
	if s.peers[at] == nil {
		s.peers[at] = &peer{Peer: at, client: s.o.Client(at), from: s.o.Pod, told: map[string]bool{}}
	}
	return s.peers[at]
}

// round hands over what there is, once. unsettled is what is in the way of that which is under way since before.
func (s *Sender) round(ctx context.Context, plan *config.Handoff, unsettled error) {
	if s.empty() && s.told {
		s.say(plan, Done, "")
		return
	}
	peers, err := s.willing(ctx, plan)
	if len(peers) == 0 {
		s.say(plan, Waiting, fmt.Sprintf("no peer takes mail: %v", err))
		return
	}
	s.say(plan, HandingOff, "")
	err = s.handAll(ctx, plan, peers)
	if err == nil && s.empty() {
		if err = s.tellAll(ctx, peers); err == nil {
			s.told = true
			s.say(plan, Done, "")
			return
		}
	}
	if err = cmp.Or(err, unsettled); err != nil {
		s.say(plan, HandingOff, err.Error())
	}
}

// empty says that there is no mail, and nothing open.
func (s *Sender) empty() bool {
	totals := s.o.Store.Totals()
	ids, err := s.o.Store.Messages("", 1)
	open, _ := s.unsettled()
	nothing := err == nil && len(ids) == 0 && totals.Queued == 0 && totals.Damaged == 0 && len(open) == 0
	s.told = s.told && nothing
	return nothing
}

// willing are the peers that take mail and know what this pod knows.
func (s *Sender) willing(ctx context.Context, plan *config.Handoff) ([]*peer, error) {
	var ready []*peer
	failed := errors.New("there is none")
	for i, at := range plan.Peers {
		if i == 0 {
			failed = nil
		}
		p := s.peer(at)
		o, err := p.offer(ctx)
		if err == nil && o.Refusal != "" {
			err = fmt.Errorf("%s: %s", at.Pod, o.Refusal)
		}
		if err == nil {
			err = s.tell(ctx, p)
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		p.room, p.full = int64(min(o.Free, 1<<62)), false
		ready = append(ready, p)
	}
	return ready, failed
}

// tell passes on the directives that a peer has not been told of, and the suppressions if it knows none. Another relay is
// told no directives: they would be about its own mail too.
func (s *Sender) tell(ctx context.Context, p *peer) error {
	err := s.o.Lists(!p.listed, func(l Lists) error {
		fresh := Lists{Suppressions: l.Suppressions}
		for _, d := range l.Directives {
			if !p.told[d.ID] && p.ServerName == "" {
				fresh.Directives = append(fresh.Directives, d)
			}
		}
		if len(fresh.Directives) == 0 && len(fresh.Suppressions) == 0 {
			return nil
		}
		if err := p.tell(ctx, fresh); err != nil {
			return err
		}
		for _, d := range fresh.Directives {
			p.told[d.ID] = true
		}
		return nil
	})
	p.listed = p.listed || err == nil
	return err
}

// tellAll passes on what was learnt while mail was going.
func (s *Sender) tellAll(ctx context.Context, peers []*peer) error {
	for _, p := range peers {
		p.listed = false
		if err := s.tell(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// handAll goes through all messages. Those that are in flight, or that no peer takes, are left for the next round.
func (s *Sender) handAll(ctx context.Context, plan *config.Handoff, peers []*peer) error {
	var after envelope.ID
	var failed error
	for ctx.Err() == nil && s.following() == plan {
		ids, err := s.o.Store.Messages(after, page)
		if err != nil || len(ids) == 0 {
			return errors.Join(err, failed)
		}
		after = ids[len(ids)-1]
		if err := s.handPage(ctx, plan, peers, ids); err != nil {
			failed = err // one of them is enough to be said
		}
		s.release(ctx)
	}
	return failed
}

// handPage hands over some messages, several at a time.
func (s *Sender) handPage(ctx context.Context, plan *config.Handoff, peers []*peer, ids []envelope.ID) error {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, id := range ids {
		if ctx.Err() != nil || s.following() != plan {
			break
		}
		group.Go(func() error { return s.hand(ctx, peers, id) })
	}
	return group.Wait()
}
