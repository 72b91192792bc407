//go:build e2e

package e2e

import (
	"os"
	"testing"
	"time"
)

// apiStop is how long the API server is away; E2E_API_STOP=5m makes it longer.
const apiStop = time.Minute

// Without an API server mail flows as before; when it is back the operator goes on.
func TestWithoutAPIServer(t *testing.T) {
	away := apiStop
	if text := os.Getenv("E2E_API_STOP"); text != "" {
		var err error
		if away, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	s := newSetup(t, "api-server", options{replicas: 2, trusted: trusting()})
	l := &load{setup: s}
	stop := l.start(t, 4)
	l.grows(t, 200, 60*time.Second)
	if err := clusterTool("daemon", "stop", "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // for the scenarios that follow; does nothing when it is up
		if err := clusterTool("daemon", "start", "kube-apiserver"); err != nil {
			t.Error(err)
		}
	})
	if _, err := kubectl("get", "--raw=/readyz", "--request-timeout=5s"); err == nil {
		t.Fatal("the API server answers")
	}
	accepted, arrived := l.count(), l.arrived(t)
	for end := time.Now().Add(away); time.Now().Before(end); {
		l.grows(t, 100, 20*time.Second)
		time.Sleep(time.Second)
	}
	t.Logf("%v without an API server: %d accepted, %d arrived", away, l.count()-accepted, l.arrived(t)-arrived)
	if l.arrived(t)-arrived < 100 {
		t.Error("next to nothing was delivered meanwhile")
	}

	if err := clusterTool("daemon", "start", "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	apply(t, s.namespace, policy(6000))
	eventually(t, 3*time.Minute, "the operator goes on: a policy is in force", func() error { return s.programmed(6000) })
	eventually(t, 60*time.Second, "the relay is ready", s.relayReady)
	stop()
	must(t)(kubectl("delete", "rlp", "per-site", "-n", s.namespace))
	if duplicates := l.account(t, 2); duplicates != 0 {
		t.Errorf("%d duplicates", duplicates)
	}
}

// arrived is how many messages the destination has.
func (l *load) arrived(t *testing.T) int {
	t.Helper()
	messages, err := world.postfix.Messages(l.to)
	if err != nil {
		t.Fatal(err)
	}
	return len(messages)
}
