package handoff

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
)

// hand hands over one message, if it is not in flight and a peer takes any.
func (s *Sender) hand(ctx context.Context, peers []*peer, id envelope.ID) error {
	p := s.pick(peers)
	if p == nil || !s.mark(id) {
		return nil
	}
	key, n := rand.Text(), note{ID: id, Peer: p.Peer, At: s.o.Now().UTC()}
	row, err := n.row(key)
	if err != nil {
		return err
	}
	entries, err := s.o.Store.Bind(id, outTable, row, s.allow)
	if err != nil {
		s.unmark(id, key)
		if errors.Is(err, spool.ErrNotFound) || errors.Is(err, errInFlight) {
			return nil // it has gone, or goes later
		}
		return fmt.Errorf("hand over message %s: %w", id, err)
	}
	s.mu.Lock()
	s.open[key] = n
	s.mu.Unlock()
	return s.conclude(ctx, p, key, n, s.send(ctx, p, key, entries))
}

// pick takes a place at the peer with the most room.
func (s *Sender) pick(peers []*peer) *peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := pick(peers)
	if p != nil {
		p.room -= typical
	}
	return p
}

// mark says that a message is leaving; false when it was said before.
func (s *Sender) mark(id envelope.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, away := s.away[id]; away {
		return false
	}
	s.away[id] = s.o.Now()
	s.leaving.Add(1)
	return true
}

// unmark says that a message has left, or stays.
func (s *Sender) unmark(id envelope.ID, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.away, id)
	delete(s.open, key)
	s.leaving.Add(-1)
}

func (s *Sender) allow(entries []envelope.Envelope) error {
	keys := make([]envelope.Key, len(entries))
	for i := range entries {
		keys[i] = entries[i].Key()
	}
	if s.o.InFlight(keys) {
		return errInFlight
	}
	return nil
}

// send gives a bound message to a peer. Without an answer the verdict is unknown.
func (s *Sender) send(ctx context.Context, p *peer, key string, entries []envelope.Envelope) answer {
	content, err := s.o.Store.Message(entries[0].ID)
	if err != nil {
		return answer{Verdict: refused, Why: err.Error()} // nothing was sent
	}
	defer content.Close()
	a, err := p.give(ctx, newLetter(key, s.o.Pod, entries), content)
	if err != nil {
		s.o.Log.Warn("a message was given to a peer, and it has not answered", "spool_id", entries[0].ID, "peer", p.Pod, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.full = p.full || a.Full || err != nil // the others need not wait for it
	p.room -= entries[0].Size
	return a
}

// conclude does what the verdict on a try asks for. Where there is none the peer is asked; when it cannot be, the try
// stays open.
func (s *Sender) conclude(ctx context.Context, p *peer, key string, n note, a answer) error {
	if a.Verdict == unknown {
		var err error
		if a, err = p.settle(ctx, key, n.ID); err != nil {
			return fmt.Errorf("what became of message %s is not known yet: %w", n.ID, err)
		}
	}
	switch a.Verdict {
	case taken:
		return s.went(key, n)
	case refused:
		return s.stays(key, n, a.Why)
	default:
		return fmt.Errorf("%s answered %q", p.Pod, a.Verdict)
	}
}

// went removes a message that a peer has.
func (s *Sender) went(key string, n note) error {
	n.Done = true
	row, err := n.row(key)
	if err != nil {
		return err
	}
	entries, err := s.o.Store.HandOut(n.ID, outTable, row)
	if err != nil {
		return fmt.Errorf("remove message %s, which %s has: %w", n.ID, n.Peer.Pod, err)
	}
	s.unmark(n.ID, key)
	s.mu.Lock()
	s.gone[n.Peer] = append(s.gone[n.Peer], key)
	s.mu.Unlock()
	s.o.Gave(n.Peer.Pod, entries)
	return nil
}

// stays takes a message back that a peer will not have.
func (s *Sender) stays(key string, n note, why string) error {
	if err := s.o.Store.Drop(outTable, key); err != nil {
		return err
	}
	s.unmark(n.ID, key)
	s.o.Kept(n.ID)
	return fmt.Errorf("%s did not take message %s: %s", n.Peer.Pod, n.ID, why)
}
