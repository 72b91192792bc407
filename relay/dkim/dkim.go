// Package dkim signs exactly the bytes that will be sent (RFC 6376, RFC 8463): relaxed/relaxed, with every key of
// the domain. It holds the header block but never the body, reads keys from files once, and refuses to guess:
// a domain whose key cannot be read has no signer, and whoever asked must not send the message unsigned.
package dkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/message"
)

// oversigned fields are named once more than they occur, so that none can be added later (RFC 6376 §8.15).
func oversigned() []string { return []string{"From", "To", "Subject", "Date"} }

// signedIfPresent are the further fields that a reader is shown, or that steer what is shown (RFC 6376 §5.4.1).
func signedIfPresent() []string {
	return []string{
		"Reply-To", "Cc", "Message-ID", "In-Reply-To", "References", "MIME-Version", "Content-Type",
		"Content-Transfer-Encoding", "List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post",
		"List-Subscribe", "List-Post", "List-Owner", "List-Archive",
	}
}

// Signer signs as one domain.
type Signer struct {
	domain string
	keys   []key
}

// key makes one of the signatures.
type key struct {
	selector  string
	algorithm string // the tag a=
	signer    crypto.Signer
}

// Signing is the signature of one message in the making. It is an io.Writer for the body and never fails to take
// it. It is not safe for concurrent use.
type Signing struct {
	signer *Signer
	names  []string // the tag h=
	header []byte   // those fields, canonical
	body   relaxedBody
	hash   hash.Hash
	now    time.Time
}

// Sign begins a signature at time now. header is the block as it will be sent: the fields above it in the message
// (Received, the signatures themselves) are not signed and need not be there.
func (s *Signer) Sign(header []byte, now time.Time) (*Signing, error) {
	fields, err := message.Fields(header)
	if err != nil {
		return nil, fmt.Errorf("sign as %s: %w", s.domain, err)
	}
	g := &Signing{signer: s, now: now, hash: sha256.New()}
	g.body.out = g.hash
	for _, name := range oversigned() {
		g.take(fields, name)
		g.names = append(g.names, strings.ToLower(name))
	}
	for _, name := range signedIfPresent() {
		g.take(fields, name)
	}
	return g, nil
}

// take adds all fields of a name, the last one first (RFC 6376 §5.4.2).
func (g *Signing) take(fields []message.Field, name string) {
	for i := len(fields) - 1; i >= 0; i-- {
		if fields[i].Is(name) {
			g.names = append(g.names, strings.ToLower(name))
			g.header = appendRelaxedField(g.header, fields[i].Raw)
		}
	}
}

// Write takes the next octets of the body.
func (g *Signing) Write(p []byte) (int, error) { return g.body.Write(p) }

// Finish returns the DKIM-Signature fields, one per key, to be put above the header that was signed.
func (g *Signing) Finish() ([]byte, error) {
	g.body.close()
	bodyHash := g.hash.Sum(nil)
	var out bytes.Buffer
	for _, k := range g.signer.keys {
		unsigned := g.field(k, bodyHash)
		digest := sha256.New()
		digest.Write(g.header)
		digest.Write(bytes.TrimSuffix(appendRelaxedField(nil, unsigned), crlf))
		signature, err := k.sign(digest.Sum(nil))
		if err != nil {
			return nil, fmt.Errorf("sign as %s with selector %s: %w", g.signer.domain, k.selector, err)
		}
		out.Write(bytes.TrimSuffix(unsigned, crlf))
		fold(&out, base64.StdEncoding.EncodeToString(signature))
		out.Write(crlf)
	}
	return out.Bytes(), nil
}

// sign signs a SHA-256 digest. Ed25519 signs the digest as if it were the message (RFC 8463 §3).
func (k key) sign(digest []byte) ([]byte, error) {
	if _, ok := k.signer.(ed25519.PrivateKey); ok {
		return k.signer.Sign(rand.Reader, digest, crypto.Hash(0))
	}
	return k.signer.Sign(rand.Reader, digest, crypto.SHA256)
}

// field is the DKIM-Signature field with an empty b=, as it is signed, with the CRLF at its end.
func (g *Signing) field(k key, bodyHash []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "DKIM-Signature: v=1; a=%s; c=relaxed/relaxed;\r\n\td=%s; s=%s; t=%s;\r\n\tbh=%s;\r\n\th=",
		k.algorithm, g.signer.domain, k.selector, strconv.FormatInt(g.now.Unix(), 10),
		base64.StdEncoding.EncodeToString(bodyHash))
	column := len("\th=")
	for i, name := range g.names {
		if i > 0 {
			b.WriteByte(':')
		}
		if column += len(name) + 1; column > lineLimit {
			b.WriteString("\r\n\t ")
			column = len("\t ") + len(name) + 1
		}
		b.WriteString(name)
	}
	b.WriteString(";\r\n\tb=\r\n")
	return b.Bytes()
}

// lineLimit is the length that lines are folded to (RFC 5322 §2.1.1), with room for a separator.
const lineLimit = 76

// fold writes base64 behind "b=", where white space means nothing (RFC 6376 §3.2).
func fold(out *bytes.Buffer, text string) {
	for room := lineLimit - len("\tb="); len(text) > room; room = lineLimit - len("\t ") {
		out.WriteString(text[:room])
		out.WriteString("\r\n\t ")
		text = text[room:]
	}
	out.WriteString(text)
}

func newKey(selector string, private any) (key, error) {
	switch private := private.(type) {
	case *rsa.PrivateKey:
		return key{selector, "rsa-sha256", private}, nil
	case ed25519.PrivateKey:
		return key{selector, "ed25519-sha256", private}, nil
	}
	return key{}, fmt.Errorf("a %T cannot sign DKIM", private)
}
