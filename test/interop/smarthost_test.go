//go:build interop

package interop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/smtptest"
	"github.com/postrider/postrider/relay/status"
	"github.com/postrider/postrider/test/peers"
)

// account is the user that the smart hosts know.
const (
	account    = "relay@upstream.test"
	accountKey = "s3cret of the account"
)

// upstream is a Postfix that wants STARTTLS with a private authority's certificate, and AUTH by one mechanism alone, which
// Dovecot checks.
func (p *place) upstream(mechanism string, tokenKey []byte) *peers.Postfix {
	p.t.Helper()
	dovecot, err := peers.StartDovecot(peers.DovecotOptions{Dir: p.path("dovecot"), Address: p.ip(24),
		Users: map[string]string{account: accountKey}, TokenKey: tokenKey})
	p.must(err)
	p.stopAfter(dovecot.Stop)
	p.dns("mx.upstream.test", "A "+p.ip(25))
	return p.postfix(peers.PostfixOptions{Address: p.ip(25), Hostname: "mx.upstream.test", Domain: "upstream.test",
		Extra: strings.Join([]string{
			"smtpd_sasl_auth_enable = yes", "smtpd_sasl_type = dovecot", "smtpd_sasl_authenticated_header = yes",
			fmt.Sprintf("smtpd_sasl_path = inet:%s:%d", p.ip(24), peers.SASLPort), "smtpd_sasl_mechanism_filter = " + mechanism,
			"smtpd_tls_auth_only = yes", "smtpd_recipient_restrictions = permit_sasl_authenticated, reject", "",
		}, "\n")})
}

// toUpstream sends everything there; what stands for %s is a part of the smart host.
const toUpstream = trusting + `
  routes:
  - {name: up, smartHosts: [{host: mx.upstream.test, port: 25, secretRef: {name: up}, caSecretRef: {name: ca}%s}]}
`

func privateCA() string { return secret("ca", map[string]string{"ca.crt": string(world.ca.PEM())}) }

// While the password is wrong mail waits; put right in the Secret, it is used without a restart.
func TestPostfixAsSmartHost(t *testing.T) {
	for _, mechanism := range []string{"plain", "login"} {
		t.Run(mechanism, func(t *testing.T) {
			p := newPlace(t)
			postfix := p.upstream(mechanism, nil)
			credentials := func(password string) string {
				return secret("up", map[string]string{"username": account, "password": password})
			}
			r := p.relay(fmt.Sprintf(toUpstream, ""), privateCA(), credentials("wrong"))
			message := r.sendUp()
			eventually(t, "it waits, and the relay says why", func() error {
				s, err := r.status()
				if err != nil || s.Queue.Deferred == 1 && len(s.Slowest) == 1 && strings.Contains(s.Slowest[0].Reply, "535") {
					return err
				}
				return fmt.Errorf("status is %+v", s)
			})
			r.write(fmt.Sprintf(toUpstream, ""), privateCA(), credentials(accountKey))
			r.goesUp(postfix, message)
		})
	}
}

// sendUp hands the relay a message for the smart host.
func (r *relay) sendUp() string {
	r.t.Helper()
	message := text("sender@upstream.test", "ada@upstream.test", "by the smart host", 3)
	r.accepts(submission{Source: r.ip(trusted), From: "sender@upstream.test", To: []string{"ada@upstream.test"}, Message: message})
	return message
}

// goesUp wants the message at Postfix, unchanged, from the account and under TLS.
func (r *relay) goesUp(postfix *peers.Postfix, message string) {
	r.t.Helper()
	eventually(r.t, "Postfix has it as it was sent", func() error { return has(postfix, "upstream.test", message) })
	r.settles(status.Ledger{Accepted: 1, Delivered: 1})
	got, err := postfix.Messages("upstream.test")
	r.must(err)
	if raw := string(got[0].Raw); !strings.Contains(raw, "(Authenticated sender: "+account+")") || !strings.Contains(raw, "(using TLSv1.3") {
		r.t.Errorf("Postfix does not say that the relay authenticated under TLS:\n%s", raw)
	}
}

// Access tokens in place of a password: the relay gets one from an authorization server, and Dovecot verifies it.
func TestTokens(t *testing.T) {
	p := newPlace(t)
	key := []byte("the key that signs access tokens")
	postfix := p.upstream("xoauth2", key)
	url := p.tokens(world.ca, key)
	r := p.relay(fmt.Sprintf(toUpstream, `, oauth2: {tokenURL: "`+url+`", scopes: [send]}`), privateCA(),
		secret("up", map[string]string{"username": account, "client-id": "postrider", "refresh-token": "the refresh token"}))
	r.goesUp(postfix, r.sendUp())
}

// tokens is an authorization server (RFC 6749 section 6); it returns its token URL.
func (p *place) tokens(ca *smtptest.CA, key []byte) string {
	p.t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(p.ip(30), "0"))
	p.must(err)
	server := &http.Server{TLSConfig: ca.ServerTLS(p.ip(30)), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("grant_type") != "refresh_token" || r.FormValue("refresh_token") != "the refresh token" {
			http.Error(w, `{"error": "invalid_grant"}`, http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token(key), "token_type": "Bearer", "expires_in": 3600}) // the relay asks again
	})}
	go func() { _ = server.ServeTLS(l, "", "") }() // ends with Close
	p.stopAfter(server.Close)
	return "https://" + l.Addr().String() + "/token"
}

// token is an access token for the account (RFC 7519, HS256).
func token(key []byte) string {
	now := time.Now().Unix()
	text := encode(map[string]any{"alg": "HS256", "typ": "JWT"}) + "." +
		encode(map[string]any{"sub": account, "iat": now, "nbf": now, "exp": now + 3600})
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func encode(claims map[string]any) string {
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}
