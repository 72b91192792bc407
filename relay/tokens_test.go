package relay_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/smtptest"
)

const accountName = "system:serviceaccount:shop:checkout"

// signer is the key of an API server, and its tokens for one ServiceAccount.
func signer(t *testing.T) (keys json.RawMessage, token func(id string) string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err = json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "first"}}})
	if err != nil {
		t.Fatal(err)
	}
	return keys, func(id string) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", id))
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		token, err := jwt.Signed(s).Claims(map[string]any{
			"iss": "https://cluster.example", "sub": accountName, "aud": []string{"postrider.dev/test/outbound"},
			"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
			"kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]any{"name": "checkout", "uid": "u1"}},
		}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
}

// TestServiceAccountTokens: an account sends as the domain that admits it, with its token and in its name; when it is
// gone, its open session too may send nothing more.
func TestServiceAccountTokens(t *testing.T) {
	ca, sink := smtptest.NewCA(), newSink(t, smtptest.Options{})
	keys, token := signer(t)
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Relay.Listeners = append(r.config.Relay.Listeners, config.Listener{Name: "tokens", Mode: config.ModeSubmission,
			TLS: config.TLSImplicit, CertFile: "tls.crt", KeyFile: "tls.key", Audience: "postrider.dev/test/outbound"})
		r.config.Relay.TokenKeysFile = "token-keys.json"
		r.config.Domains = []config.Domain{{Name: "shop.example", Accounts: []string{accountName}}, {Name: "other.example"}}
		r.files["tls.crt"], r.files["tls.key"] = ca.PairPEM("out.relay.example")
		r.files["token-keys.json"] = r.json(config.TokenKeys{Issuer: "https://cluster.example", Keys: keys})
		r.files["accounts-00.json"] = r.json(map[string]string{accountName: "u1"})
	})
	r.domain("dest.example", "127.0.0.1")
	dial := func() *smtp.Client {
		c, err := smtp.DialTLS(r.address("tokens"), &tls.Config{RootCAs: ca.Pool(), ServerName: "out.relay.example"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}

	for _, mechanism := range []sasl.Client{
		sasl.NewPlainClient("", "checkout", token("first")),
		sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: "checkout", Token: token("first")}),
	} {
		c := dial()
		if err := errors.Join(c.Auth(mechanism), c.SendMail("a@shop.example", []string{"b@dest.example"}, strings.NewReader(strings.ReplaceAll(message("a@shop.example", "hello"), "\n", "\r\n")))); err != nil {
			t.Fatal(err)
		}
		if code := codeOf(c.Mail("a@other.example", nil)); code != "550 5.7.1" {
			t.Errorf("as another domain: %s", code)
		}
	}
	r.drained()
	if n := len(sink.Messages()); n != 2 {
		t.Errorf("%d messages arrived", n)
	}

	if r.status().TokenKeysWanted {
		t.Error("keys are asked for that nobody named")
	}
	if code := codeOf(dial().Auth(sasl.NewPlainClient("", "checkout", token("second")))); code != "454 4.7.0" {
		t.Errorf("a key that is not known: %s", code)
	}
	if !r.status().TokenKeysWanted {
		t.Error("the key is not asked for")
	}

	open := dial()
	if err := open.Auth(sasl.NewPlainClient("", "checkout", token("first"))); err != nil {
		t.Fatal(err)
	}
	for what, accounts := range map[string]map[string]string{"gone": {}, "made again": {accountName: "u2"}} {
		r.files["accounts-00.json"] = r.json(accounts)
		r.configure()
		r.eventually("the account to be "+what, func() bool { return r.status().Generation == r.config.Generation })
		if code := codeOf(open.Mail("a@shop.example", nil)); code != "550 5.7.1" {
			t.Errorf("an account that is %s: %s", what, code)
		}
	}
}
