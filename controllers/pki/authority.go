// Package pki owns the certificates with which operator and relays know each other: an authority of the
// operator's own, a certificate for each relay's pods, and one for the operator as their client. Pure
// functions of what is there and the time: it stores nothing, and it has no part in the TLS that mail uses.
//
// Everything renews itself at two thirds of its life. An authority rolls with an overlap: the new certificate
// stands in the bundle that everyone trusts for a while before it signs anything, and the old one stays in
// the bundle until it ends.
package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Lifetimes. A leaf lives much shorter than the third of an authority's life that remains after its successor
// was made, so no leaf outlives its issuer.
const (
	AuthorityLife = 3 * 365 * 24 * time.Hour
	LeafLife      = 90 * 24 * time.Hour
	// Overlap is how long a new authority is trusted before it signs: enough for every pod to read it.
	Overlap = 24 * time.Hour
	// skew is how far a peer's clock may be behind.
	skew = time.Hour
)

// Authority signs certificates. It holds one pair of certificate and key, or several while it rolls, oldest
// first. It is never changed: Renew makes a new one.
type Authority struct {
	pairs []pair
}

type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// ParseAuthority reads what Encode wrote: PEM certificates and, in the same order, PKCS #8 PEM keys.
func ParseAuthority(certs, keys []byte) (*Authority, error) {
	certBlocks, keyBlocks := blocks(certs), blocks(keys)
	if len(certBlocks) == 0 || len(certBlocks) != len(keyBlocks) {
		return nil, fmt.Errorf("reading the authority: %d certificates and %d keys", len(certBlocks), len(keyBlocks))
	}
	a := &Authority{}
	for i := range certBlocks {
		p, err := parsePair(certBlocks[i], keyBlocks[i])
		if err != nil {
			return nil, fmt.Errorf("reading the authority: %w", err)
		}
		a.pairs = append(a.pairs, p)
	}
	return a, nil
}

func parsePair(cert, key []byte) (pair, error) {
	c, err := x509.ParseCertificate(cert)
	if err != nil {
		return pair{}, err
	}
	k, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return pair{}, err
	}
	ec, ok := k.(*ecdsa.PrivateKey)
	if !ok || !ec.PublicKey.Equal(c.PublicKey) {
		return pair{}, errors.New("a key does not belong to its certificate")
	}
	return pair{cert: c, key: ec}, nil
}

// blocks returns the contents of all PEM blocks in data.
func blocks(data []byte) [][]byte {
	var out [][]byte
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return out
		}
		out, data = append(out, block.Bytes), rest
	}
}

// Encode returns the certificates and the keys as PEM, for ParseAuthority.
func (a *Authority) Encode() (certs, keys []byte, err error) {
	var k bytes.Buffer
	for _, p := range a.pairs {
		encoded, err := encodeKey(p.key)
		if err != nil {
			return nil, nil, err
		}
		k.Write(encoded)
	}
	return a.Bundle(), k.Bytes(), nil
}

// Bundle returns the certificates that must be trusted, as PEM.
func (a *Authority) Bundle() []byte {
	var b bytes.Buffer
	for _, p := range a.pairs {
		b.Write(encodeCertificate(p.cert.Raw))
	}
	return b.Bytes()
}

// Pool returns the certificates that must be trusted.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, p := range a.pairs {
		pool.AddCert(p.cert)
	}
	return pool
}

// Renew returns the authority that holds at now, and whether it differs from a: pairs that have ended are
// dropped, and when the newest is past two thirds of its life another is added. A nil authority is made anew.
func Renew(a *Authority, now time.Time) (*Authority, bool, error) {
	next := &Authority{}
	if a != nil {
		next.pairs = slices.DeleteFunc(slices.Clone(a.pairs), func(p pair) bool { return !now.Before(p.cert.NotAfter) })
	}
	if n := len(next.pairs); n > 0 && !pastTwoThirds(next.pairs[n-1].cert, now) {
		return next, n != len(a.pairs), nil
	}
	p, err := newPair(now)
	if err != nil {
		return nil, false, fmt.Errorf("making an authority: %w", err)
	}
	next.pairs = append(next.pairs, p)
	return next, true, nil
}

// signer is the newest pair that everyone has had time to trust, or the oldest when there is none.
func (a *Authority) signer(now time.Time) pair {
	for _, p := range slices.Backward(a.pairs) {
		if !now.Before(p.cert.NotBefore.Add(skew + Overlap)) {
			return p
		}
	}
	return a.pairs[0]
}

func newPair(now time.Time) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	serial, err := serialNumber()
	if err != nil {
		return pair{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Postrider operator " + now.UTC().Format("2006-01-02")},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(AuthorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return pair{}, err
	}
	cert, err := x509.ParseCertificate(raw)
	return pair{cert: cert, key: key}, err
}

func pastTwoThirds(c *x509.Certificate, now time.Time) bool {
	life := c.NotAfter.Sub(c.NotBefore)
	return now.After(c.NotBefore.Add(life / 3 * 2))
}

// serialNumber is random: 127 bits, as RFC 5280 §4.1.2.2 asks for at most 20 octets and not negative.
func serialNumber() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}

func encodeCertificate(raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}
