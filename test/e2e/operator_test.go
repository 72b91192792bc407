//go:build e2e

package e2e

import (
	"testing"
	"time"
)

// Without an operator mail goes on flowing, and the configuration in force survives a restart of the container.
func TestWithoutOperator(t *testing.T) {
	s := newSetup(t, "without-operator", options{})
	before, err := s.podStatus(0)
	if err != nil {
		t.Fatal(err)
	}
	scaleOperator(t, "0")
	t.Cleanup(func() { scaleOperator(t, "1") })

	s.swaks(t, "nobody is watching")
	eventually(t, 20*time.Second, "delivered", func() error { return s.delivered(1) })

	s.sigkill(t, 0)
	eventually(t, 60*time.Second, "container restarted", func() error { return s.serving(0, 1) })
	after, err := s.podStatus(0)
	if err != nil {
		t.Fatal(err)
	}
	if after.Generation != before.Generation || after.ConfigError != "" {
		t.Errorf("configuration %d (%s) in force after the restart, %d before", after.Generation, after.ConfigError, before.Generation)
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
