// Package token gets the access tokens that a smart host wants in place of a password (OAuth 2.0, RFC 6749): by a
// refresh token, or by the client's own credentials. It keeps a token for as long as it is good. It writes nothing to
// disk: a refresh token that the server replaced is known until the process ends.
package token

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// Settings say how tokens are got. Equal ones get equal tokens.
type Settings struct {
	// URL is the token endpoint.
	URL string
	// ClientID and ClientSecret name the client; without a secret it is a public one.
	ClientID, ClientSecret string
	// RefreshToken is for that grant (RFC 6749 §6); empty for the client's own credentials (§4.4).
	RefreshToken string
	// Scope is a list with spaces between, or empty.
	Scope string
}

const (
	// patience is how long the server may take.
	patience = 10 * time.Second
	// usualLife is that of a token whose life the server does not tell.
	usualLife = 5 * time.Minute
	// margin is how long before its end a token is not used any more.
	margin = time.Minute
	// failureLife is how long a failure is believed, so that many deliveries do not ask a server that is in trouble.
	failureLife = 5 * time.Second
)

// Source gets tokens. It is safe for concurrent use.
type Source struct {
	settings Settings
	client   *http.Client
	now      func() time.Time

	// turn holds one element, the right to the fields below: a question to the server is under it, and who waits for
	// the answer must not wait longer than its context.
	turn    chan struct{}
	token   string
	failure error
	until   time.Time // token or failure are good
	refresh string
	inBody  bool // how the client proves who it is
}

// New returns a source that has asked nothing yet. Its error says why the settings cannot be used: credentials must
// not travel in clear, but to this machine itself.
func New(s Settings) (*Source, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, fmt.Errorf("tokenURL: %w", err)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) || u.Hostname() == "" {
		return nil, fmt.Errorf("tokenURL: %q is not https", s.URL)
	}
	return &Source{
		settings: s,
		client:   newClient(),
		now:      time.Now,
		turn:     make(chan struct{}, 1),
		refresh:  s.RefreshToken,
	}, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// newClient follows no redirection, which would carry the credentials elsewhere, and keeps no connection for the next
// time, which is an hour away.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: patience}).DialContext,
			TLSHandshakeTimeout: patience,
			DisableKeepAlives:   true,
			ForceAttemptHTTP2:   true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Token returns a token that is good now. Its error is temporary: the server may answer the next time. One question
// is asked at a time, and all who wait get its answer.
func (s *Source) Token(ctx context.Context) (string, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", fmt.Errorf("wait for an access token: %w", context.Cause(ctx))
	}
	if s.now().Before(s.until) {
		return s.token, s.failure
	}
	answer, err := s.ask(ctx)
	if err != nil && ctx.Err() != nil {
		return "", err // that says nothing about the server
	}
	s.keep(answer, err)
	return s.token, s.failure
}

func (s *Source) keep(a answer, err error) {
	now := s.now()
	if err != nil {
		s.token, s.failure, s.until = "", err, now.Add(failureLife)
		return
	}
	life := min(time.Duration(a.ExpiresIn)*time.Second, 24*time.Hour)
	if life <= 0 {
		life = usualLife
	}
	s.token, s.failure, s.until = a.AccessToken, nil, now.Add(life-min(margin, life/2))
	if a.RefreshToken != "" {
		s.refresh = a.RefreshToken
	}
}

// Forget has a token that a next hop refused replaced, if it is still the one in use.
func (s *Source) Forget(token string) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.token == token {
		s.until = time.Time{}
	}
}
