//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/status"
)

// A day with the plugin: the next hop is away, so an admin looks at what waits and why, keeps one message back and removes
// another, moves the mail of one pod to the other, and lets all go when the next hop is back. Each recipient is accounted for.
func TestPlugin(t *testing.T) {
	p := newPlugin(t)
	back := postfixAway(t)
	p.mailWaits(t)
	p.console(t)
	held, removed := p.choose(t)
	p.says(t, "held", "queue", "hold", relayName, string(held.ID), "--reason", "audit")
	p.says(t, "would be deleted", "queue", "delete", relayName, string(removed.ID), "--dry-run")
	p.says(t, "deleted", "queue", "delete", relayName, string(removed.ID), "--yes", "--reason", "sent by mistake")
	p.steers(t, held.ID)
	p.pauses(t)

	back()
	p.says(t, "attempted now", "queue", "flush", relayName, "--all")
	eventually(t, 60*time.Second, "all but two are delivered", func() error { return p.delivered(p.count() - 2) })
	p.says(t, "released", "queue", "release", relayName, string(held.ID))
	eventually(t, 60*time.Second, "all but one are delivered", func() error { return p.delivered(p.count() - 1) })
	p.says(t, "Held", "trace", relayName, string(held.ID))
	p.says(t, "<recipient@"+p.to+">: Delivered", "trace", relayName, string(held.ID))
	p.says(t, "sent by mistake", "trace", relayName, string(removed.ID))

	p.books(t)
	p.testSends(t)
	p.reports(t)
}

// plugin is `kubectl postrider`, and a relay of two pods to use it on.
type plugin struct {
	*load
	// path is a PATH that it is on.
	path string
}

func newPlugin(t *testing.T) *plugin {
	t.Helper()
	program, err := filepath.Abs(filepath.Join(root, "bin/postrider"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(program, filepath.Join(dir, "kubectl-postrider")); err != nil {
		t.Fatal(err)
	}
	s := newSetup(t, "plugin", options{replicas: 2, trusted: trusting()})
	return &plugin{load: &load{setup: s, pause: 50 * time.Millisecond, each: 20}, path: dir + ":" + os.Getenv("PATH")}
}

// command is one of the plugin, in the scenario's namespace.
func (p *plugin) command(args ...string) *exec.Cmd {
	cmd := exec.Command("kubectl", append(append([]string{"postrider"}, args...), "-n", p.namespace)...)
	cmd.Env = append(os.Environ(), "PATH="+p.path)
	return cmd
}

// says runs a command, wants it to succeed and to print this, and returns what it prints.
func (p *plugin) says(t *testing.T, want string, args ...string) string {
	t.Helper()
	var complaint strings.Builder
	cmd := p.command(args...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), want) {
		t.Fatalf("kubectl postrider %s: %v; want %q in\n%s%s", strings.Join(args, " "), err, want, out, &complaint)
	}
	return string(out)
}

// mailWaits fills the queues of both pods, and wants each command that looks to say why.
func (p *plugin) mailWaits(t *testing.T) {
	t.Helper()
	stop := p.start(t, 6)
	eventually(t, 60*time.Second, "mail waits in both pods", func() error {
		for ordinal := range 2 {
			if st, err := p.podStatus(ordinal); err != nil || st.Queue.Deferred < 10 {
				return errors.Join(err, fmt.Errorf("pod %d has %+v", ordinal, st.Queue))
			}
		}
		return nil
	})
	stop()
	t.Logf("%d messages wait", p.count())
	p.says(t, p.to, "status", relayName)
	p.says(t, "refused", "explain", relayName, p.to)
	p.says(t, p.to, "queue", "top", relayName, "--once")
}

// console wants a page with the destination.
func (p *plugin) console(t *testing.T) {
	t.Helper()
	cmd := p.command("console", relayName)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }() // it would serve for ever
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(strings.TrimSpace(address) + "relays/" + relayName)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("the console answers %s: %v", response.Status, err)
	}
	for _, want := range []string{p.to, p.pod(0), p.pod(1), "refused", "_domainkey." + p.domain} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the console does not show %q", want)
		}
	}
}

// queue lists the entries of each pod.
func (p *plugin) queue(t *testing.T, args ...string) map[string][]envelope.Envelope {
	t.Helper()
	out := p.says(t, "relays", append([]string{"queue", "ls", relayName, "-o", "json", "--limit", "1000"}, args...)...)
	var listed struct {
		Relays []struct {
			Relay string
			admin.Page
		}
	}
	if err := json.Unmarshal([]byte(out), &listed); err != nil {
		t.Fatal(err)
	}
	entries := map[string][]envelope.Envelope{}
	for _, r := range listed.Relays {
		entries[r.Relay] = r.Entries
	}
	return entries
}

// choose lists the queue, which must hold all that was accepted, and returns a message of the second pod and one of the first.
func (p *plugin) choose(t *testing.T) (second, first envelope.Envelope) {
	t.Helper()
	entries := p.queue(t)
	if got := len(entries[p.pod(0)]) + len(entries[p.pod(1)]); got != p.count() {
		t.Fatalf("the queue lists %d messages of %d", got, p.count())
	}
	second, first = entries[p.pod(1)][0], entries[p.pod(0)][0]
	p.says(t, "Subject: load", "queue", "show", relayName, string(second.ID))
	p.says(t, "refused", "explain", relayName, string(second.ID))
	return second, first
}

// steers cordons the second pod, which takes nothing then, and empties it into the first: the message that is held stays held.
func (p *plugin) steers(t *testing.T, held envelope.ID) {
	t.Helper()
	p.says(t, "cordoned", "cordon", relayName, p.pod(1), "--reason", "its disk is slow")
	before, err := p.podStatus(1)
	if err != nil {
		t.Fatal(err)
	}
	stop := p.start(t, 6)
	p.grows(t, 20, 60*time.Second)
	stop()
	p.says(t, "uncordoned", "uncordon", relayName, p.pod(1))
	begin := time.Now()
	p.says(t, "drained", "drain", relayName, p.pod(1), "--yes", "--wait", "2m")
	t.Logf("drained: after %.1f s", time.Since(begin).Seconds())

	after, err := p.podStatus(1)
	if err != nil {
		t.Fatal(err)
	}
	if l := after.Ledger; l.Accepted != before.Ledger.Accepted || l.HandedOut == 0 || l.Queued != 0 {
		t.Errorf("the second pod's books were %+v when it was cordoned, and are %+v now that it is empty", before.Ledger, l)
	}
	entries := p.queue(t, "--held", "true")
	if there := entries[p.pod(0)]; len(there) != 1 || there[0].ID != held || len(entries[p.pod(1)]) != 0 {
		t.Errorf("held are %+v; want %s alone, in the first pod", entries, held)
	}
	p.says(t, "uncordoned", "uncordon", relayName)
}

// pauses takes an object away while the operator leaves the relay alone: it is there again after resume.
func (p *plugin) pauses(t *testing.T) {
	t.Helper()
	p.says(t, "paused", "pause", relayName)
	eventually(t, 20*time.Second, "status says so", func() error {
		mr, err := p.relay()
		if err != nil {
			return err
		}
		return isTrue(mr.Status.Conditions, v1alpha1.ConditionPaused)
	})
	budgets := []string{"get", "poddisruptionbudgets", "-n", p.namespace, "-o", "name"}
	must(t)(kubectl("delete", "poddisruptionbudget", relayName, "-n", p.namespace))
	time.Sleep(2 * time.Second) // it would be back within one
	if out := must(t)(kubectl(budgets...)); out != "" {
		t.Errorf("while paused, the operator made %s", out)
	}
	p.says(t, "resumed", "resume", relayName)
	eventually(t, 20*time.Second, "it is there again", func() error {
		if out, err := kubectl(budgets...); err != nil || out == "" {
			return errors.Join(err, errors.New("no budget"))
		}
		return nil
	})
}

// books wants those of both pods to tell of every recipient: one removed, all others delivered, once.
func (p *plugin) books(t *testing.T) {
	t.Helper()
	var sum status.Ledger
	for ordinal := range 2 {
		st, err := p.podStatus(ordinal)
		if err != nil {
			t.Fatal(err)
		}
		l := st.Ledger
		if !l.Balanced() {
			t.Errorf("the books of %s: %+v", p.pod(ordinal), l)
		}
		sum.Accepted, sum.Delivered, sum.Removed = sum.Accepted+l.Accepted, sum.Delivered+l.Delivered, sum.Removed+l.Removed
		sum.Queued, sum.HandedIn, sum.HandedOut = sum.Queued+l.Queued, sum.HandedIn+l.HandedIn, sum.HandedOut+l.HandedOut
	}
	all := int64(p.count())
	if want := (status.Ledger{Accepted: all, Delivered: all - 1, Removed: 1, HandedIn: sum.HandedOut, HandedOut: sum.HandedOut}); sum != want {
		t.Errorf("the books say %+v; want %+v", sum, want)
	}
	lost, duplicates, err := p.compare()
	if err != nil || len(lost) != 1 || duplicates != 0 {
		t.Errorf("%d did not arrive, want the one that was removed; %d arrived twice; %v", len(lost), duplicates, err)
	}
	t.Logf("accepted %d, removed 1, delivered %d, handed over %d, duplicates %d", all, sum.Delivered, sum.HandedOut, duplicates)
}

// testSends sends through a port-forward as the scenario's user.
func (p *plugin) testSends(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := p.says(t, "Delivered on ", "test-send", relayName, "--from", "sender@"+p.domain, "--to", "recipient@"+p.to, "--user", user, "--password-file", file)
	for _, want := range []string{"TLS 1.3, certificate for " + p.hostname, "authenticated as " + user, "2.0.0 queued as "} {
		if !strings.Contains(out, want) {
			t.Errorf("test-send does not say %q:\n%s", want, out)
		}
	}
}

// reports wants a bundle that has everything but secrets and addresses.
func (p *plugin) reports(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.tar.gz")
	p.says(t, "", "report", relayName, "-f", file)
	list, err := exec.Command("tar", "-tzf", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command("tar", "-xzOf", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	if names := string(list); strings.Contains(names, "missing.txt") || !strings.Contains(names, p.pod(1)) || !strings.Contains(string(text), "kind: MailRelay") {
		t.Errorf("the bundle holds\n%s", names)
	}
	for _, secret := range []string{password, "recipient@" + p.to, "$2a$", "PRIVATE KEY"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the bundle holds %q", secret)
		}
	}
}
