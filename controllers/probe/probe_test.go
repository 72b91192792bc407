package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const name = "outbound.mail.relay.postrider.internal"

// issue makes a self-signed certificate that stands for itself as an authority.
func issue(t *testing.T, host string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		DNSNames:              []string{host},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}
}

func pool(c tls.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.Leaf)
	return p
}

// pod is a relay's door: it answers with handler to whoever shows the operator's certificate.
type pod struct {
	client      *Client
	connections atomic.Int32
}

func newPod(t *testing.T, handler http.HandlerFunc) *pod {
	t.Helper()
	server, operator := issue(t, name), issue(t, "operator")
	return newPodWith(t, handler, server, operator, operator)
}

func newPodWith(t *testing.T, handler http.HandlerFunc, server, operator, trusted tls.Certificate) *pod {
	t.Helper()
	p := &pod{}
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{
		Certificates: []tls.Certificate{server},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool(trusted),
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			p.connections.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	p.client = New(Options{
		Credentials: func() Credentials { return Credentials{Certificate: operator, Roots: pool(server)} },
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.Listener.Addr().String())
		},
	})
	t.Cleanup(p.client.http.CloseIdleConnections)
	return p
}

func target() Target { return Target{Pod: "outbound-0", Address: "10.1.2.3", ServerName: name} }

func answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/status" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, body)
	}
}

func TestStatusReusesTheConnection(t *testing.T) {
	p := newPod(t, answer(`{"pod":"outbound-0","generation":7,"queue":{"queued":3}}`))
	for range 3 {
		s, err := p.client.Status(t.Context(), target())
		if err != nil {
			t.Fatal(err)
		}
		if s.Generation != 7 || s.Queue.Queued != 3 {
			t.Errorf("got %+v", s)
		}
	}
	if n := p.connections.Load(); n != 1 {
		t.Errorf("%d connections for three questions", n)
	}
}

func TestUnreachable(t *testing.T) {
	server, operator := issue(t, name), issue(t, "operator")
	tests := map[string]struct {
		pod  *pod
		want string
	}{
		"not JSON":     {newPod(t, answer("hello")), "decoding"},
		"another pod":  {newPod(t, answer(`{"pod":"outbound-1"}`)), `"outbound-1"`},
		"endless":      {newPod(t, answer(strings.Repeat(" ", maxBytes+1))), "longer"},
		"server error": {newPod(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }), "503"},
		"redirect": {newPod(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://192.0.2.1/", http.StatusFound)
		}), "302"},
		"certificate of another relay": {newPodWith(t, answer(`{}`), issue(t, "other"), operator, operator), "valid for other"},
		"operator unknown to the pod":  {newPodWith(t, answer(`{}`), server, operator, issue(t, "x")), "certificate"},
	}
	for label, test := range tests {
		t.Run(label, func(t *testing.T) {
			s, err := test.pod.client.Status(t.Context(), target())
			var unreachable *UnreachableError
			if !errors.As(err, &unreachable) || unreachable.Pod != "outbound-0" || s != nil {
				t.Fatalf("got %v, %v", s, err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v does not say %q", err, test.want)
			}
		})
	}
}

// A connection that was made for one relay's pod is not believed to be another's, though the address is.
func TestKeptConnectionIsHeldAgainstTheName(t *testing.T) {
	p := newPod(t, answer(`{"pod":"outbound-0"}`))
	if _, err := p.client.Status(t.Context(), target()); err != nil {
		t.Fatal(err)
	}
	other := target()
	other.ServerName = "outbound.tenant.relay.postrider.internal"
	if _, err := p.client.Status(t.Context(), other); err == nil {
		t.Error("the certificate of another relay was accepted")
	}
}

func TestDialFailure(t *testing.T) {
	refused := errors.New("refused")
	c := New(Options{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, refused }})
	if _, err := c.Status(t.Context(), target()); !errors.Is(err, refused) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func TestTimeout(t *testing.T) {
	p := newPod(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.client.Status(ctx, target()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", fmt.Sprint(err))
	}
}
