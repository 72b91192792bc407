package relay_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

// TestReceivesAsConfigured: what the configuration says about proxies, hidden clients and bare line feeds is in force,
// and what comes in chunks goes out whole.
func TestReceivesAsConfigured(t *testing.T) {
	sink := newSink(t, smtptest.Options{})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		l := &r.config.Relay.Listeners[0]
		l.ProxyCIDRs, l.HideClient = []string{"127.0.0.0/8"}, true
		r.config.Relay.Access.TrustedCIDRs = []string{"192.0.2.7/32"}
		r.config.Relay.Queue.BareNewline = config.BareNewlineNormalize
	})
	r.domain("example.net", "127.0.0.1")
	text := "From: a@example.org\nSubject: x\n\nfirst\n.\r\nlast"
	if got := r.speak("PROXY TCP4 192.0.2.7 198.51.100.1 1 25\r\n", "EHLO client.example", "MAIL FROM:<a@example.org> SMTPUTF8",
		"RCPT TO:<b@example.net>", fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text)); !strings.HasPrefix(got, "250 2.0.0 queued as ") {
		t.Errorf("a trusted client was answered %q", got)
	}
	if got := r.speak("PROXY TCP4 192.0.2.8 198.51.100.1 1 25\r\n", "EHLO client.example", "MAIL FROM:<a@example.org>",
		"RCPT TO:<b@example.net>"); !strings.HasPrefix(got, "550 5.7.1") {
		t.Errorf("a stranger was answered %q", got)
	}
	r.drained()
	got := string(sink.Messages()[0].Data)
	if !strings.HasPrefix(got, "Received: by out.relay.example (Postrider)\r\n\twith UTF8SMTP id ") || strings.Contains(got, "client.example") ||
		strings.Contains(got, "192.0.2.7") || !strings.HasSuffix(got, "\r\nFrom: a@example.org\r\nSubject: x\r\n\r\nfirst\r\n.\r\nlast\r\n") {
		t.Errorf("delivered:\n%s", got)
	}
}

// TestShellTextIsInert: attacks, row 9. An address is data everywhere: on the wire, in a DSN, in metrics.
func TestShellTextIsInert(t *testing.T) {
	addresses := []string{"${reboot}`reboot`|x@example.net", `"; reboot; \"<script>"@example.net`, "{{.Reboot}}%s%n@example.net", `"../../reboot"@example.net`}
	refused := `"reboot > /etc/passwd"@example.net`
	sink := newSink(t, smtptest.Options{Replies: map[string]reply.Reply{refused: {Code: 550, Enhanced: "5.1.1", Text: "no"}}})
	r := newRig(t, func(r *rig) { r.routeTo(sink.Port()) })
	r.domain("example.net", "127.0.0.1")
	r.domain("example.org", "127.0.0.1")
	commands := []string{"EHLO client.example", "MAIL FROM:<'reboot`{}@example.org>"}
	for _, address := range append(addresses, refused) {
		commands = append(commands, "RCPT TO:<"+address+">")
	}
	commands = append(commands, "DATA", "From: a@example.org\r\n\r\nbody\r\n.")
	if got := r.speak("", commands...); !strings.HasPrefix(got, "250 ") {
		t.Fatal(got)
	}
	r.drained()
	var to []string
	for _, m := range sink.Messages() {
		if m.From != "" {
			to = append(to, m.To...)
			continue
		}
		if text := string(m.Data); m.To[0] != "'reboot`{}@example.org" || !strings.Contains(text, "\r\nFinal-Recipient: rfc822; "+refused+"\r\n") {
			t.Errorf("the DSN for <%s>:\n%s", m.To[0], text)
		}
	}
	slices.Sort(to)
	slices.Sort(addresses)
	if !slices.Equal(to, addresses) || len(sink.Messages()) != 2 {
		t.Errorf("%d messages, to %q", len(sink.Messages()), to)
	}
	if m := r.metrics(); strings.Contains(m, "eboot") {
		t.Error("an address stands in the metrics")
	}
}

// speak sends a prefix and, in turn, commands to the smtp listener, and returns the last reply.
func (r *rig) speak(prefix string, commands ...string) string {
	r.t.Helper()
	c, err := net.Dial("tcp", r.address("smtp"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	_, _ = io.WriteString(c, prefix)
	reply := lastLine(r.t, in)
	for _, command := range commands {
		_, _ = io.WriteString(c, command)
		if !strings.HasPrefix(command, "BDAT") {
			_, _ = io.WriteString(c, "\r\n")
		}
		reply = lastLine(r.t, in)
	}
	return reply
}

func lastLine(t *testing.T, in *bufio.Reader) string {
	t.Helper()
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if len(line) > 3 && line[3] == ' ' {
			return line
		}
	}
}
