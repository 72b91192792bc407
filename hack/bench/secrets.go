package main

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/smtptest"
)

// keys are the DKIM keys of a sender.
type keys struct {
	rsa   *rsa.PrivateKey
	files map[string][]byte
}

func newKeys() (*keys, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	k := &keys{rsa: private, files: map[string][]byte{}}
	for name, key := range map[string]crypto.PrivateKey{"rsa.pem": private, "ed25519.pem": edwards} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		k.files[name] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	return k, nil
}

// domain is a SendingDomain that signs with both keys.
func (*keys) domain(name string) config.Domain {
	return config.Domain{Name: name, Sign: true, Keys: []config.DKIMKey{
		{Selector: "r", Algorithm: config.RSA2048, File: "rsa.pem"},
		{Selector: "e", Algorithm: config.Ed25519, File: "ed25519.pem"},
	}}
}

// Files of certificates in the relay's configuration.
const (
	certFile = "cert.pem"
	keyFile  = "key.pem"
	caFile   = "ca.pem"
)

// certificates are for TLS on both sides of the relay.
type certificates struct {
	files map[string][]byte
	// generator trusts the relay, sink is what the sink shows.
	generator, sink *tls.Config
}

func newCertificates() *certificates {
	ca := smtptest.NewCA()
	cert, key := ca.PairPEM(hostname, "127.0.0.1")
	return &certificates{
		files:     map[string][]byte{certFile: cert, keyFile: key, caFile: ca.PEM()},
		generator: &tls.Config{RootCAs: ca.Pool(), ServerName: hostname, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true},
		sink:      ca.ServerTLS("127.0.0.1"),
	}
}
