//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/test/peers"
)

// Three resources in, mail delivered, status true: a client submits with a password, Postfix gets the message over TLS,
// both signatures hold, and kubectl shows an empty queue.
func TestDeliver(t *testing.T) {
	s := newSetup(t, "deliver", options{})
	apply(t, s.namespace, policy(600))
	s.swaks(t, "the main job")
	eventually(t, 20*time.Second, "delivered", func() error { return s.delivered(1) })

	messages, err := world.postfix.Messages(s.to)
	if err != nil {
		t.Fatal(err)
	}
	m := messages[0]
	if got := m.Header.Get("Subject"); got != "the main job" {
		t.Errorf("Subject: %s", got)
	}
	if got := m.Header.Get("Return-Path"); got != "<sender@"+s.domain+">" {
		t.Errorf("reverse path %s", got)
	}
	if received := m.Header["Received"]; len(received) < 2 || !strings.Contains(received[0], "using TLSv1.3") {
		t.Errorf("Postfix got it without TLS: %q", received)
	} else if !strings.Contains(received[1], "by "+s.hostname) || !strings.Contains(received[1], "ESMTPSA") {
		t.Errorf("our Received names neither the relay nor ESMTPSA: %q", received[1])
	}
	if !bytes.Contains(m.Raw, []byte("\n.a line that begins with a dot\n")) {
		t.Errorf("the body changed on the way:\n%s", m.Raw)
	}
	if got, want := signatures(t, m), []string{"ed25519-sha256 " + s.domain, "rsa-sha256 " + s.domain}; !slices.Equal(got, want) {
		t.Errorf("valid signatures: %q, want %q", got, want)
	}
	eventually(t, 20*time.Second, "status: nothing queued", func() error { return s.queued(0) })
	s.showsTruth(t)
}

// showsTruth checks the line that kubectl prints for each of the three.
func (s setup) showsTruth(t *testing.T) {
	t.Helper()
	eventually(t, 20*time.Second, "policy programmed", func() error {
		rlp, err := get[v1alpha1.RateLimitPolicy](s.namespace, "ratelimitpolicy", "per-site")
		if err != nil {
			return err
		}
		return isTrue(rlp.Status.Conditions, v1alpha1.ConditionProgrammed)
	})
	table := must(t)(kubectl("get", "mr,sd,rlp", "-n", s.namespace))
	t.Logf("kubectl get mr,sd,rlp\n%s", table)
	for _, want := range []string{
		"outbound True Serving 1 1 0",
		"sender " + s.domain + " outbound True Pass Pass Pass Pass",
		"per-site Delivery Site 600 60 20 True True",
	} {
		if !strings.Contains(strings.Join(strings.Fields(table), " "), want) {
			t.Errorf("kubectl get does not show %q", want)
		}
	}
}

// verifier checks every signature of the message on standard input with python3-dkim, which asks our resolver.
const verifier = `
import json, sys, dkim, dns.resolver
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = [sys.argv[1]]
def txt(name, timeout=5):
    return b"".join(resolver.resolve(name.decode().rstrip("."), "TXT")[0].strings)
message = dkim.DKIM(sys.stdin.buffer.read())
found = []
for i in range(sum(1 for name, _ in message.headers if name.lower() == b"dkim-signature")):
    if not message.verify(idx=i, dnsfunc=txt):
        sys.exit("signature %d does not hold" % i)
    found.append((message.signature_fields[b"a"] + b" " + message.domain).decode())
print(json.dumps(sorted(found)))
`

// signatures are the algorithm and domain of each DKIM signature of a message; one that does not hold fails the test.
func signatures(t *testing.T, m peers.Message) []string {
	t.Helper()
	received, err := m.Received()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/python3", "-c", verifier, nodeIP)
	cmd.Stdin = bytes.NewReader(received)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python3-dkim: %v: %s\n%s", err, stderr.String(), received)
	}
	var found []string
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// service is the address of a port of the relay's Service.
func (s setup) service(port string) string { return net.JoinHostPort(s.address, port) }
