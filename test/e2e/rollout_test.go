//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/postrider/postrider/api/v1alpha1"
)

// Three pods are replaced one by one while mail comes in: the relay says that it is ready throughout, and each message that was
// answered 250 arrives.
func TestRollout(t *testing.T) {
	r := newRolling(t, "rollout", 3)
	before := r.pods(t)
	watched := r.watchReady(t)
	took := r.rolled(t, before, func() {
		must(t)(kubectl("patch", "mailrelay", relayName, "-n", r.namespace, "--type=merge", "-p", `{"spec":{"pod":{"annotations":{"shape":"new"}}}}`))
	})
	watched()
	r.settle(t)
	t.Logf("three pods replaced in %.1f s", took.Seconds())
}

// rolling is a relay of which pods are to be replaced while mail comes in.
type rolling struct {
	*load
	stop  context.CancelFunc
	ended chan struct{}
}

func newRolling(t *testing.T, name string, replicas int) *rolling {
	t.Helper()
	s := newSetup(t, name, options{replicas: replicas, trusted: []string{"10.213.0.0/24", "10.214.0.0/24"}})
	ctx, stop := context.WithCancel(t.Context())
	r := &rolling{load: &load{setup: s, pause: 50 * time.Millisecond}, stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.run(ctx, 6)
	}()
	t.Cleanup(func() { stop(); <-r.ended })
	eventually(t, 30*time.Second, "load flows", func() error { return r.atLeast(100) })
	return r
}

// pods are the UIDs of the relay's pods.
func (r *rolling) pods(t *testing.T) map[string]string {
	t.Helper()
	pods, err := get[corev1.PodList](r.namespace, "pods", "-l", "postrider.dev/relay="+relayName)
	if err != nil {
		t.Fatal(err)
	}
	uids := map[string]string{}
	for _, p := range pods.Items {
		uids[p.Name] = string(p.UID)
	}
	return uids
}

// rolled does something, and waits until all pods have been replaced and the relay rests.
func (r *rolling) rolled(t *testing.T, before map[string]string, do func()) time.Duration {
	t.Helper()
	begin := time.Now()
	do()
	eventually(t, 5*time.Minute, "all pods are replaced", func() error {
		now := r.pods(t)
		for name, uid := range before {
			if now[name] == "" || now[name] == uid {
				return fmt.Errorf("%s has not been", name)
			}
		}
		return errors.Join(r.relayReady(), r.resting())
	})
	return time.Since(begin)
}

// resting checks that nothing is under way.
func (r *rolling) resting() error {
	mr, err := r.relay()
	if err == nil && meta.FindStatusCondition(mr.Status.Conditions, v1alpha1.ConditionReconciling) != nil {
		err = errors.New("it is Reconciling")
	}
	return err
}

// watchReady follows the relay's conditions until the function that it returns is called, which fails the test if it was ever
// not ready, or if it never was said that pods are replaced.
func (r *rolling) watchReady(t *testing.T) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done, seen := make(chan struct{}), map[string]int{}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if mr, err := r.relay(); err == nil {
				seen[r.says(mr, v1alpha1.ConditionReady)+" "+r.says(mr, v1alpha1.ConditionReconciling)]++
			}
			time.Sleep(200 * time.Millisecond)
		}
	}()
	return func() {
		t.Helper()
		cancel()
		<-done
		t.Logf("conditions while pods were replaced: %v", seen)
		rolling := false
		for said := range maps.Keys(seen) {
			rolling = rolling || strings.HasSuffix(said, "RollingOut")
			if !strings.HasPrefix(said, "True/") {
				t.Errorf("the relay was not ready: %s", said)
			}
		}
		if !rolling {
			t.Error("nothing said that pods were replaced")
		}
	}
}

func (r *rolling) says(mr v1alpha1.MailRelay, kind string) string {
	c := meta.FindStatusCondition(mr.Status.Conditions, kind)
	if c == nil {
		return "-"
	}
	return string(c.Status) + "/" + c.Reason
}

// settle ends the load and holds what arrived against what was answered 250, message by message, and the books of the pods
// against each other.
func (r *rolling) settle(t *testing.T) {
	t.Helper()
	at := r.count()
	eventually(t, 30*time.Second, "load flows on", func() error { return r.atLeast(at + 100) })
	r.stop()
	<-r.ended
	eventually(t, 3*time.Minute, "the queue is empty, and the books are right", func() error {
		return errors.Join(r.queued(0), (&scaleDown{load: r.load}).balanced())
	})
	duplicates := r.lossless(t, 2*time.Minute)
	t.Logf("%s: accepted %d, lost 0, duplicates %d, %d sessions broken", r.namespace, r.count(), duplicates, len(r.errors))
	if duplicates > 0 {
		t.Errorf("%d duplicates: a pod that is told to end ends what is in flight", duplicates)
	}
}
