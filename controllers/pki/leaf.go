package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Leaf is a certificate and its key, as PEM.
type Leaf struct {
	Certificate []byte
	Key         []byte
}

// Role is what a leaf may be used for.
type Role int

const (
	// Server is a relay's pod, which the operator asks, and which gives its mail to the other pods of its relay.
	Server Role = iota
	// Client is the operator.
	Client
)

// Request says what a leaf is for. A relay's certificate names that relay alone, and the doors look at the name: one
// relay's key opens no other relay's door, passes for no other relay, and never for the operator, which has no name.
type Request struct {
	Role Role
	// CommonName is for people who read it.
	CommonName string
	// DNSNames are the subject's alternative names.
	DNSNames []string
}

// ServerName is the name under which the operator verifies the pods of a relay. It never resolves: pods are
// dialled by address.
func ServerName(namespace, name string) string {
	return name + "." + namespace + ".relay.postrider.internal"
}

// RelayRequest is for the certificate of a relay's pods.
func RelayRequest(namespace, name string) Request {
	return Request{
		Role:       Server,
		CommonName: name,
		DNSNames: []string{
			ServerName(namespace, name),
			"*." + name + "-pods." + namespace + ".svc",
			"*." + name + "-pods." + namespace + ".svc.cluster.local",
		},
	}
}

// OperatorRequest is for the certificate with which the operator asks relays.
func OperatorRequest() Request {
	return Request{Role: Client, CommonName: "postrider-operator"}
}

// Ensure returns a leaf that is good at now, and whether it is a new one: the given one is kept while it has
// not reached two thirds of its life, answers the request, and is trusted by the bundle.
func (a *Authority) Ensure(l Leaf, r Request, now time.Time) (Leaf, bool, error) {
	if a.good(l, r, now) {
		return l, false, nil
	}
	issued, err := a.issue(r, now)
	if err != nil {
		return Leaf{}, false, fmt.Errorf("issuing a certificate for %s: %w", r.CommonName, err)
	}
	return issued, true, nil
}

func (a *Authority) good(l Leaf, r Request, now time.Time) bool {
	c, err := l.parse()
	if err != nil || pastTwoThirds(c, now) || c.Subject.CommonName != r.CommonName || !slices.Equal(c.DNSNames, r.DNSNames) {
		return false
	}
	_, err = c.Verify(x509.VerifyOptions{Roots: a.Pool(), CurrentTime: now, KeyUsages: r.Role.usages()})
	return err == nil && slices.Equal(c.ExtKeyUsage, r.Role.usages())
}

func (l Leaf) parse() (*x509.Certificate, error) {
	pair, err := tls.X509KeyPair(l.Certificate, l.Key)
	if err != nil {
		return nil, err
	}
	if pair.Leaf == nil {
		return nil, errors.New("no certificate")
	}
	return pair.Leaf, nil
}

func (r Role) usages() []x509.ExtKeyUsage {
	if r == Client {
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
}

func (a *Authority) issue(r Request, now time.Time) (Leaf, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Leaf{}, err
	}
	serial, err := serialNumber()
	if err != nil {
		return Leaf{}, err
	}
	issuer := a.signer(now)
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: r.CommonName},
		DNSNames:     r.DNSNames,
		NotBefore:    now.Add(-skew),
		NotAfter:     earlier(now.Add(LeafLife), issuer.cert.NotAfter),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  r.Role.usages(),
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, &key.PublicKey, issuer.key)
	if err != nil {
		return Leaf{}, err
	}
	encoded, err := encodeKey(key)
	return Leaf{Certificate: encodeCertificate(raw), Key: encoded}, err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
