package smtptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// CA is a certificate authority that lives as long as the process. It fails by panicking: without random numbers
// there is nothing left to try.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority, valid from an hour ago for ten years.
func NewCA() *CA {
	key := newKey()
	template := newTemplate("Postrider test CA", 10*365*24*time.Hour)
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	return &CA{cert: sign(template, template, key, key), key: key}
}

// PEM is the authority's certificate.
func (ca *CA) PEM() []byte { return certPEM(ca.cert.Raw) }

// Pool holds the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Certificate returns a server and client certificate for names or IP addresses, valid for a year.
func (ca *CA) Certificate(names ...string) tls.Certificate {
	cert, key := ca.PairPEM(names...)
	pair, err := tls.X509KeyPair(cert, key)
	must(err)
	return pair
}

// ServerTLS is the configuration of a server with a certificate for names.
func (ca *CA) ServerTLS(names ...string) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{ca.Certificate(names...)}, MinVersion: tls.VersionTLS12}
}

// PairPEM returns such a certificate and its PKCS #8 key as files hold them.
func (ca *CA) PairPEM(names ...string) (cert, key []byte) {
	private := newKey()
	template := newTemplate(names[0], 365*24*time.Hour)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	must(err)
	leaf := sign(template, ca.cert, private, ca.key)
	return certPEM(leaf.Raw), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return key
}

func newTemplate(name string, life time.Duration) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	must(err)
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(life),
	}
}

// sign makes the certificate of a key, signed by its parent's key.
func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	must(err)
	cert, err := x509.ParseCertificate(der)
	must(err)
	return cert
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
