package schedule

import (
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/rate"
)

// maxExpelled is how many entries wait to be called for.
const maxExpelled = 1000

// expelled are entries that no policy of this pod will ever let go, while others are there who may deliver them. They are
// out of memory but for their ids: what nobody takes is found on disk again.
type expelled struct {
	wanted bool
	ids    []envelope.ID
	// full says that there were enough when they were last called for.
	full bool
	// gates are those of the lanes that wait because there were enough.
	gates map[rate.Bucket]struct{}
}

// wants says that lanes that wait like this shall not wait.
func (t *expelled) wants(w *rate.Wait) bool { return w.Never && t.wanted && len(t.ids) < maxExpelled }

// hold keeps a lane back that was refused.
func (s *Scheduler) hold(l *lane, w *rate.Wait) {
	if s.expelled.wants(w) {
		s.expel(l)
		return
	}
	if w.Never {
		s.expelled.gates[w.Bucket] = struct{}{}
	}
	s.gate(l, w)
}

// expel drops a lane, and notes whose entries are in it.
func (s *Scheduler) expel(l *lane) {
	q := l.queue
	for l.entries.len() > 0 {
		e := l.entries.pop()
		delete(s.entries, e.key)
		s.waiting[q.class]--
		q.ready--
		s.expelled.ids = append(s.expelled.ids, e.key.ID)
	}
	delete(q.lanes, l.domain)
	s.refillIfLow(q)
	s.dropQueue(q)
}

// WantExpelled says whether Expelled is called from now on. Reconsider should follow.
func (s *Scheduler) WantExpelled(wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expelled.wanted = wanted
	if !wanted {
		s.expelled.ids = nil
	}
}

// Expelled are messages with entries that the policies will never let go from this pod: the rest of them may be delivered.
// One that is still in the spool is told of again, within a minute or so.
func (s *Scheduler) Expelled() []envelope.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := s.expelled.ids
	s.expelled.ids = nil
	for b := range s.expelled.gates {
		if s.gates.byBucket[b] == nil {
			delete(s.expelled.gates, b)
		}
		s.released(b)
	}
	full := len(ids) >= maxExpelled
	if !full && (len(ids) > 0 || s.expelled.full) {
		s.whole = true // some may have been passed over while their site was asked for, or while there were enough
		s.scanBy(time.Now().Add(settle))
	}
	s.expelled.full = full
	s.dispatch()
	return ids
}
