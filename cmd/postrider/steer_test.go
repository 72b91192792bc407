package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/postrider/postrider/api/v1alpha1"
)

func TestCordonIsRecorded(t *testing.T) {
	c := newInCluster(t)
	admin := server.KubeConfig(t)
	if code, out, complaint := c.cli(admin, "cordon", "outbound", "outbound-1", "--dry-run"); code != 0 || !strings.Contains(out, "outbound-1 would be cordoned") {
		t.Errorf("dry run: exit code %d, %s%s", code, out, complaint)
	}
	if got := c.mailRelay().Annotations; len(got) > 0 {
		t.Fatalf("a dry run annotates %v", got)
	}
	if code, _, complaint := c.cli(admin, "cordon", "outbound", "outbound-7"); code != 2 || !strings.Contains(complaint, "outbound-7 is no pod of MailRelay outbound; its pods are outbound-0, outbound-1") {
		t.Errorf("another pod: exit code %d, %s", code, complaint)
	}
	c.state(1, v1alpha1.PodCordoned, 3)
	code, out, complaint := c.cli(admin, "cordon", "outbound", "outbound-1", "--reason", "its disk is slow")
	if code != 0 || !strings.Contains(out, "outbound-1 cordoned") {
		t.Errorf("exit code %d, %s%s", code, out, complaint)
	}
	if why := c.mailRelay().Annotations["cordon.postrider.dev/outbound-1"]; !strings.HasSuffix(why, ": its disk is slow") || strings.HasPrefix(why, ":") {
		t.Errorf("recorded is %q", why)
	}
	if code, _, complaint = c.cli(admin, "cordon", "outbound", "outbound-0"); code != 2 || !strings.Contains(complaint, "then no pod would take mail") {
		t.Errorf("the last one: exit code %d, %s", code, complaint)
	}
	if code, _, complaint = c.cli(admin, "cordon", "outbound", "outbound-0", "--yes", "--wait", "1s"); code != 1 || !strings.Contains(complaint, "it is recorded, and not so after 1s: outbound-0 is Serving. The operator goes on by itself") {
		t.Errorf("without an operator: exit code %d, %s", code, complaint)
	}
	c.state(1, v1alpha1.PodServing, 3)
	if code, out, complaint = c.cli(admin, "uncordon", "outbound", "-o", "json"); code != 0 || !json.Valid([]byte(out)) || !strings.Contains(out, `"did": "uncordoned"`) {
		t.Errorf("exit code %d, %s%s", code, out, complaint)
	}
	if got := c.mailRelay().Annotations; len(got) > 0 {
		t.Errorf("left are %v", got)
	}
}

func TestDrainFollowsTheOperator(t *testing.T) {
	c := newInCluster(t)
	admin := server.KubeConfig(t)
	if code, _, complaint := c.cli(admin, "drain", "outbound", "outbound-1"); code != 2 || !strings.Contains(complaint, "look with --dry-run, then say --yes") {
		t.Errorf("without a terminal: exit code %d, %s", code, complaint)
	}
	code, _, complaint := c.cli(admin, "drain", "outbound", "outbound-1", "--yes", "--wait", "1s")
	if code != 1 || !strings.Contains(complaint, "outbound-1: Serving, 3 recipients left") {
		t.Errorf("before the operator acts: exit code %d, %s", code, complaint)
	}
	if why := c.mailRelay().Annotations["drain.postrider.dev/outbound-1"]; !strings.HasSuffix(why, ": drained") {
		t.Errorf("recorded is %q", why)
	}
	c.state(1, v1alpha1.PodCordoned, 0)
	if code, out, complaint := c.cli(admin, "drain", "outbound", "outbound-1", "--yes"); code != 0 || !strings.Contains(out, "outbound-1 drained") {
		t.Errorf("exit code %d, %s%s", code, out, complaint)
	}
	c.state(0, v1alpha1.PodCordoned, 0)
	if code, out, complaint := c.cli(admin, "drain", "outbound", "--yes", "-o", "yaml"); code != 0 || !strings.Contains(out, "did: drained") {
		t.Errorf("a whole relay: exit code %d, %s%s", code, out, complaint)
	}
	if got := c.mailRelay().Annotations; got["cordon.postrider.dev/outbound-0"] == "" || got["cordon.postrider.dev/outbound-1"] == "" || got["drain.postrider.dev/outbound-0"] != "" {
		t.Errorf("recorded is %v", got)
	}
}

func TestPause(t *testing.T) {
	c := newInCluster(t)
	admin := server.KubeConfig(t)
	relay := c.mailRelay()
	relay.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "mail:postrider.dev/MailRelay:mail/outbound"}
	c.must(server.Client.Update(t.Context(), relay))
	code, out, complaint := c.cli(admin, "pause", "outbound")
	if code != 0 || !strings.Contains(out, "MailRelay outbound paused") || !strings.Contains(complaint, "Argo CD applies this MailRelay and may put spec.reconciliation back") {
		t.Errorf("exit code %d, %s%s", code, out, complaint)
	}
	if got := c.mailRelay().Spec.Reconciliation; got != v1alpha1.ReconciliationPaused {
		t.Errorf("reconciliation is %q", got)
	}
	if code, _, complaint = c.cli(admin, "cordon", "outbound", "outbound-1"); code != 0 || !strings.Contains(complaint, "the operator acts on this after postrider resume outbound") {
		t.Errorf("cordon while paused: exit code %d, %s", code, complaint)
	}
	if code, out, complaint = c.cli(admin, "resume", "outbound", "--dry-run"); code != 0 || !strings.Contains(out, "would be resumed") || c.mailRelay().Spec.Reconciliation != v1alpha1.ReconciliationPaused {
		t.Errorf("dry run: exit code %d, %s%s", code, out, complaint)
	}
	if code, _, complaint = c.cli(admin, "resume", "outbound"); code != 0 || c.mailRelay().Spec.Reconciliation != v1alpha1.ReconciliationActive {
		t.Errorf("exit code %d, %s", code, complaint)
	}
}

// The tree says of each pod what it is and why its mail waits, and of one that does not answer just that.
func TestStatusTree(t *testing.T) {
	c := newInCluster(t)
	relay := c.mailRelay()
	relay.Annotations = map[string]string{"cordon.postrider.dev/outbound-1": "alice: disk"}
	c.must(server.Client.Update(t.Context(), relay))
	c.state(1, v1alpha1.PodCordoned, 3)
	code, out, complaint := c.cli(server.KubeConfig(t), "status", "outbound")
	if code != 0 {
		t.Fatalf("exit code %d, %s", code, complaint)
	}
	for _, want := range []string{
		"\nMailRelay " + c.namespace + "/outbound\n├─ outbound-0: Serving; 5 queued, 4 deferred, oldest ", "; configuration 7, version v1\n│  ├─ listener smtp: no certificate\n│  └─ gmail.com: 5 queued, 4 deferred, oldest ",
		"; Deferred for ", ": 451 4.7.1 later?[31m\n└─ outbound-1: Cordoned (cordon by alice: disk); it did not answer\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}
