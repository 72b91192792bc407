//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/postrider/postrider/api/v1alpha1"
)

// A node is cut off with a pod that has mail, and which runs on unseen. The other pod takes mail at once; the lost one is
// replaced only when an admin has said that its volume is free; then it is locked out and ends, and its mail arrives.
func TestNodeLoss(t *testing.T) {
	bringSecondNode(t)
	volumes(t, "loss", 2, "node-0", secondNode)
	s := newSetup(t, "loss", options{replicas: 2, trusted: trusting(), storage: "size: 1Gi, storageClassName: loss"})
	s.putOn(t, 1, secondNode, "node-0")
	s.putOn(t, 0, "node-0", secondNode)
	holdUp(t)
	l := &load{setup: s, each: 200}
	stop := l.start(t, 6)
	eventually(t, 60*time.Second, "both pods have mail", func() error {
		for ordinal := range 2 {
			if st, err := s.podStatus(ordinal); err != nil || st.Queue.Queued < 50 {
				return fmt.Errorf("pod %d: %d queued, %w", ordinal, st.Queue.Queued, err)
			}
		}
		return nil
	})
	was, err := s.podNow(1)
	if err != nil {
		t.Fatal(err)
	}
	unseen, err := s.process(1)
	if err != nil {
		t.Fatal(err)
	}

	if err := clusterTool("node", "cut"); err != nil {
		t.Fatal(err)
	}
	l.grows(t, 50, 5*time.Second)
	eventually(t, 3*time.Minute, "status says that the node is lost", s.nodeLost)
	if now, err := s.podNow(1); err != nil || now.UID != was.UID || !runs(unseen) {
		t.Fatalf("the pod was given up without proof, or does not run on: %v, %v", now.UID, err)
	}
	must(t)(kubectl("annotate", "pvc", "-n", s.namespace, "spool-"+s.pod(1), "postrider.dev/detached-from="+secondNode))
	eventually(t, 2*time.Minute, "another pod has the volume", func() error { return s.isOn(1, "node-0") })
	eventually(t, 20*time.Second, "the one that ran on has ended", func() error {
		if runs(unseen) {
			return errors.New("it runs")
		}
		return nil
	})
	eventually(t, 60*time.Second, "status is well", s.relayReady)
	stop()
	letGo(t)
	if duplicates := l.account(t, 2); duplicates != 0 {
		t.Errorf("%d duplicates", duplicates)
	}
}

// nodeLost checks that status says so, and what to do.
func (s setup) nodeLost() error {
	mr, err := s.relay()
	if err != nil {
		return err
	}
	c := meta.FindStatusCondition(mr.Status.Conditions, v1alpha1.ConditionQueueHealthy)
	if c == nil || c.Reason != v1alpha1.ReasonNodeLost || !strings.Contains(c.Message, "detached-from="+secondNode) {
		return fmt.Errorf("QueueHealthy is %+v", c)
	}
	return nil
}

// runs says that a process has not ended. Its parent may be gone, so that its remains stay for a while.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// holdUp takes the destination away until letGo, or the end of the scenario.
func holdUp(t *testing.T) {
	t.Helper()
	if err := world.postfix.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { letGo(t) })
}

func letGo(t *testing.T) {
	t.Helper()
	if err := world.postfix.Start(); err != nil && !strings.Contains(err.Error(), "already running") {
		t.Error(err)
	}
}
