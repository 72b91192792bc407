//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/postrider/postrider/relay/config"
)

// Without an operator mail goes on flowing, and the configuration in force survives a restart of the container.
func TestWithoutOperator(t *testing.T) {
	s := newSetup(t, "without-operator", options{})
	scaleOperator(t, "0")
	t.Cleanup(func() { scaleOperator(t, "1") })
	var before int64
	// What the operator wrote last reaches the pod without it, at the kubelet's own pace.
	eventually(t, 100*time.Second, "the last configuration is in force", func() (err error) {
		before, err = s.lastGeneration()
		return err
	})

	s.swaks(t, "nobody is watching")
	eventually(t, 20*time.Second, "delivered", func() error { return s.delivered(1) })

	s.sigkill(t, 0)
	eventually(t, 60*time.Second, "container restarted", func() error { return s.serving(0, 1) })
	after, err := s.podStatus(0)
	if err != nil {
		t.Fatal(err)
	}
	if after.Generation != before || after.ConfigError != "" {
		t.Errorf("configuration %d (%s) in force after the restart, %d before", after.Generation, after.ConfigError, before)
	}
	s.swaks(t, "after the restart")
	eventually(t, 20*time.Second, "delivered", func() error { return s.delivered(2) })
	messages, err := world.postfix.Messages(s.to)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if got := signatures(t, m); len(got) != 2 {
			t.Errorf("%s has signatures %q", m.Header.Get("Subject"), got)
		}
	}
}

// lastGeneration is the generation that the operator wrote last; it is an error while the pod has another in force.
func (s setup) lastGeneration() (int64, error) {
	written, err := get[corev1.Secret](s.namespace, "secret", relayName+"-material")
	if err != nil {
		return 0, err
	}
	var index config.Index
	if err := json.Unmarshal(written.Data[config.IndexFile], &index); err != nil {
		return 0, fmt.Errorf("%s in the Secret: %w", config.IndexFile, err)
	}
	st, err := s.podStatus(0)
	if err == nil && st.Generation != index.Generation {
		err = fmt.Errorf("generation %d is in force, %d was written", st.Generation, index.Generation)
	}
	return index.Generation, err
}

// scaleOperator sets the operator's replicas and waits until they are so many.
func scaleOperator(t *testing.T, replicas string) {
	t.Helper()
	must(t)(kubectl("-n", operatorNamespace, "scale", "deployment", "--all", "--replicas="+replicas))
	if replicas == "0" {
		must(t)(kubectl("-n", operatorNamespace, "wait", "--for=delete", "pod", "--all", "--timeout=60s"))
		return
	}
	must(t)(kubectl("-n", operatorNamespace, "rollout", "status", "deployment", "--timeout=60s"))
}
