package main

import (
	"bytes"
	"context"
	"fmt"
	"net/smtp"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/postrider/postrider/relay/dns"
	"github.com/postrider/postrider/relay/smtptest"
)

// until waits for something to become true; what says what is awaited.
func until(ctx context.Context, what string, is func() bool) error {
	for !is() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

func start(ctx context.Context, w *world, r *relay) error {
	say("Running config/samples/quickstart.yaml without a cluster, on %s (MX hosts listen on port %d here, not 25)", r.address(), w.port)
	if err := r.run(w); err != nil {
		return err
	}
	return until(ctx, "the relay's greeting", func() bool {
		c, err := smtp.Dial(r.address())
		if err != nil {
			return false
		}
		return c.Quit() == nil
	})
}

func publish(ctx context.Context, w *world, r *relay) error {
	say("Publishing what postrider dns records prints: the DKIM keys it made for %s, and DMARC", senderDomain)
	var records []string
	err := until(ctx, "records to publish", func() bool {
		out, err := r.cli(ctx, "dns", "records")
		records = strings.Split(strings.TrimSpace(out), "\n")
		return err == nil && len(records) > 2
	})
	if err != nil {
		return err
	}
	for _, line := range records {
		fmt.Printf("    %.100s…\n", line)
	}
	if err := w.dns.Add(records...); err != nil {
		return err
	}
	return r.reload()
}

// send hands over one message to each receiver.
func send(_ context.Context, _ *world, r *relay) error {
	say("Sending three messages as orders@%s", senderDomain)
	for _, to := range []string{"ada@" + customerDomain, "bob@" + refusingDomain, "carol@" + closedDomain} {
		reply, err := r.send(to)
		if err != nil {
			return fmt.Errorf("to %s: %w", to, err)
		}
		fmt.Printf("    to %-24s %s\n", to, reply)
	}
	return nil
}

var queuedAs = regexp.MustCompile(`queued as (\S+)`)

// send speaks SMTP and returns the final reply.
func (r *relay) send(to string) (string, error) {
	c, err := smtp.Dial(r.address())
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	from := "orders@" + senderDomain
	if err := c.Mail(from); err != nil {
		return "", err
	}
	if err := c.Rcpt(to); err != nil {
		return "", err
	}
	text := fmt.Sprintf("From: Shop <%s>\r\nTo: <%s>\r\nSubject: Your order\r\nDate: %s\r\nMessage-ID: <%d@%s>\r\n\r\nIt is on its way.\r\n.",
		from, to, time.Now().UTC().Format(time.RFC1123Z), time.Now().UnixNano(), senderDomain)
	if err := c.Text.PrintfLine("DATA"); err != nil {
		return "", err
	}
	if _, _, err := c.Text.ReadResponse(354); err != nil {
		return "", err
	}
	if err := c.Text.PrintfLine("%s", text); err != nil {
		return "", err
	}
	_, line, err := c.Text.ReadResponse(250)
	if err != nil {
		return "", err
	}
	id := queuedAs.FindStringSubmatch(line)
	if id == nil {
		return "", fmt.Errorf("the reply names no spool id: %s", line)
	}
	r.ids[to] = id[1]
	return "250 " + line, c.Quit()
}

// delivered shows the message at the customer, and verifies its signatures.
func delivered(ctx context.Context, w *world, r *relay) error {
	say("Delivered to %s, with these headers", customerDomain)
	var m smtptest.Message
	to := "ada@" + customerDomain
	err := until(ctx, "the message at the customer", func() (ok bool) { m, ok = message(w.customer, to); return ok })
	if err != nil {
		return err
	}
	for _, line := range header(m.Data, "Received", "DKIM-Signature", "From", "To", "Subject") {
		fmt.Println("   ", line)
	}
	return verify(ctx, w, m.Data)
}

// verify checks the signatures as the receiver would, with the keys that are published.
func verify(ctx context.Context, w *world, data []byte) error {
	resolver := dns.New(dns.Options{Servers: []string{w.dns.Addr()}})
	found, err := dkim.VerifyWithOptions(bytes.NewReader(data), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return resolver.TXT(ctx, name) },
	})
	if err != nil {
		return err
	}
	if len(found) != 2 {
		return fmt.Errorf("%d DKIM signatures; there should be two, RSA and Ed25519", len(found))
	}
	for _, v := range found {
		if v.Err != nil || v.Domain != senderDomain {
			return fmt.Errorf("a DKIM signature of %s does not verify: %w", v.Domain, v.Err)
		}
	}
	fmt.Printf("    Both DKIM signatures verify against the published keys (d=%s).\n", senderDomain)
	return nil
}

// bounced shows the DSN at the sender.
func bounced(ctx context.Context, w *world, _ *relay) error {
	say("Refused by %s with 550: the sender gets a bounce (RFC 3464)", refusingDomain)
	var m smtptest.Message
	err := until(ctx, "the bounce", func() (ok bool) { m, ok = message(w.home, "orders@"+senderDomain); return ok })
	if err != nil {
		return err
	}
	if m.From != "" {
		return fmt.Errorf("the bounce comes from <%s>; it must come from <>", m.From)
	}
	text := string(m.Data)
	for _, field := range []string{"Subject", "Final-Recipient", "Action", "Status", "Diagnostic-Code"} {
		line := regexp.MustCompile(`(?mi)^` + field + `:.*$`).FindString(text)
		if line == "" {
			return fmt.Errorf("the bounce has no %s:\n%s", field, text)
		}
		fmt.Println("   ", strings.TrimSpace(line))
	}
	if !strings.Contains(text, "bob@"+refusingDomain) {
		return fmt.Errorf("the bounce does not name the recipient:\n%s", text)
	}
	return nil
}

// deferred shows the message that waits.
func deferred(ctx context.Context, _ *world, r *relay) error {
	say("Deferred for %s, where nothing listens: postrider queue ls", closedDomain)
	var list string
	err := until(ctx, "the deferred message in the queue", func() bool {
		out, err := r.cli(ctx, "queue", "ls")
		list = out
		return err == nil && strings.Contains(out, r.ids["carol@"+closedDomain]) && strings.Contains(out, "refused") &&
			strings.Count(strings.TrimSpace(out), "\n") == 1
	})
	fmt.Print(indent(list))
	return err
}

// table shows the resources as kubectl does, once they say what they should.
func table(ctx context.Context, _ *world, r *relay) error {
	say("What kubectl get mr,sd,rlp would show: postrider status")
	var out string
	err := until(ctx, "a true status", func() bool {
		var err error
		out, err = r.cli(ctx, "status")
		return err == nil && !slices.ContainsFunc(truths(), func(r *regexp.Regexp) bool { return !r.MatchString(out) })
	})
	fmt.Print(indent(out))
	return err
}

// truths are what the status must say: one recipient in the queue, everything ready, the keys found in DNS, the
// limit in force.
func truths() []*regexp.Regexp {
	return []*regexp.Regexp{
		regexp.MustCompile(`outbound +True +Serving +1 +1 +1 `),
		regexp.MustCompile(`shop +shop.example +outbound +True +\S+ +Pass +(Pass|Weak) +Pass `),
		regexp.MustCompile(`gentle .* True +True `),
	}
}

func indent(text string) string {
	text = "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ") + "\n"
	return strings.ReplaceAll(text, "    \n", "\n")
}
