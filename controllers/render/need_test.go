package render

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postrider/postrider/api/v1alpha1"
)

func TestNeeds(t *testing.T) {
	want := []Need{
		{KindCA, "private-ca", "spec.routes[0].smartHosts[0].caSecretRef", false},
		{KindCredentials, "up", "spec.routes[0].smartHosts[0].secretRef", false},
		{KindOAuth2, "app", "spec.routes[0].smartHosts[3].secretRef", false},
		{KindOAuth2, "up", "spec.routes[0].smartHosts[2].secretRef", false},
		{KindRspamd, "spam", "spec.filters[2].rspamd.secretRef", false},
		{KindTLS, "mx1-tls", "spec.listeners[0].tls.secretRef", false},
		{KindUsers, "people", "spec.listeners[1].auth.users.secretRef", false},
		{KindWebhook, "hook", "spec.events.webhooks[0].secretRef", false},
	}
	if diff := cmp.Diff(want, Needs(parse[v1alpha1.MailRelay](t, fullRelay))); diff != "" {
		t.Error(diff)
	}
}

func TestNeedFiles(t *testing.T) {
	cert, key := keyPair(t)
	_, otherKey := keyPair(t)
	const users = "# people\n\nanna:$2y$10$abcdefghijklmnopqrstuv\nbob:$2b$10$abcdefghijklmnopqrstuv\n"
	for _, c := range []struct {
		name string
		kind Kind
		data map[string]string
		want string
	}{
		{"a certificate and its key", KindTLS, map[string]string{"tls.crt": cert, "tls.key": key, "ca.crt": "unused"}, ""},
		{"another key", KindTLS, map[string]string{"tls.crt": cert, "tls.key": otherKey}, "not a certificate and its key"},
		{"no key", KindTLS, map[string]string{"tls.crt": cert}, `no key "tls.key": add it to the Secret s`},
		{"users", KindUsers, map[string]string{"users": users}, ""},
		{"no users yet", KindUsers, map[string]string{"users": ""}, ""},
		{"a password in clear", KindUsers, map[string]string{"users": users + "eve:s3cret\n"}, "line 5 of users is not NAME:BCRYPT-HASH"},
		{"users under another key", KindUsers, map[string]string{"auth": users}, `no key "users"`},
		{"credentials", KindCredentials, map[string]string{"username": "u", "password": "p"}, ""},
		{"an empty password", KindCredentials, map[string]string{"username": "u", "password": ""}, "password is empty"},
		{"a refresh token", KindOAuth2, map[string]string{"username": "u", "client-id": "c", "refresh-token": "r"}, ""},
		{"a client's own credentials", KindOAuth2, map[string]string{"username": "u", "client-id": "c", "client-secret": "s"}, ""},
		{"a client without secrets", KindOAuth2, map[string]string{"username": "u", "client-id": "c"}, `no key "client-secret" and none "refresh-token"`},
		{"a client without a name", KindOAuth2, map[string]string{"username": "u", "client-secret": "s3cret"}, `no key "client-id"`},
		{"an empty client", KindOAuth2, map[string]string{"username": "u", "client-id": "", "client-secret": "s3cret"}, "client-id is empty"},
		{"rspamd's password", KindRspamd, map[string]string{"password": "p"}, ""},
		{"rspamd's password elsewhere", KindRspamd, map[string]string{"secret": "s3cret"}, `no key "password"`},
		{"an empty password of rspamd", KindRspamd, map[string]string{"password": ""}, "password is empty"},
		{"a webhook's key", KindWebhook, map[string]string{"secret": "s"}, ""},
		{"two keys of a webhook", KindWebhook, map[string]string{"secret": "whsec_c2VjcmV0\nold key\n"}, ""},
		{"a key of a webhook cut short", KindWebhook, map[string]string{"secret": "whsec_s3cret\n"}, "what follows is not base64"},
		{"an empty key of a webhook", KindWebhook, map[string]string{"secret": ""}, "secret is empty"},
		{"a CA", KindCA, map[string]string{"ca.crt": cert}, ""},
		{"a CA that is none", KindCA, map[string]string{"ca.crt": "hello"}, "no PEM certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := map[string][]byte{}
			for k, v := range c.data {
				data[k] = []byte(v)
			}
			n := Need{Kind: c.kind, Secret: "s"}
			files, err := n.Files(data)
			if c.want == "" {
				if _, whole := n.Kept(func(name string) ([]byte, bool) { data, ok := files[name]; return data, ok }); err != nil || !whole {
					t.Fatalf("files %v, error %v", files, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error %v; want %q", err, c.want)
			}
			if errors.Is(err, ErrMissingKey) != strings.Contains(c.want, "no key") {
				t.Errorf("error %v: is it a missing key?", err)
			}
		})
	}
}

// What is kept of a Secret is all of it, or nothing; optional keys may be missing.
func TestKept(t *testing.T) {
	n := Need{Kind: KindOAuth2, Secret: "s"}
	for name, c := range map[string]struct {
		had  string
		want int
	}{
		"all":                   {"username client-id client-secret refresh-token", 4},
		"without a secret":      {"username client-id refresh-token", 3},
		"without a client":      {"username client-secret refresh-token", 0},
		"nothing":               {"", 0},
		"another Secret's file": {"other", 0},
	} {
		files, ok := n.Kept(func(name string) ([]byte, bool) {
			_, key, _ := strings.Cut(name, "oauth2-s.")
			return []byte(key), slices.Contains(strings.Fields(c.had), key)
		})
		if len(files) != c.want || ok != (c.want > 0) {
			t.Errorf("%s: %v, %t", name, files, ok)
		}
	}
}

func TestFileNamesNeverMeet(t *testing.T) {
	seen := map[string]Need{}
	for _, kind := range []Kind{KindTLS, KindUsers, KindCredentials, KindOAuth2, KindCA, KindRspamd, KindWebhook} {
		for _, secret := range []string{"a", "a.username", "a.password", "a.crt", "tls-a"} {
			n := Need{Kind: kind, Secret: secret}
			for _, name := range n.FileNames() {
				if other, taken := seen[name]; taken {
					t.Errorf("%v and %v share %s", n, other, name)
				}
				seen[name] = n
			}
		}
	}
}

func keyPair(t *testing.T) (certificate, private string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx1.example.com"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", pkcs8)
}

func encode(kind string, der []byte) string {
	var out bytes.Buffer
	if err := pem.Encode(&out, &pem.Block{Type: kind, Bytes: der}); err != nil {
		panic(err)
	}
	return out.String()
}

// A listener that names an issuer has a Secret of its own, and no two listeners of any relays have the same.
func TestIssuedCertificates(t *testing.T) {
	relay := parse[v1alpha1.MailRelay](t, fullRelay)
	relay.Spec.Listeners[0].TLS = &v1alpha1.ListenerTLS{Mode: v1alpha1.ListenerTLSOpportunistic, IssuerRef: &v1alpha1.IssuerReference{Name: "le"}}
	name := relay.Name + "." + relay.Spec.Listeners[0].Name + "-tls"
	want := Need{Kind: KindTLS, Secret: name, Field: "spec.listeners[0].tls.issuerRef", Issued: true}
	if !slices.Contains(Needs(relay), want) {
		t.Errorf("it needs %+v", Needs(relay))
	}
	if l := listener(relay, relay.Spec.Listeners[0]); l.CertFile != "tls-"+name+".crt" || l.KeyFile != "tls-"+name+".key" {
		t.Errorf("the listener is %+v", l)
	}
	if a, b := CertificateName("a", "b-c"), CertificateName("a-b", "c"); a == b {
		t.Errorf("both are %s", a)
	}
}
