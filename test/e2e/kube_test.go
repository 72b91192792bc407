//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const (
	// root is the repository, seen from the directory that the tests run in.
	root = "../.."
	// scenarioLabel marks the namespaces that scenarios made.
	scenarioLabel = "postrider.dev/e2e"
)

func kubectl(args ...string) (string, error) { return kubectlIn("", args...) }

func kubectlIn(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// namespace makes a namespace for a scenario. It goes at the end of the run, unless the scenario failed.
func namespace(t *testing.T, name string) string {
	t.Helper()
	name = "e2e-" + name
	must(t)(kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=true"))
	must(t)(kubectl("create", "namespace", name))
	must(t)(kubectl("label", "namespace", name, scenarioLabel+"=", "pod-security.kubernetes.io/enforce=restricted"))
	t.Cleanup(func() {
		if t.Failed() {
			describe(t, name)
			return
		}
		must(t)(kubectl("delete", "namespace", name, "--wait=false")) // Kubernetes takes its time: half of the pods' grace period
	})
	return name
}

// describe logs what helps to see why a scenario failed.
func describe(t *testing.T, namespace string) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "mr,sd,rlp,pods,pvc", "-n", namespace, "-o", "wide"},
		{"get", "mr,sd,rlp", "-n", namespace, "-o", "yaml"},
		{"get", "events", "-n", namespace, "--sort-by=.lastTimestamp"},
		{"logs", "-n", namespace, "-l", "app.kubernetes.io/name=postrider", "--tail=40", "--prefix"},
		{"logs", "-n", operatorNamespace, "-l", "app.kubernetes.io/name=postrider", "--tail=40"},
	} {
		out, err := kubectl(args...)
		if err != nil {
			out = err.Error()
		}
		t.Logf("kubectl %s\n%s", strings.Join(args, " "), out)
	}
	t.Logf("postfix\n%s", world.postfix.Log())
}

// must ends the test at an error.
func must(t *testing.T) func(out string, err error) string {
	return func(out string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// apply applies manifests to a namespace.
func apply(t *testing.T, namespace, manifests string) string {
	t.Helper()
	return must(t)(kubectlIn(manifests, "apply", "-n", namespace, "-f", "-"))
}

// get reads an object, or a list of objects, into a value.
func get[T any](namespace string, args ...string) (T, error) {
	var object T
	out, err := kubectl(append([]string{"get", "-n", namespace, "-o", "json"}, args...)...)
	if err != nil {
		return object, err
	}
	return object, json.Unmarshal([]byte(out), &object)
}

// eventually waits until check returns nil, at most limit, and returns how long it took.
func eventually(t *testing.T, limit time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	begin := time.Now()
	for {
		err := check()
		took := time.Since(begin)
		if err == nil {
			t.Logf("%s: after %.1f s", what, took.Seconds())
			return took
		}
		if took > limit {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(250 * time.Millisecond)
	}
}
