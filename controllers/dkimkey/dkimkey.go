// Package dkimkey owns DKIM keys as they are stored in a Secret: made, encoded, read and grouped into sets. It
// refuses to decide which set signs.
//
// A set holds one key per algorithm and changes as a whole. It is named after the day it was made, such as
// pr20260901-a; that is the selector of its RSA key, and with -ed25519 behind it that of its Ed25519 key. In the
// Secret each key stands under SELECTOR.pem, as PKCS #8.
package dkimkey

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/api/v1alpha1"
)

const (
	suffix  = ".pem"
	edwards = "-ed25519"
	rsaBits = 2048
	// Verifiers need handle no other lengths (RFC 8301 §3.2), and the time for a signature grows with the third power.
	rsaLeast, rsaMost = 1024, 4096
	setsInOneDay      = 26
)

// Key is one DKIM key.
type Key struct {
	Selector  string
	Algorithm v1alpha1.DKIMAlgorithm
	// PEM is the private key, PKCS #8.
	PEM []byte
	// Public is its public half: *rsa.PublicKey or ed25519.PublicKey.
	Public crypto.PublicKey
}

// Set is the keys that sign together.
type Set struct {
	Name string
	Keys []Key
}

// SetOf is the set that a selector belongs to.
func SetOf(selector string) string { return strings.TrimSuffix(selector, edwards) }

// NewName names a set that is made at now and is none of those taken.
func NewName(now time.Time, taken []Set) (string, error) {
	day := "pr" + now.UTC().Format("20060102") + "-"
	for i := range setsInOneDay {
		name := day + string(rune('a'+i))
		if !slices.ContainsFunc(taken, func(s Set) bool { return s.Name == name }) {
			return name, nil
		}
	}
	return "", fmt.Errorf("%d sets of keys in one day are enough", setsInOneDay)
}

// Generate makes a set.
func Generate(name string, algorithms []v1alpha1.DKIMAlgorithm) (Set, error) {
	set := Set{Name: name}
	for _, a := range algorithms {
		key, err := generate(name, a)
		if err != nil {
			return Set{}, fmt.Errorf("making a DKIM key with %s: %w", a, err)
		}
		set.Keys = append(set.Keys, key)
	}
	return set, nil
}

func generate(set string, algorithm v1alpha1.DKIMAlgorithm) (Key, error) {
	var private crypto.Signer
	var err error
	selector := set
	switch algorithm {
	case v1alpha1.RSA2048:
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case v1alpha1.Ed25519:
		selector += edwards
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = errors.New("unknown algorithm")
	}
	if err != nil {
		return Key{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return Key{}, err
	}
	encoded := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return Key{Selector: selector, Algorithm: algorithm, PEM: encoded, Public: private.Public()}, nil
}

// Encode returns the keys as a Secret holds them.
func (s Set) Encode() map[string][]byte {
	data := map[string][]byte{}
	for _, k := range s.Keys {
		data[k.Selector+suffix] = k.PEM
	}
	return data
}

// Parse reads the sets that a Secret holds, oldest first. What is no key of ours by its name is passed over; a
// key that cannot be read is an error, besides the sets that can.
func Parse(data map[string][]byte) ([]Set, error) {
	var failed []error
	sets := map[string]Set{}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		selector, ok := strings.CutSuffix(name, suffix)
		if !ok {
			continue
		}
		key, err := parse(selector, data[name])
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
			continue
		}
		set := sets[SetOf(selector)]
		set.Name = SetOf(selector)
		set.Keys = append(set.Keys, key)
		sets[set.Name] = set
	}
	// Names begin with the day, so their order is that of age.
	byName := func(a, b Set) int { return cmp.Compare(a.Name, b.Name) }
	return slices.SortedFunc(maps.Values(sets), byName), errors.Join(failed...)
}

func parse(selector string, data []byte) (Key, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return Key{}, errors.New("it is not PEM")
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return Key{}, errors.New("it is not a PKCS #8 key")
	}
	key := Key{Selector: selector, PEM: data}
	switch p := private.(type) {
	case *rsa.PrivateKey:
		if bits := p.N.BitLen(); bits < rsaLeast || bits > rsaMost {
			return Key{}, fmt.Errorf("an RSA key of %d bits is not between %d and %d, which all receivers verify", bits, rsaLeast, rsaMost)
		}
		key.Algorithm, key.Public = v1alpha1.RSA2048, &p.PublicKey
	case ed25519.PrivateKey:
		key.Algorithm, key.Public = v1alpha1.Ed25519, p.Public()
	default:
		return Key{}, fmt.Errorf("a %T is no DKIM key", private)
	}
	return key, nil
}

// For returns the keys of the algorithms, in their order, and whether there is one for each.
func (s Set) For(algorithms []v1alpha1.DKIMAlgorithm) ([]Key, bool) {
	var keys []Key
	for _, a := range algorithms {
		i := slices.IndexFunc(s.Keys, func(k Key) bool { return k.Algorithm == a })
		if i < 0 {
			return keys, false
		}
		keys = append(keys, s.Keys[i])
	}
	return keys, true
}

// Find returns the set of that name.
func Find(sets []Set, name string) (Set, bool) {
	i := slices.IndexFunc(sets, func(s Set) bool { return s.Name == name })
	if i < 0 || name == "" {
		return Set{}, false
	}
	return sets[i], true
}

// SecretName is the Secret that holds the keys of a SendingDomain.
func SecretName(domain string) string { return domain + "-dkim" }
