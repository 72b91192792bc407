//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// The relay is killed with SIGKILL under load, again and again: every message that was answered 250 arrives.
func TestSIGKILL(t *testing.T) {
	const kills = 5
	s := newSetup(t, "sigkill", options{trusted: []string{"10.213.0.0/24", "10.214.0.0/24"}})
	ctx, stop := context.WithCancel(t.Context())
	l := &load{setup: s}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(ctx, 8)
	}()
	for kill := range int32(kills) {
		before := l.count()
		eventually(t, 60*time.Second, "load flows", func() error {
			if now := l.count(); now < before+200 {
				return fmt.Errorf("%d accepted since the relay is back", now-before)
			}
			return nil
		})
		s.sigkill(t, 0)
		eventually(t, 60*time.Second, "back", func() error { return s.serving(0, kill+1) })
	}
	stop()
	<-ended

	accepted := l.count()
	t.Logf("%d messages answered 250, %d sessions broken", accepted, len(l.errors))
	eventually(t, 120*time.Second, "queue drained", func() error { return errors.Join(s.drained(), s.queued(0)) })
	duplicates := l.lossless(t, 60*time.Second)
	t.Logf("accepted %d, lost 0, duplicates %d, over %d kills", accepted, duplicates, kills)
}

// drained checks the books of the pod: nothing queued, and every recipient accounted for.
func (s setup) drained() error {
	st, err := s.podStatus(0)
	if err != nil {
		return err
	}
	if !st.Ledger.Balanced() || st.Ledger.Queued != 0 || st.Ledger.Accepted != st.Ledger.Delivered {
		return fmt.Errorf("ledger %+v", st.Ledger)
	}
	return nil
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.accepted)
}

// lossless waits until every message that was accepted is delivered, and returns how many were delivered more than once.
func (l *load) lossless(t *testing.T, within time.Duration) (duplicates int) {
	t.Helper()
	eventually(t, within, "Postfix has delivered all", func() error {
		lost, n, err := l.compare()
		if err == nil && len(lost) > 0 {
			err = fmt.Errorf("%d messages are missing, such as %s", len(lost), lost[0])
		}
		duplicates = n
		return err
	})
	return duplicates
}

// compare lists the messages that were accepted and not delivered, and counts those delivered more than once.
func (l *load) compare() (lost []string, duplicates int, err error) {
	messages, err := world.postfix.Messages(l.to)
	if err != nil {
		return nil, 0, err
	}
	delivered := map[string]int{}
	for _, m := range messages {
		id := m.Header.Get("Message-Id")
		delivered[id]++
		if delivered[id] > 1 {
			duplicates++
		}
	}
	for _, id := range l.accepted {
		if delivered[id] == 0 {
			lost = append(lost, id)
		}
	}
	return lost, duplicates, nil
}
