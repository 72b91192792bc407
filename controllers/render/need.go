package render

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
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
	// KindCA is the certificates that a smart host's chain ends in: ca.crt.
	KindCA Kind = "CA"
)

// ErrMissingKey says that a Secret lacks a key.
var ErrMissingKey = errors.New("the Secret has no key")

// Need is a Secret that a MailRelay refers to, for one use.
type Need struct {
	Kind   Kind
	Secret string
	// Field is the first that refers to it, such as spec.listeners[0].tls.secretRef.
	Field string
}

// Needs are the Secrets that a relay refers to, by kind and name.
func Needs(relay *v1alpha1.MailRelay) []Need {
	var needs []Need
	add := func(kind Kind, ref *v1alpha1.SecretReference, format string, args ...any) {
		if ref != nil {
			needs = append(needs, Need{Kind: kind, Secret: string(ref.Name), Field: fmt.Sprintf(format, args...)})
		}
	}
	for i, l := range relay.Spec.Listeners {
		if l.TLS != nil {
			add(KindTLS, l.TLS.SecretRef, "spec.listeners[%d].tls.secretRef", i)
		}
		if l.Auth != nil {
			add(KindUsers, &l.Auth.Users.SecretRef, "spec.listeners[%d].auth.users.secretRef", i)
		}
	}
	for i, r := range relay.Spec.Routes {
		for j, h := range r.SmartHosts {
			add(KindCredentials, h.SecretRef, "spec.routes[%d].smartHosts[%d].secretRef", i, j)
			add(KindCA, h.CASecretRef, "spec.routes[%d].smartHosts[%d].caSecretRef", i, j)
		}
	}
	slices.SortStableFunc(needs, func(a, b Need) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Secret, b.Secret))
	})
	return slices.CompactFunc(needs, func(a, b Need) bool { return a.Kind == b.Kind && a.Secret == b.Secret })
}

// use says where the contents of a kind of Secret stand, and what they must be.
type use struct {
	keys   []string
	prefix string
	// suffixes make the files' names, in the order of keys.
	suffixes []string
	check    func(values [][]byte) error
}

func (n Need) use() use {
	switch n.Kind {
	case KindTLS:
		return use{[]string{"tls.crt", "tls.key"}, "tls-", []string{".crt", ".key"}, checkKeyPair}
	case KindUsers:
		return use{[]string{"users"}, "users-", []string{".htpasswd"}, checkUsers}
	case KindCredentials:
		return use{[]string{"username", "password"}, "upstream-", []string{".username", ".password"}, checkCredentials}
	default:
		return use{[]string{"ca.crt"}, "ca-", []string{".crt"}, checkCA}
	}
}

// FileNames are the files that the Secret's contents stand in: certificate and key, users, user name and
// password, or CA certificates.
func (n Need) FileNames() []string {
	u := n.use()
	var names []string
	for _, suffix := range u.suffixes {
		names = append(names, u.prefix+n.Secret+suffix)
	}
	return names
}

// Files are the files of a Secret with this data. The error names the key that is missing (it then wraps
// ErrMissingKey) or malformed, and never what it holds.
func (n Need) Files(data map[string][]byte) (map[string][]byte, error) {
	u := n.use()
	files, names, values := map[string][]byte{}, n.FileNames(), [][]byte{}
	for i, key := range u.keys {
		value, ok := data[key]
		if !ok {
			return nil, fmt.Errorf("%w %q: add it to the Secret %s", ErrMissingKey, key, n.Secret)
		}
		files[names[i]] = value
		values = append(values, value)
	}
	if err := u.check(values); err != nil {
		return nil, fmt.Errorf("the Secret %s: %w", n.Secret, err)
	}
	return files, nil
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
