//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"testing"
	"time"
)

// A listener's certificate is replaced while mail comes in over TLS: new connections get the new one, and those that are open
// go on. All that was answered 250 arrives.
func TestCertificateRotation(t *testing.T) {
	s := newSetup(t, "certificates", options{replicas: 2, trusted: []string{"10.213.0.0/24", "10.214.0.0/24"}})
	l := &load{setup: s, pause: 50 * time.Millisecond, tls: &tls.Config{RootCAs: world.ca.Pool(), ServerName: s.hostname, MinVersion: tls.VersionTLS12}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(ctx, 6)
	}()
	t.Cleanup(func() { stop(); <-ended })
	eventually(t, 30*time.Second, "load flows", func() error { return l.atLeast(100) })

	before, err := s.serials(l.tls)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := world.ca.PairPEM(s.hostname)
	encode := base64.StdEncoding.EncodeToString
	must(t)(kubectl("patch", "secret", "relay-tls", "-n", s.namespace, "-p",
		fmt.Sprintf(`{"data":{"tls.crt":%q,"tls.key":%q}}`, encode(cert), encode(key))))
	took := eventually(t, 150*time.Second, "new connections get the new certificate", func() error {
		// Which pod answers is the Service's choice: each of a few connections must get it.
		for range 8 {
			now, err := s.serials(l.tls)
			if err != nil {
				return err
			}
			if now[0] == before[0] || now[1] == before[1] {
				return fmt.Errorf("serial numbers %v, before %v", now, before)
			}
		}
		return nil
	})
	at := l.count()
	eventually(t, 30*time.Second, "load flows on", func() error { return l.atLeast(at + 200) })
	stop()
	<-ended
	if len(l.errors) > 0 {
		t.Errorf("%d connections were broken, such as by %v", len(l.errors), l.errors[0])
	}
	eventually(t, 120*time.Second, "queue drained", func() error { return errors.Join(s.queued(0), s.relayReady()) })
	duplicates := l.lossless(t, 60*time.Second)
	if duplicates > 0 {
		t.Errorf("%d duplicates", duplicates)
	}
	t.Logf("accepted %d over connections that stayed open, lost 0, duplicates %d; the new certificate was in use after %.1f s", l.count(), duplicates, took.Seconds())
}

// serials are the serial numbers of the certificates that new connections get, by STARTTLS and at the port that is TLS from the
// first octet.
func (s setup) serials(config *tls.Config) (serials [2]string, err error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	plain, err := dialer.Dial("tcp", s.service("25"))
	if err != nil {
		return serials, err
	}
	defer plain.Close()
	client, err := smtp.NewClient(plain, s.hostname)
	if err != nil {
		return serials, err
	}
	if err := client.StartTLS(config.Clone()); err != nil {
		return serials, err
	}
	state, _ := client.TLSConnectionState()
	implicit, err := tls.DialWithDialer(dialer, "tcp", s.service("465"), config.Clone())
	if err != nil {
		return serials, err
	}
	defer implicit.Close()
	return [2]string{state.PeerCertificates[0].SerialNumber.String(), implicit.ConnectionState().PeerCertificates[0].SerialNumber.String()}, client.Quit()
}

// atLeast checks that so many messages were accepted.
func (l *load) atLeast(want int) error {
	if n := l.count(); n < want {
		return fmt.Errorf("%d messages accepted", n)
	}
	return nil
}
