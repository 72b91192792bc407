package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

// patience is how long anything may take that a test waits for.
const patience = 30 * time.Second

// runLocal runs `postrider local` with a relay whose mail goes to a receiver that puts off mail for busy.example. It
// returns the data directory and the address of the listener.
func runLocal(t *testing.T) (data, address string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	dns, err := smtptest.NewDNS("busy.example. MX 1 mx.test.", "easy.example. MX 1 mx.test.", "shop.example. MX 1 mx.test.", "mx.test. A 127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Close)
	sink, err := smtptest.NewSink(smtptest.Options{Replies: map[string]reply.Reply{
		"@busy.example":     {Code: 451, Enhanced: "4.7.1", Text: "Greylisted"},
		"gone@easy.example": {Code: 550, Enhanced: "5.1.1", Text: "no such user"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sink.Close)
	port := freePort(t)
	manifest := filepath.Join(dir, "relay.yaml")
	text := fmt.Sprintf(`{apiVersion: postrider.dev/v1alpha1, kind: MailRelay, metadata: {name: mx1}, spec: {
  hostname: mx1.shop.example, postmaster: ops@shop.example, listeners: [{name: smtp, port: %d, mode: Relay}],
  access: {trustedCIDRs: [127.0.0.0/8], undeclaredSenders: Accept}, queue: {storage: {size: 1Gi}},
  routes: [{name: sink, mx: {port: %d, allowCIDRs: [127.0.0.0/8]}}]}}`, port, sink.Port())
	if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	data = filepath.Join(dir, "data")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"postrider", "local", "-f", manifest, "--data", data, "--bind", "127.0.0.1", "--resolver", dns.Addr()},
			streams{strings.NewReader(""), io.Discard, io.Discard})
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("postrider local ended with %d", code)
		}
	})
	return data, fmt.Sprintf("127.0.0.1:%d", port)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// until repeats a question until its answer is good.
func until(t *testing.T, what string, good func() (answer string, ok bool)) string {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		answer, ok := good()
		if ok {
			return answer
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s; the last answer was %s", what, answer)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// submit sends a message and returns its spool id.
func submit(t *testing.T, address string, to ...string) string {
	t.Helper()
	var c *smtp.Client
	until(t, "the listener", func() (string, bool) {
		var err error
		c, err = smtp.Dial(address)
		return fmt.Sprint(err), err == nil
	})
	defer c.Close()
	steps := []error{c.Hello("app.shop.example"), c.Mail("news@shop.example")}
	for _, recipient := range to {
		steps = append(steps, c.Rcpt(recipient))
	}
	steps = append(steps, c.Text.PrintfLine("DATA"))
	_, _, err := c.Text.ReadResponse(354)
	steps = append(steps, err, c.Text.PrintfLine("From: <news@shop.example>\r\nSubject: x\r\n\r\nx\r\n."))
	_, answer, err := c.Text.ReadResponse(250)
	if err := errors.Join(append(steps, err)...); err != nil {
		t.Fatal(err)
	}
	_, id, _ := strings.Cut(answer, "queued as ")
	return id
}

// TestWhereIsMyMailOfALocalRelay asks a relay that really runs.
func TestWhereIsMyMailOfALocalRelay(t *testing.T) {
	data, address := runLocal(t)
	says := func(want string, args ...string) string {
		t.Helper()
		return until(t, want, func() (string, bool) {
			_, out, complaint := cli(t, append(args, "--data", data)...)
			return out + complaint, strings.Contains(out+complaint, want)
		})
	}
	id := submit(t, address, "someone@busy.example")
	deferred := says("Attempt 1 was put off at", "explain", "busy.example") // not while it still runs
	if !strings.Contains(deferred, "451 4.7.1 Greylisted") || !strings.Contains(deferred, id) {
		t.Errorf("explained as\n%s", deferred)
	}
	says("1 recipient in the queue changed", "queue", "hold", "--domain", "busy.example", "--for", "2h", "--reason", "wrong list")
	says("(wrong list)", "explain", id)
	says("for busy.example", "queue", "directives")
	says("1 recipients in 1 entries released", "queue", "release", "--domain", "busy.example")
	says("Released", "trace", id)
	says("No directive is in force", "queue", "directives")

	id = submit(t, address, "gone@easy.example", "here@easy.example")
	trace := says("<news@shop.example>: Delivered", "trace", id) // its DSN
	for _, want := range []string{"<gone@easy.example>: Failed", "<here@easy.example>: Delivered", "550 5.1.1 no such user", "listener smtp", "failed, by DSN"} {
		if !strings.Contains(trace, want) {
			t.Errorf("the trace lacks %q:\n%s", want, trace)
		}
	}
	says("no mail for easy.example is queued", "explain", "easy.example")
}
