package relay_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/relay"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/smtptest"
)

// keys makes both kinds of key for a domain, and the TXT records to publish by selector.
func keys(t *testing.T) (files map[string][]byte, records map[string]string) {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaPublic, err := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"rsa.pem": pkcs8(t, rsaKey), "ed25519.pem": pkcs8(t, private)}, map[string]string{
		"r1": "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(rsaPublic),
		"e1": "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public),
	}
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestSignsWithBothKeys(t *testing.T) {
	files, records := keys(t)
	sink := newSink(t, smtptest.Options{})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.files = files
		r.config.Domains = []config.Domain{{Name: "example.org", Sign: true, Keys: []config.DKIMKey{
			{Selector: "r1", Algorithm: config.RSA2048, File: "rsa.pem"},
			{Selector: "e1", Algorithm: config.Ed25519, File: "ed25519.pem"},
		}}}
	})
	r.domain("example.net", "127.0.0.1")
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "signed"))
	r.mustSend("a@example.com", "b@example.net", message("a@example.com", "of a stranger, unsigned"))
	r.drained()
	signed := 0
	for _, m := range sink.Messages() {
		verifications, err := dkim.VerifyWithOptions(bytes.NewReader(m.Data), &dkim.VerifyOptions{
			LookupTXT: func(name string) ([]string, error) {
				selector, _, _ := strings.Cut(name, ".")
				return []string{records[selector]}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range verifications {
			if signed++; v.Err != nil || v.Domain != "example.org" || m.From != "a@example.org" {
				t.Errorf("signature of %s on mail from %s: %v", v.Domain, m.From, v.Err)
			}
		}
	}
	if signed != 2 {
		t.Errorf("%d signatures, want two on the one message of the SendingDomain", signed)
	}
}

func TestNeverUnsigned(t *testing.T) {
	r := newRig(t, func(r *rig) {
		r.config.Domains = []config.Domain{{Name: "example.org", Sign: true}}
	})
	err := r.send("a@example.org", "b@example.net", message("a@example.org", "no key yet"))
	var refused *smtp.SMTPError
	if !errors.As(err, &refused) || refused.Code != 451 || refused.EnhancedCode != (smtp.EnhancedCode{4, 7, 5}) {
		t.Errorf("without a key: %v; want 451 4.7.5", err)
	}
}

func TestTakesUpAConfigurationWithoutARestart(t *testing.T) {
	sink := newSink(t, smtptest.Options{})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Relay.Access.TrustedCIDRs = nil
	})
	r.domain("example.net", "127.0.0.1")
	if err := r.send("a@example.org", "b@example.net", message("a@example.org", "one")); err == nil {
		t.Fatal("an open relay")
	}
	r.config.Relay.Access.TrustedCIDRs = []string{"127.0.0.1/32"}
	r.config.Relay.Policies = []config.RatePolicy{{
		Name: "test/one", Stage: config.StageAccept, Key: config.KeySender, Messages: 1, PerSeconds: 3600, Burst: 1,
	}}
	r.configure()
	r.eventually("the new generation", func() bool { return r.status().Generation == 2 })
	if p := r.status().Policies; len(p) != 1 || p[0] != "test/one" {
		t.Errorf("policies in force: %v", p)
	}
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "two"))
	err := r.send("a@example.org", "b@example.net", message("a@example.org", "three"))
	var refused *smtp.SMTPError
	if !errors.As(err, &refused) || refused.Code != 451 {
		t.Errorf("over the limit: %v; want 451", err)
	}
	r.drained()
}

func TestKeepsTheLastGoodConfiguration(t *testing.T) {
	r := newRig(t, nil)
	r.write(config.RelayFile, []byte(`{"hostname":""`)) // the index does not say so
	r.write(config.IndexFile, []byte(`{"format":1,"generation":9,"files":{"relay.json":"00"}}`))
	r.eventually("the refusal to show", func() bool { return strings.Contains(r.status().ConfigError, "does not match its digest") })
	if g := r.status().Generation; g != 1 {
		t.Errorf("generation in force %d, want the last good one, 1", g)
	}
	r.configure()
	r.eventually("the next good one", func() bool { s := r.status(); return s.Generation == 2 && s.ConfigError == "" })
}

func TestCordonedPodTakesNothing(t *testing.T) {
	r := newRig(t, func(r *rig) { r.config.Relay.Cordoned = []string{"outbound-0"} })
	err := r.send("a@example.org", "b@example.net", message("a@example.org", "one"))
	var refused *smtp.SMTPError
	if !errors.As(err, &refused) || refused.Code != 421 {
		t.Errorf("cordoned: %v; want 421", err)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	r := newRig(t, func(r *rig) { r.config.Relay.Access.TrustedCIDRs = nil })
	if err := r.send("a@example.org", "b@example.net", message("a@example.org", "one")); err == nil {
		t.Fatal("an open relay")
	}
	if metrics := r.metrics(); !strings.Contains(metrics, `postrider_refusals_total{class="Permanent",listener="smtp"} 1`) {
		t.Errorf("metrics:\n%s", metrics)
	}
}

func TestADoorThatCannotOpenEndsTheRelay(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = relay.Run(t.Context(), relay.Options{
		ConfigDir: t.TempDir(), DataDir: t.TempDir(), HealthAddress: taken.Addr().String(), Log: slog.New(slog.DiscardHandler),
	})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("the relay ended with %v", err)
	}
}
