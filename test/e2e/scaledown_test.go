//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// backlogged is how many messages wait when a relay is scaled down.
const backlogged = 10_000

// Three pods with a long queue become one while mail comes in: the pods go one at a time, the highest first, with their
// claims, and each message that was answered 250 arrives, exactly once.
func TestScaleDown(t *testing.T) {
	l := newScaleDown(t, "scale-down")
	l.scale(t, 1)
	l.watch(t, nil)
	if duplicates := l.settle(t); duplicates != 0 {
		t.Errorf("%d duplicates: a hand-off makes none", duplicates)
	}
}

// The same, while the operator is killed in each phase, and the pod that takes the mail is killed with SIGKILL during
// each hand-off. Nothing is lost; what may be twice is what was being delivered when the pod was killed.
func TestScaleDownUnderFire(t *testing.T) {
	l := newScaleDown(t, "scale-down-fire")
	l.scale(t, 1)
	kills := int32(0)
	l.watch(t, func(pod, phase string) {
		must(t)(kubectl("-n", operatorNamespace, "delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false"))
		if phase == "HandingOff" {
			l.sigkill(t, 0)
			kills++
			eventually(t, 60*time.Second, "the peer is back", func() error { return l.serving(0, kills) })
		}
	})
	t.Logf("%d duplicates over %d kills", l.settle(t), kills)
}

// Raised again in the midst of it, the pods that have not gone yet take mail at once, and all of it arrives.
func TestScaleDownTakenBack(t *testing.T) {
	l := newScaleDown(t, "scale-down-back")
	l.scale(t, 1)
	eventually(t, 60*time.Second, "a pod hands its mail over", func() error { return l.phaseIs("HandingOff") })
	l.scale(t, 3)
	eventually(t, 180*time.Second, "all serve again", l.relayReady)
	if duplicates := l.settle(t); duplicates != 0 {
		t.Errorf("%d duplicates: a hand-off makes none", duplicates)
	}
}

// scaleDown is a relay of three pods with a queue, and a load that goes on until it is settled.
type scaleDown struct {
	*load
	stop  context.CancelFunc
	ended chan struct{}
}

// newScaleDown brings up three pods which nearly nothing leaves, for a policy binds, and waits until mail has piled up.
func newScaleDown(t *testing.T, name string) *scaleDown {
	t.Helper()
	s := newSetup(t, name, options{replicas: 3, trusted: []string{"10.213.0.0/24", "10.214.0.0/24"}})
	apply(t, s.namespace, policy(1))
	eventually(t, 20*time.Second, "the policy binds", func() error { return s.programmed(1) })
	ctx, stop := context.WithCancel(t.Context())
	l := &scaleDown{load: &load{setup: s}, stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		l.run(ctx, 12)
	}()
	t.Cleanup(func() { stop(); <-l.ended })
	eventually(t, 180*time.Second, "mail piles up", func() error {
		if n := l.count(); n < backlogged {
			return fmt.Errorf("%d messages", n)
		}
		return nil
	})
	return l
}

func (l *scaleDown) scale(t *testing.T, replicas int) {
	t.Helper()
	must(t)(kubectl("scale", "mailrelay", relayName, "-n", l.namespace, fmt.Sprintf("--replicas=%d", replicas)))
}

// phaseIs checks that a pod is being emptied and how far that is.
func (l *scaleDown) phaseIs(phase string) error {
	mr, err := l.relay()
	if err != nil {
		return err
	}
	if d := mr.Status.Draining; d == nil || string(d.Step) != phase {
		return fmt.Errorf("draining is %+v", d)
	}
	return nil
}

// watch follows status until one pod and one claim are left, and calls meet at each new phase, if it is given.
func (l *scaleDown) watch(t *testing.T, meet func(pod, phase string)) {
	t.Helper()
	var phases []string
	eventually(t, 10*time.Minute, "one pod is left", func() error {
		mr, err := l.relay()
		if err != nil {
			return err
		}
		if d := mr.Status.Draining; d != nil {
			if now := d.Pod + " " + string(d.Step); !slices.Contains(phases, now) {
				phases = append(phases, now)
				left := "an unknown number"
				if d.Queued != nil {
					left = fmt.Sprint(*d.Queued)
				}
				t.Logf("%s since %s, %s left: %s", now, d.Since.UTC().Format(time.TimeOnly), left, d.Problem)
				if meet != nil {
					meet(d.Pod, string(d.Step))
				}
			}
		}
		pods, err := l.names("pods")
		if err == nil && !slices.Equal(pods, []string{l.pod(0)}) {
			err = fmt.Errorf("pods %v, draining %+v", pods, mr.Status.Draining)
		}
		return err
	})
	eventually(t, 60*time.Second, "and one claim", func() error {
		claims, err := l.names("persistentvolumeclaims")
		if err == nil && !slices.Equal(claims, []string{"spool-" + l.pod(0)}) {
			err = fmt.Errorf("claims %v", claims)
		}
		return err
	})
	first := slices.IndexFunc(phases, func(p string) bool { return strings.HasPrefix(p, l.pod(1)) })
	last := slices.IndexFunc(phases, func(p string) bool { return strings.HasPrefix(p, l.pod(2)) })
	if first >= 0 && last > first || last < 0 {
		t.Errorf("the pods were emptied in this order: %q", phases)
	}
	if st, err := l.podStatus(0); err != nil || st.Ledger.HandedIn == 0 || !st.Ledger.Balanced() {
		t.Errorf("the books of the pod that is left: %+v, %v", st.Ledger, err)
	}
}

// names are those of the objects of a kind that belong to the relay.
func (s setup) names(kind string) ([]string, error) {
	out, err := kubectl("get", kind, "-n", s.namespace, "-l", "postrider.dev/relay="+relayName, "-o", "jsonpath={.items[*].metadata.name}")
	return strings.Fields(out), err
}

// settle ends the load, lets all mail go, and holds what arrived against what was answered 250, message by message. It
// returns how many arrived more than once.
func (l *scaleDown) settle(t *testing.T) (duplicates int) {
	t.Helper()
	l.stop()
	<-l.ended
	must(t)(kubectl("delete", "rlp", "per-site", "-n", l.namespace))
	eventually(t, 10*time.Minute, "the queue is empty", func() error { return errors.Join(l.queued(0), l.balanced()) })
	duplicates = l.lossless(t, 5*time.Minute)
	t.Logf("accepted %d, lost 0, duplicates %d, %d sessions broken", l.count(), duplicates, len(l.errors))
	return duplicates
}

// balanced checks the books of the pods that are there: what came in was delivered, or went to another of them.
func (l *scaleDown) balanced() error {
	pods, err := l.names("pods")
	for ordinal := range pods {
		st, failed := l.podStatus(ordinal)
		if failed == nil && (!st.Ledger.Balanced() || st.Ledger.Accepted+st.Ledger.HandedIn != st.Ledger.Delivered+st.Ledger.HandedOut) {
			failed = fmt.Errorf("ledger of %s: %+v", l.pod(ordinal), st.Ledger)
		}
		err = errors.Join(err, failed)
	}
	return err
}
