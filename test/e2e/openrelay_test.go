//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// A stranger asks in every known way, at every listener, to have mail relayed, and is refused each time.
func TestOpenRelay(t *testing.T) {
	s := newSetup(t, "open-relay", options{})
	for _, listener := range []string{"25", "587", "465"} {
		for _, starttls := range []bool{false, true} {
			if starttls && listener == "465" {
				continue // it is TLS from the first octet
			}
			t.Run(fmt.Sprintf("%s starttls=%v", listener, starttls), func(t *testing.T) {
				for _, ask := range s.asks() {
					s.refused(t, listener, starttls, ask)
				}
			})
		}
	}
	eventually(t, 20*time.Second, "nothing was accepted", func() error {
		st, err := s.podStatus(0)
		if err == nil && st.Ledger.Accepted != 0 {
			err = fmt.Errorf("ledger %+v", st.Ledger)
		}
		return err
	})
	s.swaks(t, "who has a password may")
	eventually(t, 20*time.Second, "delivered", func() error { return s.delivered(1) })
}

// ask is one attempt to be relayed: a reverse path and a forward path, as they stand in MAIL and RCPT.
type ask struct{ from, to string }

// asks are the classic ways, each to a victim at another host.
func (s setup) asks() []ask {
	victim := "victim@" + s.to
	percent := strings.ReplaceAll(victim, "@", "%")
	bang := s.to + "!victim"
	literal := "[" + s.address + "]"
	stranger := "<stranger@evil.test>"
	return []ask{
		{stranger, "<" + victim + ">"},
		{"<>", "<" + victim + ">"},
		{"<sender@" + s.domain + ">", "<" + victim + ">"},
		{"<stranger@" + s.hostname + ">", "<" + victim + ">"},
		{"<stranger@" + literal + ">", "<" + victim + ">"},
		{"<stranger@localhost>", "<" + victim + ">"},
		{"<postmaster>", "<" + victim + ">"},
		{"<" + victim + ">", "<" + victim + ">"},
		{stranger, "<" + strings.ToUpper(victim) + ">"},
		{stranger, "<" + victim + ".>"},
		{stranger, `<"` + victim + `">`},
		{stranger, `<"` + percent + `">`},
		{stranger, "<" + percent + "@" + s.hostname + ">"},
		{stranger, "<" + percent + "@" + literal + ">"},
		{stranger, `<"` + victim + `"@` + s.hostname + ">"},
		{stranger, "<" + victim + "@" + s.hostname + ">"},
		{stranger, "<" + victim + "@" + literal + ">"},
		{stranger, "<@" + s.hostname + ":" + victim + ">"},
		{stranger, "<@" + literal + ":" + victim + ">"},
		{stranger, "<" + bang + ">"},
		{stranger, "<" + bang + "@" + s.hostname + ">"},
		{stranger, "<" + bang + "@" + literal + ">"},
		{stranger, "<victim@[" + nodeIP + "]>"},
		{stranger, "<" + victim + "> ORCPT=rfc822;" + victim},
		{stranger, "<postmaster@" + s.to + ">"},
	}
}

// refused opens a connection for one attempt: MAIL or RCPT must be answered 4xx or 5xx.
func (s setup) refused(t *testing.T, port string, starttls bool, a ask) {
	t.Helper()
	connection, err := s.dial(port)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	session := &session{Conn: connection, in: textproto.NewReader(bufio.NewReader(connection))}
	session.expect(t, "", 2)
	session.expect(t, "EHLO evil.test", 2)
	if starttls {
		session.expect(t, "STARTTLS", 2)
		session = session.secure(s.hostname)
		session.expect(t, "EHLO evil.test", 2)
	}
	if session.say(t, "MAIL FROM:"+a.from) >= 400 {
		return
	}
	if code := session.say(t, "RCPT TO:"+a.to); code < 400 {
		t.Errorf("port %s, starttls %v: from %s to %s is relayed (%d)", port, starttls, a.from, a.to, code)
	}
}

func (s setup) dial(port string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if port == "465" {
		return tls.DialWithDialer(dialer, "tcp", s.service(port), &tls.Config{RootCAs: world.ca.Pool(), ServerName: s.hostname})
	}
	return dialer.Dial("tcp", s.service(port))
}

// session is a conversation line by line, without a client library that would mend what we say.
type session struct {
	net.Conn
	in *textproto.Reader
}

// say sends a command (none if it is empty) and returns the code of the answer.
func (s *session) say(t *testing.T, command string) int {
	t.Helper()
	if command != "" {
		if _, err := fmt.Fprintf(s, "%s\r\n", command); err != nil {
			t.Fatal(err)
		}
	}
	code, _, err := s.in.ReadResponse(0)
	if err != nil {
		t.Fatalf("after %q: %v", command, err)
	}
	return code
}

// expect is say for a command that must be answered with a code of that class.
func (s *session) expect(t *testing.T, command string, class int) {
	t.Helper()
	if code := s.say(t, command); code/100 != class {
		t.Fatalf("%q is answered %d", command, code)
	}
}

func (s *session) secure(name string) *session {
	connection := tls.Client(s.Conn, &tls.Config{RootCAs: world.ca.Pool(), ServerName: name})
	return &session{Conn: connection, in: textproto.NewReader(bufio.NewReader(connection))}
}
