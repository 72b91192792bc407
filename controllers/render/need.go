package render

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postrider/postrider/api/v1alpha1"
)

// Kind is what a Secret is used for.
type Kind string

const (
	// KindTLS is a listener's certificate: tls.crt and tls.key.
	KindTLS Kind = "TLS"
	// KindUsers is AUTH users: users.
	KindUsers Kind = "Users"
	// KindCredentials is a smart host's: username and password.
	KindCredentials Kind = "Credentials"
	// KindOAuth2 is how a smart host's access tokens are got: username, client-id, and client-secret or
	// refresh-token or both.
	KindOAuth2 Kind = "OAuth2"
	// KindCA is the certificates that a smart host's chain ends in: ca.crt.
	KindCA Kind = "CA"
	// KindRspamd is what rspamd asks for: password.
	KindRspamd Kind = "Rspamd"
	// KindWebhook is the keys that events are signed with: secret.
	KindWebhook Kind = "Webhook"
)

// ErrMissingKey says that a Secret lacks a key.
var ErrMissingKey = errors.New("the Secret has no key")

// Need is a Secret that a MailRelay refers to, for one use.
type Need struct {
	Kind   Kind
	Secret string
	// Field is the first that refers to it, such as spec.listeners[0].tls.secretRef.
	Field string
	// Issued says that cert-manager makes it.
	Issued bool
}

// CertificateName names the Certificate of a listener, and its Secret. Neither name has a dot: no two make the same.
func CertificateName(relay, listener string) string { return relay + "." + listener + "-tls" }

// certificateOf is the Secret with a listener's certificate; empty if it has none.
func certificateOf(relay *v1alpha1.MailRelay, l v1alpha1.Listener) (secret string, issued bool) {
	switch {
	case l.TLS == nil:
		return "", false
	case l.TLS.IssuerRef != nil:
		return CertificateName(relay.Name, l.Name), true
	case l.TLS.SecretRef != nil:
		return string(l.TLS.SecretRef.Name), false
	}
	return "", false
}

// needs gathers the Secrets that a relay refers to.
type needs []Need

func (n *needs) add(kind Kind, ref *v1alpha1.SecretReference, format string, args ...any) {
	if ref != nil {
		*n = append(*n, Need{Kind: kind, Secret: string(ref.Name), Field: fmt.Sprintf(format, args...)})
	}
}

// Needs are the Secrets that a relay refers to, by kind and name.
func Needs(relay *v1alpha1.MailRelay) []Need {
	var n needs
	for i, l := range relay.Spec.Listeners {
		switch secret, issued := certificateOf(relay, l); {
		case issued:
			n = append(n, Need{Kind: KindTLS, Secret: secret, Field: fmt.Sprintf("spec.listeners[%d].tls.issuerRef", i), Issued: true})
		case secret != "":
			n.add(KindTLS, l.TLS.SecretRef, "spec.listeners[%d].tls.secretRef", i)
		}
		if l.Auth != nil && l.Auth.Users != nil {
			n.add(KindUsers, &l.Auth.Users.SecretRef, "spec.listeners[%d].auth.users.secretRef", i)
		}
	}
	for i, r := range relay.Spec.Routes {
		for j, h := range r.SmartHosts {
			n.add(credentialsOf(h), h.SecretRef, "spec.routes[%d].smartHosts[%d].secretRef", i, j)
			n.add(KindCA, h.CASecretRef, "spec.routes[%d].smartHosts[%d].caSecretRef", i, j)
		}
	}
	for i, f := range relay.Spec.Filters {
		if f.Rspamd != nil {
			n.add(KindRspamd, f.Rspamd.SecretRef, "spec.filters[%d].rspamd.secretRef", i)
		}
	}
	for i, w := range relay.Spec.Events.Webhooks {
		n.add(KindWebhook, w.SecretRef, "spec.events.webhooks[%d].secretRef", i)
	}
	slices.SortStableFunc(n, func(a, b Need) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Secret, b.Secret))
	})
	return slices.CompactFunc(n, func(a, b Need) bool { return a.Kind == b.Kind && a.Secret == b.Secret })
}

// credentialsOf is the kind of a smart host's secretRef.
func credentialsOf(h v1alpha1.SmartHost) Kind {
	if h.OAuth2 != nil {
		return KindOAuth2
	}
	return KindCredentials
}

// use says where the contents of a kind of Secret stand, and what they must be.
type use struct {
	prefix string
	keys   []key
	// check is given the values in the order of keys, nil for an optional one that is not there.
	check func(values [][]byte) error
}

// key is one key of a Secret.
type key struct {
	name string
	// suffix ends the file's name.
	suffix   string
	optional bool
}

func (n Need) use() use {
	switch n.Kind {
	case KindTLS:
		return use{"tls-", []key{{name: "tls.crt", suffix: ".crt"}, {name: "tls.key", suffix: ".key"}}, checkKeyPair}
	case KindUsers:
		return use{"users-", []key{{name: "users", suffix: ".htpasswd"}}, checkUsers}
	case KindCredentials:
		return use{"upstream-", []key{{name: "username", suffix: ".username"}, {name: "password", suffix: ".password"}}, checkCredentials}
	case KindOAuth2:
		return use{"oauth2-", []key{
			{name: "username", suffix: ".username"},
			{name: "client-id", suffix: ".client-id"},
			{name: "client-secret", suffix: ".client-secret", optional: true},
			{name: "refresh-token", suffix: ".refresh-token", optional: true},
		}, checkOAuth2}
	case KindRspamd:
		return use{"rspamd-", []key{{name: "password", suffix: ".password"}}, checkPassword}
	case KindWebhook:
		return use{"webhook-", []key{{name: "secret", suffix: ".secret"}}, checkSigningKeys}
	default:
		return use{"ca-", []key{{name: "ca.crt", suffix: ".crt"}}, checkCA}
	}
}

// FileNames are the files that the Secret's contents stand in, in the order in which its Kind lists the keys.
func (n Need) FileNames() []string {
	u := n.use()
	var names []string
	for _, k := range u.keys {
		names = append(names, u.prefix+n.Secret+k.suffix)
	}
	return names
}

// Files are the files of a Secret with this data; an optional key that is not there has none. The error names the
// key that is missing (it then wraps ErrMissingKey) or malformed, and never what it holds.
func (n Need) Files(data map[string][]byte) (map[string][]byte, error) {
	u := n.use()
	files, names, values := map[string][]byte{}, n.FileNames(), [][]byte{}
	for i, key := range u.keys {
		value, ok := data[key.name]
		if !ok && !key.optional {
			return nil, fmt.Errorf("%w %q: add it to the Secret %s", ErrMissingKey, key.name, n.Secret)
		}
		if ok {
			files[names[i]] = value
		}
		values = append(values, value)
	}
	if err := u.check(values); err != nil {
		return nil, fmt.Errorf("the Secret %s: %w", n.Secret, err)
	}
	return files, nil
}

// Kept are the files of the Secret as had knows them by their names; false if one is missing that is not optional.
func (n Need) Kept(had func(name string) ([]byte, bool)) (map[string][]byte, bool) {
	files, u := map[string][]byte{}, n.use()
	for i, name := range n.FileNames() {
		data, ok := had(name)
		if ok {
			files[name] = data
		} else if !u.keys[i].optional {
			return nil, false
		}
	}
	return files, true
}

func checkKeyPair(values [][]byte) error {
	if _, err := tls.X509KeyPair(values[0], values[1]); err != nil {
		return fmt.Errorf("tls.crt and tls.key are not a certificate and its key: %w", err)
	}
	return nil
}

func checkCA(values [][]byte) error {
	if !x509.NewCertPool().AppendCertsFromPEM(values[0]) {
		return errors.New("ca.crt holds no PEM certificate")
	}
	return nil
}

func checkCredentials(values [][]byte) error {
	for i, name := range []string{"username", "password"} {
		if len(values[i]) == 0 {
			return fmt.Errorf("%s is empty", name)
		}
	}
	return nil
}

func checkOAuth2(values [][]byte) error {
	for i, name := range []string{"username", "client-id"} {
		if len(values[i]) == 0 {
			return fmt.Errorf("%s is empty", name)
		}
	}
	if len(values[2]) == 0 && len(values[3]) == 0 {
		return fmt.Errorf("%w %q and none %q: add one of them", ErrMissingKey, "client-secret", "refresh-token")
	}
	return nil
}

func checkPassword(values [][]byte) error {
	if len(bytes.TrimSpace(values[0])) == 0 {
		return errors.New("password is empty")
	}
	return nil
}

// checkSigningKeys wants at least one line; what follows whsec_ must be base64.
func checkSigningKeys(values [][]byte) error {
	keys := 0
	for line := range bytes.Lines(values[0]) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 {
			keys++
		}
		encoded, ok := bytes.CutPrefix(line, []byte("whsec_"))
		if _, err := base64.StdEncoding.DecodeString(string(encoded)); ok && err != nil {
			return fmt.Errorf("key %d of secret begins with whsec_, and what follows is not base64", keys)
		}
	}
	if keys == 0 {
		return errors.New("secret is empty")
	}
	return nil
}

// checkUsers wants lines of a name, a colon and a bcrypt hash; empty lines and those that begin with # don't count.
func checkUsers(values [][]byte) error {
	n := 0
	for line := range bytes.Lines(values[0]) {
		n++
		text := strings.TrimSpace(string(line))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, hash, ok := strings.Cut(text, ":")
		if !ok || name == "" || !strings.HasPrefix(hash, "$2") {
			return fmt.Errorf("line %d of users is not NAME:BCRYPT-HASH; make one with htpasswd -nB NAME", n)
		}
	}
	return nil
}
