package dkimkey

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/postrider/postrider/api/v1alpha1"
)

var both = []v1alpha1.DKIMAlgorithm{v1alpha1.RSA2048, v1alpha1.Ed25519}

func generated(t *testing.T, name string, algorithms ...v1alpha1.DKIMAlgorithm) Set {
	t.Helper()
	s, err := Generate(name, algorithms)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRoundTrip(t *testing.T) {
	older, newer := generated(t, "pr20260831-b", v1alpha1.Ed25519), generated(t, "pr20260901-a", both...)
	data := newer.Encode()
	maps.Copy(data, older.Encode())
	data["README"] = []byte("not a key")
	sets, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(sets) != 2 || sets[0].Name != older.Name || sets[1].Name != newer.Name {
		t.Fatalf("got the sets %v", sets)
	}
	keys, complete := sets[1].For(both)
	if !complete || keys[0].Selector != "pr20260901-a" || keys[1].Selector != "pr20260901-a-ed25519" || !bytes.Equal(keys[0].PEM, newer.Keys[0].PEM) {
		t.Errorf("got %v", keys)
	}
	if _, complete := sets[0].For(both); complete {
		t.Error("a set with one key passes for complete")
	}
	for _, k := range keys {
		if SetOf(k.Selector) != newer.Name {
			t.Errorf("%s is of the set %s", k.Selector, SetOf(k.Selector))
		}
	}
	if s, ok := Find(sets, "pr20260831-b"); !ok || s.Name != older.Name {
		t.Error("a set is not found")
	}
	if _, ok := Find(sets, ""); ok {
		t.Error("no name is the name of a set")
	}
}

func TestParseKeepsWhatItCanRead(t *testing.T) {
	data := generated(t, "pr20260901-a", v1alpha1.Ed25519).Encode()
	for name, damaged := range map[string][]byte{
		"pr20260901-a.pem": []byte("hello"),
		"pr20260902-a.pem": []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
	} {
		data[name] = damaged
		sets, err := Parse(data)
		if err == nil || len(sets) != 1 || len(sets[0].Keys) != 1 {
			t.Errorf("with %s: %v, %v", name, sets, err)
		}
		delete(data, name)
	}
}

func TestNewName(t *testing.T) {
	now := time.Date(2026, 9, 1, 23, 0, 0, 0, time.FixedZone("", -3*3600))
	var taken []Set
	var names []string
	for {
		name, err := NewName(now, taken)
		if err != nil {
			break
		}
		names, taken = append(names, name), append(taken, Set{Name: name})
	}
	if len(names) != setsInOneDay || names[0] != "pr20260902-a" || names[1] != "pr20260902-b" || !slices.IsSorted(names) {
		t.Errorf("got %v", names)
	}
}

func TestUnknownAlgorithm(t *testing.T) {
	if _, err := Generate("pr20260901-a", []v1alpha1.DKIMAlgorithm{"RSA512"}); err == nil {
		t.Error("a key was made")
	}
}

// mersenne is an RSA key whose primes are 2^p-1 and 2^q-1: a long one would take minutes to make.
func mersenne(t *testing.T, p, q uint) []byte {
	t.Helper()
	one := big.NewInt(1)
	prime := func(n uint) *big.Int { return new(big.Int).Sub(new(big.Int).Lsh(one, n), one) }
	a, b := prime(p), prime(q)
	phi := new(big.Int).Mul(new(big.Int).Sub(a, one), new(big.Int).Sub(b, one))
	private := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(a, b), E: 65537}, Primes: []*big.Int{a, b}}
	private.D = new(big.Int).ModInverse(big.NewInt(int64(private.E)), phi)
	private.Precompute()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Who may write the Secret must not make the relay work for seconds at each message, nor sign what nobody verifies.
func TestParseRefusesRSAKeysThatNobodyVerifies(t *testing.T) {
	for _, test := range []struct {
		p, q uint
		good bool
	}{{521, 607, true}, {1279, 2203, true}, {2203, 2281, false}, {4253, 4423, false}} {
		sets, err := Parse(map[string][]byte{"pr20260901-a.pem": mersenne(t, test.p, test.q)})
		if good := err == nil && len(sets) == 1; good != test.good {
			t.Errorf("a key of %d bits: %d sets, %v", test.p+test.q, len(sets), err)
		}
	}
}
