package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// authority signs the cluster's certificates. They live as long as a throwaway cluster may.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

const lifetime = 30 * 24 * time.Hour

// identities are the clients of the API server, by the names and groups that its built-in roles expect.
var identities = map[string]pkix.Name{
	"admin":              {CommonName: "admin", Organization: []string{"system:masters"}},
	"apiserver-client":   {CommonName: "kube-apiserver", Organization: []string{"system:masters"}},
	"controller-manager": {CommonName: "system:kube-controller-manager"},
	"scheduler":          {CommonName: "system:kube-scheduler"},
	"kube-proxy":         {CommonName: "system:kube-proxy"},
	"kubelet":            {CommonName: "system:node:" + nodeName, Organization: []string{"system:nodes"}},
	"kubelet-1":          {CommonName: "system:node:" + second().name, Organization: []string{"system:nodes"}},
}

// makePKI writes pki/: ca, one certificate and kubeconfig per identity, and the key that signs service accounts' tokens.
// outside is the API server's address for clients outside the namespace.
func (c *cluster) makePKI(outside string) error {
	ca, err := newAuthority(c.path("pki"))
	if err != nil {
		return err
	}
	if err := ca.issue("apiserver", pkix.Name{CommonName: "kube-apiserver"}); err != nil {
		return err
	}
	for name, subject := range identities {
		if err := ca.issue(name, subject); err != nil {
			return err
		}
		if err := ca.kubeconfig(name, name, net.JoinHostPort(nodeIP, apiPort)); err != nil {
			return err
		}
	}
	if err := ca.kubeconfig("admin-outside", "admin", outside); err != nil {
		return err
	}
	tokens, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return ca.writeKey("service-accounts", tokens)
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := &authority{dir: dir, key: key, cert: template(pkix.Name{CommonName: "postrider throwaway cluster"})}
	ca.cert.IsCA, ca.cert.BasicConstraintsValid = true, true
	ca.cert.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	return ca, ca.sign("ca", ca.cert, key)
}

// issue makes a certificate that serves as well as asks: every name that a node goes by is in it.
func (a *authority) issue(name string, subject pkix.Name) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	cert := template(subject)
	cert.KeyUsage = x509.KeyUsageDigitalSignature
	cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	cert.DNSNames = []string{nodeName, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	for _, ip := range []string{nodeIP, secondIP, serviceIP, "127.0.0.1"} {
		cert.IPAddresses = append(cert.IPAddresses, net.ParseIP(ip))
	}
	return a.sign(name, cert, key)
}

func template(subject pkix.Name) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      subject,
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(lifetime),
	}
}

// sign writes dir/NAME.crt and dir/NAME.key.
func (a *authority) sign(name string, cert *x509.Certificate, key *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("signing %s: %w", name, err)
	}
	if err := os.WriteFile(a.file(name, "crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return err
	}
	return a.writeKey(name, key)
}

func (a *authority) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(a.file(name, "key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func (a *authority) file(name, kind string) string { return a.dir + "/" + name + "." + kind }

// kubeconfig writes dir/NAME.kubeconfig for user at server (host:port), with everything in the one file.
func (a *authority) kubeconfig(name, user, server string) error {
	var data [3]string
	for i, file := range []string{a.file("ca", "crt"), a.file(user, "crt"), a.file(user, "key")} {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		data[i] = base64.StdEncoding.EncodeToString(content)
	}
	content := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: postrider
  cluster: {server: "https://%s", certificate-authority-data: %s}
users:
- name: %s
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: postrider
  context: {cluster: postrider, user: %s}
current-context: postrider
`, server, data[0], user, data[1], data[2], user)
	return os.WriteFile(a.file(name, "kubeconfig"), []byte(content), 0o600)
}
