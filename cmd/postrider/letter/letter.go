// Package letter hands a test message to a listener, over a connection that it is given, and tells each step. It refuses to
// know where the listener is and what becomes of the message.
package letter

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"
)

// Letter is a test message.
type Letter struct {
	From, To string
	// Subject is one line.
	Subject string
	Date    time.Time
}

// Way is how it is handed over.
type Way struct {
	// Host is the name that the listener's certificate should have.
	Host string
	// TLS is what the listener does: the words of a MailRelay's listeners.tls.mode.
	TLS TLS
	// User and Password authenticate; without User there is no AUTH.
	User, Password string
	// Say is told of each step, in words.
	Say func(format string, args ...any)
	// TimeLimit is for the whole conversation.
	TimeLimit time.Duration
}

// TLS is how a listener uses TLS.
type TLS int

const (
	// None is in clear.
	None TLS = iota
	// StartTLS begins in clear (RFC 3207).
	StartTLS
	// Implicit is TLS from the first octet (RFC 8314).
	Implicit
)

// queuedAs begins what a relay answers to a message that it has taken.
const queuedAs = "queued as "

// Hand hands a letter over and returns the spool id that the relay gave it. It closes the connection.
func Hand(conn net.Conn, l Letter, way Way) (id string, err error) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(way.TimeLimit)); err != nil {
		return "", err
	}
	c, err := way.greet(conn)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }() // the connection is closed in any case
	if err := way.authenticate(c); err != nil {
		return "", err
	}
	text, err := l.text()
	if err != nil {
		return "", err
	}
	reply, err := send(c.Text, l, text)
	if err != nil {
		return "", err
	}
	way.Say("taken: %s", reply)
	_ = c.Quit() // the message is taken, whatever comes of this
	_, named, _ := strings.Cut(reply, queuedAs)
	if words := strings.Fields(named); len(words) > 0 {
		return words[0], nil
	}
	return "", fmt.Errorf("the reply names no spool id: %s", reply)
}

// greet reads the greeting, says EHLO, and does TLS.
func (w *Way) greet(conn net.Conn) (*smtp.Client, error) {
	if w.TLS == Implicit {
		secured := tls.Client(conn, w.config())
		if err := secured.Handshake(); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		conn = secured
	}
	c, err := smtp.NewClient(conn, w.Host)
	if err != nil {
		return nil, fmt.Errorf("greeting: %w", err)
	}
	if err := c.Hello("postrider.invalid"); err != nil {
		return nil, fmt.Errorf("EHLO: %w", err)
	}
	w.Say("connected: the relay greets and answers EHLO")
	if w.TLS != StartTLS {
		return c, nil
	}
	if err := c.StartTLS(w.config()); err != nil {
		return nil, fmt.Errorf("STARTTLS: %w", err)
	}
	return c, nil
}

// config does not insist on a certificate that this machine trusts: the way to the relay is the API server's, or this
// machine's own. What a client would think of the certificate is told.
func (w *Way) config() *tls.Config {
	return &tls.Config{ServerName: w.Host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, VerifyConnection: w.judge}
}

// judge tells what a client of the relay would think of its certificate.
func (w *Way) judge(state tls.ConnectionState) error {
	leaf := state.PeerCertificates[0]
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	verdict := "trusted here"
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: w.Host, Intermediates: between}); err != nil {
		verdict = "not trusted here: " + err.Error()
	}
	w.Say("%s, certificate for %s until %s, %s", tls.VersionName(state.Version), strings.Join(leaf.DNSNames, ", "),
		leaf.NotAfter.UTC().Format(time.RFC3339), verdict)
	return nil
}

func (w *Way) authenticate(c *smtp.Client) error {
	if w.User == "" {
		return nil
	}
	if _, secured := c.TLSConnectionState(); !secured {
		return errors.New("AUTH: the listener speaks no TLS; no password is sent in clear")
	}
	if err := c.Auth(smtp.PlainAuth("", w.User, w.Password, w.Host)); err != nil {
		return fmt.Errorf("AUTH as %s: %w", w.User, err)
	}
	w.Say("authenticated as %s", w.User)
	return nil
}

// send says MAIL, RCPT and DATA, and returns the reply to the message.
func send(c *textproto.Conn, l Letter, text string) (string, error) {
	for _, step := range []struct {
		command string
		code    int
	}{{"MAIL FROM:<" + l.From + ">", 250}, {"RCPT TO:<" + l.To + ">", 250}, {"DATA", 354}} {
		if _, err := ask(c, step.code, step.command); err != nil {
			return "", err
		}
	}
	w := c.DotWriter()
	if _, err := bufio.NewReader(strings.NewReader(text)).WriteTo(w); err != nil {
		return "", fmt.Errorf("message: %w", err)
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("message: %w", err)
	}
	_, reply, err := c.ReadResponse(250)
	if err != nil {
		return "", fmt.Errorf("message: %w", err)
	}
	return reply, nil
}

func ask(c *textproto.Conn, code int, command string) (string, error) {
	id, err := c.Cmd("%s", command)
	if err != nil {
		return "", err
	}
	c.StartResponse(id)
	defer c.EndResponse(id)
	_, reply, err := c.ReadResponse(code)
	if err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	return reply, nil
}

// text is the message. What it says of itself keeps filters and people from taking it for something else.
func (l Letter) text() (string, error) {
	for _, address := range []string{l.From, l.To} {
		if _, err := mail.ParseAddress("<" + address + ">"); err != nil {
			return "", fmt.Errorf("%q is no address: %w", address, err)
		}
	}
	if strings.ContainsAny(l.Subject, "\r\n") {
		return "", errors.New("the subject must be one line")
	}
	domain := l.From[strings.LastIndexByte(l.From, '@')+1:]
	return fmt.Sprintf("From: <%s>\nTo: <%s>\nSubject: %s\nDate: %s\nMessage-ID: <%s.test@%s>\nAuto-Submitted: auto-generated\n"+
		"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\nA test message, sent with postrider test-send.\n",
		l.From, l.To, l.Subject, l.Date.Format(time.RFC1123Z), rand.Text(), domain), nil
}
