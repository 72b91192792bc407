package listener

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/smtptest"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestAuth(t *testing.T) {
	right := b64("\x00alice\x00secret")
	for name, script := range map[string][]string{
		"PLAIN":                    {"AUTH PLAIN " + right, "235 2.7.0", "MAIL FROM:<> AUTH=<>", "250 2.1.0"},
		"PLAIN in two steps":       {"AUTH plain", "334 ", right, "235 2.7.0"},
		"PLAIN as oneself":         {"AUTH PLAIN " + b64("alice\x00alice\x00secret"), "235 2.7.0"},
		"LOGIN":                    {"AUTH LOGIN", "334 " + b64("Username:"), b64("alice"), "334 " + b64("Password:"), b64("secret"), "235 2.7.0"},
		"LOGIN with a user":        {"AUTH LOGIN " + b64("alice"), "334 " + b64("Password:"), b64("secret"), "235 2.7.0"},
		"twice":                    {"AUTH PLAIN " + right, "235 ", "AUTH PLAIN " + right, "503 5.5.1"},
		"none":                     {"MAIL FROM:<>", "530 5.7.0"},
		"wrong":                    {"AUTH PLAIN " + b64("\x00alice\x00guess"), "535 5.7.8", "MAIL FROM:<>", "530 5.7.0"},
		"foreign identity":         {"AUTH PLAIN " + b64("bob\x00alice\x00secret"), "535 5.7.8", "MAIL FROM:<>", "530 5.7.0"},
		"overload":                 {"AUTH PLAIN " + b64("\x00busy\x00secret"), "454 4.7.0"},
		"bad base64":               {"AUTH PLAIN ***", "501 5.5.2", "AUTH PLAIN", "334 ", "%", "501 5.5.2"},
		"cancelled":                {"AUTH PLAIN", "334 ", "*", "501 5.5.2", "AUTH LOGIN", "334 ", "*", "501 5.5.2"},
		"bad form":                 {"AUTH PLAIN =", "501 5.5.2", "AUTH PLAIN " + b64("alice"), "501 5.5.2", "AUTH LOGIN =", "334 ", b64("x"), "501 5.5.2"},
		"unknown mechanism":        {"AUTH CRAM-MD5", "504 5.5.4", "AUTH", "504 5.5.4"},
		"before EHLO":              {"STARTTLS now", "501 5.5.4", "STARTTLS", "503 5.5.1"},
		"guessing ends":            {"AUTH PLAIN " + b64("\x00a\x001"), "535 ", "AUTH PLAIN " + b64("\x00a\x002"), "535 ", "AUTH PLAIN " + b64("\x00a\x003"), "535 "},
		"not within a transaction": {"AUTH PLAIN " + right, "235 ", "MAIL FROM:<>", "250 ", "AUTH PLAIN " + right, "503 5.5.1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, config.ModeSubmission, config.TLSRequired, nil)
			p := r.encrypted()
			p.do(script...)
			if name == "guessing ends" {
				p.expect("421 4.7.0")
				p.expectEnd()
			}
		})
	}
}

// TestAuthUserIsKnown: the Handler sees who it was, and that TLS was there.
func TestAuthUserIsKnown(t *testing.T) {
	for _, mode := range []config.TLSMode{config.TLSRequired, config.TLSImplicit} {
		r := serve(t, config.ModeSubmission, mode, nil)
		p := r.encrypted()
		p.do("AUTH PLAIN "+b64("\x00alice\x00secret"), "235 ")
		p.begin()
		p.do("Subject: x\r\n\r\n.", "250 ")
		if s := r.handler.all()[0]; s.User != "alice" || s.TLS == nil || s.TLS.Version != "TLS1.3" {
			t.Errorf("%s: user %q, TLS %v", mode, s.User, s.TLS)
		}
	}
}

// TestCredentialsThatHaveChanged: an open session begins no transaction with a password that is not the user's any more;
// one that has begun goes on.
func TestCredentialsThatHaveChanged(t *testing.T) {
	r := serve(t, config.ModeSubmission, config.TLSRequired, nil)
	p := r.encrypted()
	p.do("AUTH PLAIN "+b64("\x00alice\x00secret"), "235 ")
	p.begin()
	s := *r.settings.Load()
	s.Auth = passwords{changed: true}
	r.Reconfigure(s)
	p.do("Subject: x\r\n\r\n.", "250 ", "MAIL FROM:<>", "454 4.7.0")
	s.Auth = nil
	r.Reconfigure(s)
	p.do("MAIL FROM:<>", "454 4.7.0")
}

// TestNothingSecretInClear: attacks, row 20, and what TLS Required means.
func TestNothingSecretInClear(t *testing.T) {
	serve(t, config.ModeSubmission, config.TLSRequired, nil).greeted().
		do("AUTH PLAIN "+b64("\x00alice\x00secret"), "538 5.7.11", "MAIL FROM:<>", "530 5.7.0 Must issue")
	serve(t, config.ModeRelay, config.TLSRequired, nil).greeted().do("MAIL FROM:<>", "530 5.7.0 Must issue")
	serve(t, config.ModeRelay, config.TLSOpportunistic, nil).greeted().do("MAIL FROM:<>", "250 ")
	serve(t, config.ModeSubmission, config.TLSOpportunistic, nil).greeted().do("MAIL FROM:<>", "530 5.7.0 Auth")
}

// TestStartTLSForgets: what was said in clear is void (RFC 3207 §4.2).
func TestStartTLSForgets(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSOpportunistic, nil)
	p := r.greeted()
	p.do("MAIL FROM:<evil@example.com>", "250 ", "STARTTLS", "220 ")
	p.secure(r.tls())
	p.do("RCPT TO:<b@example.org>", "503 5.5.1", "MAIL FROM:<>", "503 5.5.1", "EHLO a.example", "250 ", "STARTTLS", "503 5.5.1")
}

func TestOldTLSIsRefused(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSOpportunistic, nil)
	p := r.greeted()
	p.do("STARTTLS", "220 ")
	old := r.tls()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if err := tls.Client(p.Conn, old).Handshake(); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}

func withoutCertificate(o *Options) {
	o.Listener.CertFile = "missing.pem"
}

// TestWithoutCertificate: trouble of ours is temporary for the client, and visible in the status.
func TestWithoutCertificate(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSRequired, withoutCertificate)
	p := r.greeted()
	expectOffers(t, p, "")
	p.do("STARTTLS", "454 4.7.0", "MAIL FROM:<>", "451 4.7.0")
	if s := r.Status(); !strings.Contains(s.Error, "missing.pem") || !s.CertificateExpires.IsZero() {
		t.Errorf("status %+v", s)
	}
}

func TestImplicitTLSWaitsForCertificate(t *testing.T) {
	r := serve(t, config.ModeSubmission, config.TLSImplicit, withoutCertificate)
	select {
	case <-r.Ready():
		t.Fatal("the port is open without a certificate")
	case <-time.After(10 * time.Millisecond):
	}
	if s := r.Status(); s.Address != "" || s.Error == "" {
		t.Errorf("status %+v", s)
	}
	s := *r.settings.Load()
	s.Listener.CertFile = "cert.pem"
	r.Reconfigure(s)
	r.greeted()
	if s := r.Status(); s.Address == "" || s.Error != "" || s.CertificateExpires.Before(time.Now()) {
		t.Errorf("status %+v", s)
	}
}

// TestCertificateIsReplaced: the files change; sessions stay, new ones get the new certificate, and a bad pair does
// no harm.
func TestCertificateIsReplaced(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSOpportunistic, nil)
	old := r.encrypted()
	before := r.ca
	r.ca = smtptest.NewCA()
	r.writeCertificate()
	r.Reconfigure(*r.settings.Load())
	r.encrypted()
	old.do("NOOP", "250 ")

	if err := os.WriteFile(filepath.Join(r.dir, "cert.pem"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.certificate.checked = time.Time{} // as if a second had passed
	r.encrypted()
	if s := r.Status(); !strings.Contains(s.Error, "certificate") || s.CertificateExpires.IsZero() {
		t.Errorf("status %+v", s)
	}
	p := r.greeted()
	p.do("STARTTLS", "220 ")
	r.ca = before
	if err := tls.Client(p.Conn, r.tls()).Handshake(); err == nil {
		t.Error("the old certificate is still in use")
	}
}

// TestTLSIsResumed: a client that comes back need not shake hands at full length.
func TestTLSIsResumed(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSOpportunistic, nil)
	c := r.tls()
	c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for _, want := range []bool{false, true} {
		p := r.greeted()
		p.do("STARTTLS", "220 ")
		secured := tls.Client(p.Conn, c)
		if err := secured.Handshake(); err != nil {
			t.Fatal(err)
		}
		if got := secured.ConnectionState().DidResume; got != want {
			t.Errorf("resumed: %t, want %t", got, want)
		}
		// The ticket comes with what is read next.
		if _, err := fmt.Fprint(secured, "NOOP\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := secured.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReconfigure(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	old := r.greeted()
	s := *r.settings.Load()
	s.Hostname, s.MaxBytes = "mx2.example.com", 77
	r.Reconfigure(s)
	old.do("EHLO a.example", "250 SIZE 1048576")
	p := r.dial()
	p.expect("220 mx2.example.com ESMTP")
	p.do("EHLO a.example", "250 SIZE 77")
}

func TestShutdown(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	idle, busy := r.greeted(), r.greeted()
	busy.do("MAIL FROM:<>", "250 ")
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	idle.expect("421 4.3.2")
	idle.expectEnd()
	busy.do("RCPT TO:<b@example.org>", "250 ", "DATA", "354 ", "Subject: x\r\n\r\n.", "250 2.0.0")
	busy.expect("421 4.3.2")
	busy.expectEnd()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(r.handler.all()) != 1 {
		t.Error("the message in flight is gone")
	}
}

// TestDrain: the port stays open, and who comes hears why it is of no use now.
func TestDrain(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	idle, busy := r.greeted(), r.greeted()
	busy.do("MAIL FROM:<>", "250 ")
	done := make(chan error, 1)
	go func() { done <- r.Drain(context.Background()) }()
	idle.expect("421 4.3.2")
	late := r.dial()
	late.expect("421 4.3.2")
	late.expectEnd()
	busy.do("RCPT TO:<b@example.org>", "250 ", "DATA", "354 ", "Subject: x\r\n\r\n.", "250 2.0.0")
	busy.expect("421 4.3.2")
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.dial().expect("421 4.3.2")
	if err := r.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", r.Status().Address); err == nil {
		_ = c.Close()
		t.Error("the port is open after Shutdown")
	}
	if len(r.handler.all()) != 1 {
		t.Error("the message in flight is gone")
	}
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	p := r.greeted()
	p.begin()
	p.send("Subject: x\r\n\r\nhalf")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := r.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	if n := len(r.handler.all()); n != 0 {
		t.Errorf("%d messages kept", n)
	}
}

// TestPortTaken: a port that cannot be opened stands in the status, and is opened when it is free.
func TestPortTaken(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	<-r.Ready()
	o := r.options
	o.Listener.Port = r.listener.Addr().(*net.TCPAddr).Port
	second := New(o)
	if second.listen(t.Context()) || second.Status().Error == "" || second.Status().Address != "" {
		t.Errorf("a port that is taken was opened: %+v", second.Status())
	}
	if err := r.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !second.listen(t.Context()) || second.Status().Error != "" || second.Status().Address == "" {
		t.Errorf("a port that is free was not opened: %+v", second.Status())
	}
	if err := second.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestServeEndsWithItsContext: at once, whatever sessions do.
func TestServeEndsWithItsContext(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	second := New(r.options)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- second.Serve(ctx) }()
	<-second.Ready()
	other := &rig{Listener: second, t: t}
	p := other.greeted()
	cancel()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Errorf("Serve: %v", err)
	}
	p.expectEnd()
}
