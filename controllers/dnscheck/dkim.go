package dnscheck

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/postrider/postrider/api/v1alpha1"
)

// PublicKey is a DKIM key as it must be published.
type PublicKey struct {
	Selector string
	// Type is the k= tag: rsa or ed25519.
	Type string
	// Data is the p= tag before base64: a SubjectPublicKeyInfo for RSA (RFC 6376 §3.6.1), the bare 32 octets
	// for Ed25519 (RFC 8463 §4).
	Data []byte
}

// NewPublicKey encodes the public half of a key: *rsa.PublicKey or ed25519.PublicKey.
func NewPublicKey(selector string, public any) (PublicKey, error) {
	switch key := public.(type) {
	case ed25519.PublicKey:
		return PublicKey{Selector: selector, Type: "ed25519", Data: key}, nil
	case *rsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(key)
		return PublicKey{Selector: selector, Type: "rsa", Data: der}, err
	default:
		return PublicKey{}, fmt.Errorf("a %T is no DKIM key", public)
	}
}

// Name is where the key is published.
func (k PublicKey) Name(domain string) string { return k.Selector + "._domainkey." + domain }

// Record is the value to publish.
func (k PublicKey) Record() string {
	return "v=DKIM1; k=" + k.Type + "; p=" + base64.StdEncoding.EncodeToString(k.Data)
}

// DKIM says whether the key that is published is ours.
func DKIM(domain string, key PublicKey, answer Texts) v1alpha1.DNSRecord {
	r := record(v1alpha1.PurposeDKIM, key.Name(domain), "TXT", key.Record())
	publish := "Publish the expected value as a TXT record at " + r.Name + "."
	if answer.Err != nil {
		return unanswered(r, answer.Err, "The key is not published. "+publish)
	}
	r.Observed = observed(answer.Values)
	if len(answer.Values) > 1 {
		return judged(r, v1alpha1.ResultMismatch, "There are several TXT records, and receivers take any one of them (RFC 6376 §3.6.2.2). Leave only the expected one.")
	}
	weak, err := key.compare(answer.Values[0])
	switch {
	case err != nil:
		return judged(r, v1alpha1.ResultMismatch, "The published key is not ours: "+err.Error()+". "+publish)
	case weak != "":
		return judged(r, v1alpha1.ResultWeak, weak)
	}
	return judged(r, v1alpha1.ResultPass, "")
}

// compare holds a published record against the key, tag by tag (RFC 6376 §3.6.1).
func (k PublicKey) compare(published string) (weak string, err error) {
	list, err := parseTags(published)
	if err != nil {
		return "", err
	}
	if v, ok := list.get("v"); ok && (v != "DKIM1" || list[0].name != "v") {
		return "", errors.New("it does not begin with v=DKIM1")
	}
	if t := list.or("k", "rsa"); t != k.Type {
		return "", fmt.Errorf("it is a key of type %s, ours is %s", t, k.Type)
	}
	if h, ok := list.get("h"); ok && !lists(h, "sha256") {
		return "", fmt.Errorf("h=%s does not admit sha256", h)
	}
	if s := list.or("s", "*"); !lists(s, "*") && !lists(s, "email") {
		return "", fmt.Errorf("s=%s does not admit email", s)
	}
	if err := k.comparePublic(list.or("p", "")); err != nil {
		return "", err
	}
	if lists(list.or("t", ""), "y") {
		return "The flag t=y says that the domain is testing DKIM, so receivers may ignore the signature. Remove it.", nil
	}
	return "", nil
}

func (k PublicKey) comparePublic(p string) error {
	folded := strings.Join(strings.Fields(p), "")
	if folded == "" {
		return errors.New("its p= is empty, which revokes the key")
	}
	data, err := base64.StdEncoding.DecodeString(folded)
	if err != nil {
		return errors.New("its p= is not base64: a part of it may be missing")
	}
	if !bytes.Equal(data, k.Data) {
		return errors.New("its p= is another key")
	}
	return nil
}
