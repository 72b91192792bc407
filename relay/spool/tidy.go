package spool

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/postrider/postrider/relay/envelope"
)

// Tidy gives the room of large messages that are gone back to the disk: it removes segments in which nothing is live,
// and copies what is left of one that is mostly dead into another. It is called about every second, by one goroutine,
// and returns after one segment that was copied. What it is in the middle of when ctx ends, or the process does, is
// done again; no message is ever without its octets.
func (s *Store) Tidy(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.Hold(); err != nil {
		return err
	}
	s.segments.retire()
	if err := s.removeDead(); err != nil {
		return err
	}
	now := s.now()
	sparse := s.segments.pick(func(g *segment) bool { return g.live > 0 && g.sparse() && now.Sub(g.since) >= calm })
	if len(sparse) == 0 {
		return nil
	}
	if err := s.rewrite(ctx, sparse[0]); err != nil {
		return err
	}
	return s.removeDead()
}

// removeDead removes the sealed segments in which nothing is live. The batch that made them so is on stable storage:
// only one that is synced ends a message.
func (s *Store) removeDead() error {
	for _, number := range s.segments.pick(func(g *segment) bool { return g.live <= 0 }) {
		kept, err := s.keepUnless(number, "is counted as empty")
		if err == nil && !kept {
			err = s.removeSegment(number)
		}
		if err != nil {
			return fmt.Errorf("spool: remove %s: %w", segmentName(number), err)
		}
	}
	return nil
}

// keepUnless leaves a segment as it is for ever if there are bodies in it, against what is claimed of it.
func (s *Store) keepUnless(number int64, claim string) (kept bool, err error) {
	err = bodies(s.db, number, func(envelope.ID, int64) error { kept = true; return nil })
	if kept && s.segments.stick(number) {
		s.logger.event(RecordDamaged, fmt.Sprintf("%s %s, and is not empty: it is kept", segmentName(number), claim))
	}
	return kept, err
}

func (s *Store) removeSegment(number int64) error {
	err := s.segments.fs.Remove(s.segments.path(number))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.segments.forget(number)
	return s.batch(later, func(t *tx) error { t.delete(liveKey(number)); return nil })
}

// rewrite copies what is live in a segment into others.
func (s *Store) rewrite(ctx context.Context, number int64) error {
	found := map[envelope.ID]int64{}
	err := bodies(s.db, number, func(id envelope.ID, offset int64) error { found[id] = offset; return nil })
	if err != nil {
		return fmt.Errorf("spool: rewrite %s: %w", segmentName(number), err)
	}
	for id, offset := range found {
		select {
		case <-ctx.Done():
			return nil // the next call goes on
		default:
		}
		err := s.move(id, number, offset)
		if errors.Is(err, ErrDamaged) {
			s.logger.event(RecordDamaged, fmt.Sprintf("%s is not rewritten: %v", segmentName(number), err))
			s.segments.stick(number)
			err = nil
		}
		if err != nil {
			return fmt.Errorf("spool: rewrite %s: %w", segmentName(number), err)
		}
	}
	// A body that no message names would be looked at for ever, and nothing else would be tidied.
	_, err = s.keepUnless(number, "was rewritten")
	return err
}

// move copies one body to another segment and, once the copy is on stable storage, lets the message name that one. A
// message that ended or moved meanwhile is left alone.
func (s *Store) move(id envelope.ID, number, offset int64) error {
	m, err := readMeta(s.db, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	from := m.body
	if from.segment != number || from.offset != offset {
		return nil
	}
	source, err := s.segments.openBody(from)
	if errors.Is(err, os.ErrNotExist) {
		err = errors.Join(ErrDamaged, err)
	}
	if err != nil {
		return err
	}
	to, err := s.segments.copyBody(source, id, from)
	if err := errors.Join(err, source.Close()); err != nil {
		return err
	}
	defer s.locks.lock(id)()
	if m, err = readMeta(s.db, id); err != nil || m.body != from {
		to.drop()
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return err
	}
	m.body = to.bodyPlace
	err = s.batch(synced, func(t *tx) error {
		t.set(metaKey(id), encodeMeta(id, m))
		t.vacate(from)
		t.occupy(id, m.body)
		return nil
	})
	if err == nil {
		to.keep()
	}
	return err
}
