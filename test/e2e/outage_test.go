//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// A destination that is down fills the queue where everybody can see it; when it is back the queue drains to zero.
func TestOutage(t *testing.T) {
	const messages = 5
	s := newSetup(t, "outage", options{})
	back := postfixAway(t)
	begin := time.Now()
	for i := range messages {
		s.swaks(t, fmt.Sprintf("while it is down %d", i))
	}
	eventually(t, 20*time.Second, "kubectl shows the backlog", func() error {
		return errors.Join(s.queued(messages), s.shows(5))
	})
	oldest := s.oldest(t)
	if early, late := begin.Add(-2*time.Second), begin.Add(5*time.Second); oldest.Before(early) || oldest.After(late) {
		t.Errorf("the oldest message is said to be of %v; it is of %v", oldest, begin)
	}
	s.saysWhy(t)

	back()
	eventually(t, 60*time.Second, "delivered", func() error { return s.delivered(messages) })
	eventually(t, 20*time.Second, "kubectl shows none", func() error { return errors.Join(s.queued(0), s.shows(0)) })
	if mr, err := s.relay(); err != nil || mr.Status.Queue.OldestMessageTime != nil {
		t.Errorf("an empty queue has an oldest message: %v, %v", mr.Status.Queue, err)
	}
}

// postfixAway stops the next hop of all mail until it is told that it is back, or the scenario ends.
func postfixAway(t *testing.T) (back func()) {
	t.Helper()
	if err := world.postfix.Stop(); err != nil {
		t.Fatal(err)
	}
	back = sync.OnceFunc(func() {
		if err := world.postfix.Start(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(back)
	return back
}

// shows checks the column QUEUED, and that OLDEST has an age exactly when something is queued.
func (s setup) shows(want int) error {
	out, err := kubectl("get", "mr", relayName, "-n", s.namespace, "--no-headers")
	if err != nil {
		return err
	}
	fields := strings.Fields(out)
	if len(fields) < 7 || fields[5] != fmt.Sprint(want) {
		return fmt.Errorf("kubectl get mr does not show %d: %s", want, out)
	}
	if aged := len(fields) == 8 && fields[6] != "<unknown>"; aged != (want > 0) {
		return fmt.Errorf("kubectl get mr shows no true age: %s", out)
	}
	return nil
}

func (s setup) oldest(t *testing.T) time.Time {
	t.Helper()
	mr, err := s.relay()
	if err != nil {
		t.Fatal(err)
	}
	if mr.Status.Queue.OldestMessageTime == nil {
		t.Fatal("status has no oldest message")
	}
	return mr.Status.Queue.OldestMessageTime.Time
}

// saysWhy checks that status names the destination, the reason and what was tried.
func (s setup) saysWhy(t *testing.T) {
	t.Helper()
	eventually(t, 20*time.Second, "status says why", func() error {
		mr, err := s.relay()
		if err != nil {
			return err
		}
		for _, slow := range mr.Status.Slowest {
			if slow.Domain == s.to && slow.Reason == "Deferred" && strings.Contains(slow.Reply, "refused") {
				return nil
			}
		}
		return fmt.Errorf("slowest does not say that %s refuses connections: %+v", s.to, mr.Status.Slowest)
	})
}
