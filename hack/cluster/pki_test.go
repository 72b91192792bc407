package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"
)

func TestCertificatesServeAndAsk(t *testing.T) {
	c := &cluster{dir: t.TempDir()}
	if err := os.Mkdir(c.path("pki"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.makePKI("127.0.0.1:4711"); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(c.path("pki", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for _, name := range []string{"apiserver", "admin", "kubelet"} {
		pair, err := tls.LoadX509KeyPair(c.path("pki", name+".crt"), c.path("pki", name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{nodeIP, "127.0.0.1", serviceIP, "kubernetes.default.svc"} {
			usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: usages}); err != nil {
				t.Errorf("%s as %s: %v", name, host, err)
			}
		}
	}
	outside, err := os.ReadFile(c.kubeconfig("admin-outside"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(outside), `server: "https://127.0.0.1:4711"`) {
		t.Errorf("the kubeconfig for outside leads elsewhere:\n%s", outside)
	}
}
