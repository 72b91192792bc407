//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/postrider/postrider/api/v1alpha1"
)

// From kubectl apply to in force in every pod, and said so in status: seconds, though kubelets by themselves bring a changed
// ConfigMap once a minute. The goal is three seconds; what is slower than ten fails.
func TestSpecInForce(t *testing.T) {
	const replicas = 3
	s := newSetup(t, "inforce", options{replicas: replicas})
	generation := s.generations(t, replicas)
	var took []time.Duration
	for i := range 5 {
		postmaster := fmt.Sprintf("ops%d@%s", i, s.domain)
		began := time.Now()
		must(t)(kubectl("patch", "mailrelay", relayName, "-n", s.namespace, "--type=merge", "-p", fmt.Sprintf(`{"spec":{"postmaster":%q}}`, postmaster)))
		eventually(t, 10*time.Second, "status says that the change is in force in every pod", func() error { return s.said(generation) })
		took = append(took, time.Since(began))
		now := s.generations(t, replicas) // asks the pods themselves
		if now <= generation {
			t.Errorf("status said so, and the pods have generation %d", now)
		}
		generation = now
	}
	slices.Sort(took)
	t.Logf("in force on %d pods and said so after %.1f s (median; at most %.1f s; goal: less than 3 s)",
		replicas, took[len(took)/2].Seconds(), took[len(took)-1].Seconds())
}

// said checks that status is about the newest spec, and that a generation after the one before is in force everywhere.
func (s setup) said(before int64) error {
	mr, err := s.relay()
	if err != nil {
		return err
	}
	if mr.Status.ObservedGeneration != mr.Generation || !meta.IsStatusConditionTrue(mr.Status.Conditions, v1alpha1.ConditionConfigCurrent) {
		return errors.New("status does not say so")
	}
	for _, pod := range mr.Status.Pods {
		if pod.ConfigGeneration == nil || *pod.ConfigGeneration <= before {
			return fmt.Errorf("pod %s has an older generation", pod.Name)
		}
	}
	return nil
}
