package dkim

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/postrider/postrider/relay/config"
)

// Signers are the signers of a configuration's domains. Keys are read when a domain is first asked for, once; a
// failure is not kept, for it may pass. It is safe for concurrent use.
type Signers struct {
	path    func(file string) string
	domains map[string]*entry
}

type entry struct {
	domain config.Domain
	mu     sync.Mutex
	signer *Signer // nil before it was read
}

// New makes the signers of domains. path is where a file named in the configuration is: config.Config.Path.
func New(domains []config.Domain, path func(file string) string) *Signers {
	s := &Signers{path: path, domains: make(map[string]*entry, len(domains))}
	for _, d := range domains {
		s.domains[d.Name] = &entry{domain: d}
	}
	return s
}

// For returns the signer of a domain. It fails when the domain has no keys, or when one of them cannot be read: a
// temporary failure to a client, never a reason to send unsigned.
func (s *Signers) For(domain string) (*Signer, error) {
	e, ok := s.domains[domain]
	if !ok {
		return nil, fmt.Errorf("%s is not a sending domain", domain)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.signer == nil {
		signer, err := Load(e.domain, s.path)
		if err != nil {
			return nil, err
		}
		e.signer = signer
	}
	return e.signer, nil
}

// Load reads a domain's keys.
func Load(d config.Domain, path func(file string) string) (*Signer, error) {
	s := &Signer{domain: d.Name}
	for _, k := range d.Keys {
		parsed, err := loadKey(k.Selector, path(k.File))
		if err != nil {
			return nil, fmt.Errorf("DKIM key %s of %s: %w", k.Selector, d.Name, err)
		}
		s.keys = append(s.keys, parsed)
	}
	if len(s.keys) == 0 {
		return nil, fmt.Errorf("%s has no DKIM key", d.Name)
	}
	return s, nil
}

func loadKey(selector, file string) (key, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return key{}, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return key{}, errors.New("not a PEM file")
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return key{}, fmt.Errorf("not a PKCS #8 key: %w", err)
	}
	return newKey(selector, private)
}
