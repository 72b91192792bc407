package listener

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/relay/smtptest"
)

// TestGoSMTPTakesCutMessages is why the session is our own: a chunk of 1,000 octets, 10 of them, and a polite end of
// the connection reach go-smtp's backend as a whole message. Behind STARTTLS nothing outside the library can see
// that end, and CHUNKING cannot be switched off. When this test fails, the library deserves another look.
func TestGoSMTPTakesCutMessages(t *testing.T) {
	ca := smtptest.NewCA()
	taken := make(chan error, 1)
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return cutSession{taken}, nil }))
	server.TLSConfig = ca.ServerTLS("mx.example.com")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	defer func() { _ = server.Close() }()

	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, Conn: c, raw: c, in: bufio.NewReader(c)}
	p.expect("220 ")
	p.do("EHLO a.example", "250 ", "STARTTLS", "220 ")
	p.secure(&tls.Config{RootCAs: ca.Pool(), ServerName: "mx.example.com"})
	p.do("EHLO a.example", "250 ", "MAIL FROM:<>", "250 ", "RCPT TO:<b@example.org>", "250 ")
	p.send("BDAT 1000 LAST\r\n0123456789")
	_ = p.Conn.(*tls.Conn).CloseWrite()
	if err := <-taken; err != nil {
		t.Errorf("go-smtp noticed that the message was cut: %v", err)
	}
}

type cutSession struct{ taken chan error }

func (cutSession) Mail(string, *smtp.MailOptions) error { return nil }
func (cutSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (cutSession) Reset()                               {}
func (cutSession) Logout() error                        { return nil }

func (s cutSession) Data(body io.Reader) error {
	_, err := io.Copy(io.Discard, body)
	s.taken <- err
	return nil
}
