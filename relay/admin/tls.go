package admin

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

// Certificates are those behind the operator's and the metrics port. They can be replaced while the ports serve.
type Certificates struct {
	current atomic.Pointer[material]
}

type material struct {
	certificate tls.Certificate
	clients     *x509.CertPool
}

// Load takes up PEM files: our certificate and key, and the CA whose clients may ask. On an error the ones
// before stay in use.
func (c *Certificates) Load(certFile, keyFile, caFile string) error {
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return fmt.Errorf("load the admin certificate: %w", err)
	}
	bundle, err := os.ReadFile(caFile)
	if err != nil {
		return fmt.Errorf("load the admin CA: %w", err)
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(bundle) {
		return fmt.Errorf("load the admin CA: %s holds no PEM certificate", caFile)
	}
	c.current.Store(&material{certificate, clients})
	return nil
}

// ForPeer is the configuration of a client that asks another pod of the relay, which has this name in its certificate.
func (c *Certificates) ForPeer(serverName string) (*tls.Config, error) {
	m := c.current.Load()
	if m == nil {
		return nil, errors.New("no certificate has been loaded yet")
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		ServerName:   serverName,
		RootCAs:      m.clients,
		Certificates: []tls.Certificate{m.certificate},
	}, nil
}

// Config is a server's TLS configuration. With tls.RequireAndVerifyClientCert the handshake of a client without
// a certificate of ours fails.
func (c *Certificates) Config(clients tls.ClientAuthType) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			m := c.current.Load()
			if m == nil {
				return nil, errors.New("no certificate has been loaded yet")
			}
			return &tls.Config{
				MinVersion:   tls.VersionTLS13,
				Certificates: []tls.Certificate{m.certificate},
				ClientCAs:    m.clients,
				ClientAuth:   clients,
			}, nil
		},
	}
}
