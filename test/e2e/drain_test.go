//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A node is drained under load: the pod there ends in order and comes back elsewhere with its queue, and nothing is lost. No
// more than one pod is evicted at a time; the only pod of a relay is never kept from being evicted.
func TestNodeDrain(t *testing.T) {
	bringSecondNode(t)
	volumes(t, "drain", 2, "node-0", secondNode)
	s := newSetup(t, "drain", options{replicas: 2, trusted: trusting(), storage: "size: 1Gi, storageClassName: drain"})
	s.putOn(t, 1, secondNode, "node-0")
	s.putOn(t, 0, "node-0", secondNode)
	l := &load{setup: s}
	stop := l.start(t, 6)
	l.grows(t, 200, 60*time.Second)

	begin := time.Now()
	must(t)(kubectl("drain", secondNode, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=150s"))
	t.Logf("drained: after %.1f s", time.Since(begin).Seconds())
	eventually(t, 120*time.Second, "the pod is on the other node", func() error { return s.isOn(1, "node-0") })
	l.grows(t, 200, 60*time.Second)

	if err := s.evict(0); err != nil {
		t.Fatal(err)
	}
	if err := s.evict(1); err == nil || !strings.Contains(err.Error(), "disruption budget") {
		t.Errorf("the second of two pods is evicted with %v", err)
	}
	eventually(t, 120*time.Second, "the relay is whole", s.relayReady)
	l.grows(t, 200, 60*time.Second)
	stop()
	l.account(t, 2)

	must(t)(kubectl("scale", "mailrelay", relayName, "-n", s.namespace, "--replicas=1"))
	eventually(t, 120*time.Second, "one pod is left, without a budget", func() error {
		out, err := kubectl("get", "pods,poddisruptionbudgets", "-n", s.namespace, "-o", "name")
		if err == nil && strings.TrimSpace(out) != "pod/"+s.pod(0) {
			err = fmt.Errorf("there are %q", strings.Fields(out))
		}
		return err
	})
	was, err := s.podNow(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.evict(0); err != nil {
		t.Fatalf("the only pod cannot be evicted: %v", err)
	}
	eventually(t, 120*time.Second, "it is back", func() error {
		if now, err := s.podNow(0); err != nil || now.UID == was.UID {
			return fmt.Errorf("it has not ended: %w", err)
		}
		return s.isOn(0, "node-0")
	})
	if lost, _, err := l.compare(); err != nil || len(lost) > 0 {
		t.Errorf("%d messages are lost: %v", len(lost), err)
	}
}
