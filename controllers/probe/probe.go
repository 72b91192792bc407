// Package probe owns the question "how are you" from the operator to one relay pod: an HTTPS request with
// client certificates, bounded in time and size. It refuses to judge the answer, and never takes silence for
// an empty queue: a pod that does not answer is an UnreachableError.
package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/postrider/postrider/relay/status"
)

// Port is where a relay answers the operator.
const Port = "8443"

const (
	timeout  = 3 * time.Second
	idle     = time.Minute
	maxBytes = 1 << 20
)

// UnreachableError says that a pod gave no usable answer, so that nothing is known about it.
type UnreachableError struct {
	Pod string
	Err error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("asking pod %s for its status: %v", e.Pod, e.Err)
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Target is one pod.
type Target struct {
	// Pod is its name; an answer of any other pod is refused.
	Pod string
	// Address is its IP address.
	Address string
	// ServerName is the name that its certificate must hold.
	ServerName string
}

// Credentials are the operator's certificate and whom it trusts.
type Credentials struct {
	Certificate tls.Certificate
	Roots       *x509.CertPool
}

// Options for New.
type Options struct {
	// Credentials are asked for at each new connection, so that renewed ones are used.
	Credentials func() Credentials
	// Dial opens the connection to Address:Port; nil for the network's own.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client asks pods. It keeps connections open between questions and may be used by many goroutines.
type Client struct {
	http *http.Client
}

// New returns a client.
func New(o Options) *Client {
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	transport := &http.Transport{
		DialTLSContext:         o.dialTLS,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        idle,
		MaxResponseHeaderBytes: 16 << 10,
		DisableCompression:     true,
	}
	return &Client{http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

type serverName struct{}

// dialTLS connects and verifies the server under the name that the request's context carries.
func (o Options) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	name, _ := ctx.Value(serverName{}).(string)
	if name == "" {
		return nil, errors.New("no server name to verify")
	}
	conn, err := o.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := o.Credentials()
	secured := tls.Client(conn, &tls.Config{
		ServerName:   name,
		RootCAs:      c.Roots,
		Certificates: []tls.Certificate{c.Certificate},
		MinVersion:   tls.VersionTLS13,
	})
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secured, nil
}

// Status asks a pod for its status, for at most three seconds. Every error is an UnreachableError.
func (c *Client) Status(ctx context.Context, t Target) (*status.Status, error) {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, serverName{}, t.ServerName), timeout)
	defer cancel()
	s, err := c.ask(ctx, t)
	if err != nil {
		return nil, &UnreachableError{Pod: t.Pod, Err: err}
	}
	return s, nil
}

func (c *Client) ask(ctx context.Context, t Target) (*status.Status, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(t.Address, Port)+"/status", nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if err := check(response, t); err != nil {
		return nil, err
	}
	return decode(body, t)
}

// check holds the connection's certificate against the target once more: a kept connection was made for
// whoever had the address at that time.
func check(r *http.Response, t Target) error {
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("it answered %s", r.Status)
	}
	return r.TLS.PeerCertificates[0].VerifyHostname(t.ServerName)
}

func decode(body []byte, t Target) (*status.Status, error) {
	if len(body) > maxBytes {
		return nil, fmt.Errorf("the answer is longer than %d octets", maxBytes)
	}
	var s status.Status
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("decoding the answer: %w", err)
	}
	if s.Pod != t.Pod {
		return nil, fmt.Errorf("it was pod %q that answered", s.Pod)
	}
	return &s, nil
}
