package mailrelay

import (
	"time"

	"github.com/postrider/postrider/relay/status"
)

const (
	// emptyLooks is how often a pod must have been found empty.
	emptyLooks = 2
	// lookApart is the least time between two looks that count.
	lookApart = time.Second
)

// drain counts how often in a row a pod was found empty while it took no new mail.
type drain struct {
	empty int
	last  time.Time
}

// look takes an answer of a cordoned pod into account; nil when there was none. Only an answer under the
// configuration that we know to cordon the pod counts: under any other it may take mail.
func (d drain) look(s *status.Status, generation int64, tells bool, now time.Time) drain {
	switch {
	case s == nil || s.Generation != generation || !emptied(s, tells):
		return drain{}
	case d.empty > 0 && now.Sub(d.last) < lookApart:
		return d
	}
	return drain{empty: d.empty + 1, last: now}
}

// emptied says that a pod has no mail, none on its way in, and has told its peers what else it knows if it is to.
func emptied(s *status.Status, tells bool) bool {
	return s.Queue.Queued == 0 && s.Queue.Damaged == 0 && s.Receiving == 0 &&
		(!tells || s.Handoff != nil && s.Handoff.Phase == status.HandoffDone)
}

// done says that the pod holds no mail and will get none.
func (d drain) done() bool { return d.empty >= emptyLooks }
