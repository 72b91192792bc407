package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/api/v1alpha1"
)

// A test message goes through a port-forward of the real API server, and its trace is followed to its end.
func TestTestSend(t *testing.T) {
	c := newInCluster(t)
	admin := server.KubeConfig(t)
	code, out, complaint := c.cli(admin, "test-send", "outbound", "--from", "news@shop.example", "--to", "b@gmail.com")
	if code != 1 || !strings.Contains(complaint, "the message is not delivered but failed") {
		t.Errorf("exit code %d, %s", code, complaint)
	}
	for _, want := range []string{"Through outbound-0, listener smtp (port 25)", "the relay greets", "taken: 2.0.0 queued as " + spooled, "Accepted on outbound-0", "Bounced on outbound-0: 550 5.1.1 no?[31m"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("a stranger's escape sequence reaches the terminal")
	}
	code, out, _ = c.cli(admin, "test-send", "outbound", "--from", "news@shop.example", "--to", "b@gmail.com", "--pod", "outbound-1", "-o", "json")
	var told sent
	if err := json.Unmarshal([]byte(out), &told); err != nil || code != 1 || told.Result != "Failed" || told.ID != spooled || told.Pod != "outbound-1" || len(told.Traces) != 2 {
		t.Errorf("as JSON: %v, exit code %d, %s", err, code, out)
	}
}

func TestTestSendRefuses(t *testing.T) {
	c := newInCluster(t)
	admin := server.KubeConfig(t)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("p\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "--from and --to are required"},
		{"--from a@b.example --to c@d.example --user x", 2, "--user and --password-file go together"},
		{"--from a@b.example --to c@d.example --user x --password-file F --service-account y", 2, "not both"},
		{"--from a@b.example --to c@d.example --user x --password-file " + password, 2, "has no listener with mode Submission"},
		{"--from a@b.example --to c@d.example --listener smtps", 2, "has no listener smtps"},
		{"--from a@b.example --to c@d.example --pod outbound-9", 2, "pod outbound-9 does not run"},
		{"--from a@b.example --to c@d.example --listener smtp --service-account checkout", 1, "no password is sent in clear"},
		{"--from a@b.example --to c@d.example --listener smtp --service-account nobody", 1, "making a token for ServiceAccount " + c.namespace + "/nobody"},
		{"--from a@b.example --to not-an-address", 1, "is no address"},
	} {
		if code, _, complaint := c.cli(admin, append([]string{"test-send", "outbound"}, strings.Fields(x.args)...)...); code != x.code || !strings.Contains(complaint, x.want) {
			t.Errorf("%s: exit code %d, want %d; %s", x.args, code, x.code, complaint)
		}
	}
}

func TestChooseListener(t *testing.T) {
	relay := &v1alpha1.MailRelay{Spec: v1alpha1.MailRelaySpec{Listeners: []v1alpha1.Listener{
		{Name: "proxied", Mode: v1alpha1.ListenerRelay, ProxyProtocol: v1alpha1.ProxyRequired}, {Name: "smtp", Mode: v1alpha1.ListenerRelay}, {Name: "submission", Mode: v1alpha1.ListenerSubmission},
	}}}
	for _, c := range []struct {
		name          string
		authenticates bool
		want          string
	}{{"", false, "smtp"}, {"", true, "submission"}, {"submission", false, "submission"}, {"smtp", true, "smtp"}, {"proxied", false, ""}, {"absent", true, ""}} {
		l, err := chooseListener(relay, c.name, c.authenticates)
		if (err == nil) != (c.want != "") || err == nil && l.Name != c.want {
			t.Errorf("%+v: %q, %v", c, l.Name, err)
		}
	}
}
