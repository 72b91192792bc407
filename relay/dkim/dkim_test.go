package dkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/google/go-cmp/cmp"

	"github.com/postrider/postrider/relay/config"
)

// keys are a domain's keys in files, and what DNS says about them.
type keys struct {
	domain config.Domain
	dir    string
	txt    map[string]string
}

func (k keys) path(file string) string { return filepath.Join(k.dir, file) }

func (k keys) lookup(name string) ([]string, error) {
	record, ok := k.txt[name]
	if !ok {
		return nil, fmt.Errorf("nothing at %s", name)
	}
	return []string{record}, nil
}

func (k keys) signer(t testing.TB) *Signer {
	t.Helper()
	s, err := Load(k.domain, k.path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newKeys(t testing.TB) keys {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaPublic, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k := keys{
		dir: t.TempDir(),
		domain: config.Domain{Name: "example.com", Sign: true, Keys: []config.DKIMKey{
			{Selector: "r1", Algorithm: config.RSA2048, File: "r1.pem"}, {Selector: "e1", Algorithm: config.Ed25519, File: "e1.pem"},
		}},
		txt: map[string]string{
			"r1._domainkey.example.com": "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(rsaPublic),
			"e1._domainkey.example.com": "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(edPublic),
		},
	}
	k.write(t, "r1.pem", rsaKey)
	k.write(t, "e1.pem", edKey)
	return k
}

func (k keys) write(t testing.TB, name string, private crypto.PrivateKey) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	k.writeRaw(t, name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (k keys) writeRaw(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(k.path(name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// sign returns the signed message.
func sign(t testing.TB, s *Signer, header string, body io.Reader) string {
	t.Helper()
	g, err := s.Sign([]byte(header), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var content bytes.Buffer
	if _, err := io.Copy(io.MultiWriter(&content, onlyWriter{g}), body); err != nil {
		t.Fatal(err)
	}
	fields, err := g.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return string(fields) + header + content.String()
}

// onlyWriter hides everything but Write.
type onlyWriter struct{ io.Writer }

// valid says how many signatures of a message there are, and how many are good.
func (k keys) valid(t testing.TB, message string) (all, good int) {
	t.Helper()
	verifications, err := dkim.VerifyWithOptions(strings.NewReader(message), &dkim.VerifyOptions{LookupTXT: k.lookup})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verifications {
		if v.Err == nil && v.Domain == "example.com" {
			good++
		}
	}
	return len(verifications), good
}

const plainHeader = "From: a@example.com\r\nTo: b@example.org\r\nSubject: x\r\nDate: Wed, 04 Mar 2026 04:06:07 +0000\r\n\r\n"

// TestVerifies: an independent verifier agrees with both signatures.
func TestVerifies(t *testing.T) {
	k := newKeys(t)
	s := k.signer(t)
	everything := strings.TrimSuffix(plainHeader, "\r\n")
	for _, name := range signedIfPresent() {
		everything += name + ": value of " + name + "\r\n"
	}
	for name, message := range map[string][2]string{
		"plain":             {plainHeader, "body\r\n"},
		"empty body":        {plainHeader, ""},
		"empty lines":       {plainHeader, "\r\n\r\n\r\n"},
		"white space lines": {plainHeader, " \r\n\t\r\nx \t y\t\r\n \r\n\r\n"},
		"dots":              {plainHeader, ".\r\n..\r\n...\r\n"},
		"eight bits":        {plainHeader, "\xff\xc3\xb6\r\n"},
		"every field":       {everything + "\r\n", "body\r\n"},
		"folds and case":    {"FROM :\r\n  a@example.com\r\nsubject:\ta \r\n\tb\r\n   c\r\nTo:\r\n\r\n", "body\r\n"},
		"only From":         {"From: a@example.com\r\n\r\n", "body\r\n"},
		"fields twice":      {"To: 1\r\nTo: 2\r\nReferences: 1\r\n" + "References: 2\r\n" + plainHeader, "body\r\n"},
		"long lines":        {plainHeader, strings.Repeat("x  y", 50_000) + "\r\n"},
		"long fields":       {"References: " + strings.Repeat("<id@example.com>\r\n ", 500) + "<end>\r\n" + plainHeader, "x\r\n"},
	} {
		for segmentation, body := range map[string]io.Reader{
			"whole": strings.NewReader(message[1]), "octets": iotest.OneByteReader(strings.NewReader(message[1])),
		} {
			signed := sign(t, s, message[0], body)
			if all, good := k.valid(t, signed); all != 2 || good != 2 {
				t.Errorf("%s, %s: %d signatures, %d good, want 2 and 2:\n%s", name, segmentation, all, good, signed[:min(len(signed), 2000)])
			}
			for line := range strings.SplitSeq(signed[:strings.Index(signed, message[0])], "\r\n") {
				if len(line) > 78 {
					t.Errorf("%s: a line of %d octets: %q", name, len(line), line)
				}
			}
		}
	}
}

// TestChangesAreNoticed: what was signed cannot be changed, nor can what a reader sees be added.
func TestChangesAreNoticed(t *testing.T) {
	k := newKeys(t)
	signed := sign(t, k.signer(t), plainHeader, strings.NewReader("body\r\n"))
	if _, good := k.valid(t, signed); good != 2 {
		t.Fatal("the message itself is not good")
	}
	changes := map[string]string{
		"body": strings.Replace(signed, "body", "b0dy", 1), "subject": strings.Replace(signed, "Subject: x", "Subject: y", 1),
		"more body": signed + "more\r\n", "domain": strings.Replace(signed, "d=example.com", "d=example.org", 2),
	}
	for _, name := range oversigned() {
		changes["another "+name] = name + ": added@example.com\r\n" + signed
		changes["another "+name+" below"] = strings.Replace(signed, "\r\n\r\n", "\r\n"+name+": added@example.com\r\n\r\n", 1)
	}
	for name, message := range changes {
		if _, good := k.valid(t, message); good != 0 {
			t.Errorf("%s: %d signatures are still good", name, good)
		}
	}
	for name, message := range map[string]string{
		"white space": strings.Replace(signed, "Subject: x", "Subject:   x ", 1), "empty lines": signed + "\r\n\r\n",
		"trace": "Received: from elsewhere\r\n" + signed,
	} {
		if _, good := k.valid(t, message); good != 2 {
			t.Errorf("%s: only %d signatures are good", name, good)
		}
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden: testdata/NN-name.msg is signed with a fixed key at a fixed time; NN-name.sig is the result. Ed25519 is
// deterministic, so every octet is.
func TestGolden(t *testing.T) {
	seed := sha256.Sum256([]byte("a key for tests only"))
	s := &Signer{domain: "example.com", keys: []key{{"e1", "ed25519-sha256", ed25519.NewKeyFromSeed(seed[:])}}}
	files, err := filepath.Glob("testdata/*.msg")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d messages, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		message := bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
		header, body, _ := bytes.Cut(message, []byte("\r\n\r\n"))
		g, err := s.Sign(append(header, "\r\n\r\n"...), time.Unix(1772597167, 0))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = g.Write(body)
		fields, err := g.Finish()
		if err != nil {
			t.Fatal(err)
		}
		compare(t, strings.TrimSuffix(file, ".msg")+".sig", bytes.ReplaceAll(fields, crlf, []byte("\n")))
	}
}

func compare(t *testing.T, golden string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", golden, diff)
	}
}

func TestSigningRefusesMalformedHeader(t *testing.T) {
	s := &Signer{domain: "example.com"}
	if _, err := s.Sign([]byte("From: a@example.com\r\njunk\r\n\r\n"), time.Now()); err == nil {
		t.Error("a header that readers may understand differently was signed")
	}
}

func TestSigners(t *testing.T) {
	k := newKeys(t)
	k.writeRaw(t, "garbage.pem", []byte("garbage"))
	k.writeRaw(t, "der.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("garbage")}))
	with := func(name string, files ...string) config.Domain {
		d := config.Domain{Name: name}
		for _, file := range files {
			d.Keys = append(d.Keys, config.DKIMKey{Selector: "s", File: file})
		}
		return d
	}
	s := New([]config.Domain{k.domain, with("none.example"), with("missing.example", "r1.pem", "missing.pem"),
		with("garbage.example", "garbage.pem"), with("der.example", "der.pem")}, k.path)
	for domain, want := range map[string]string{
		"example.com": "", "unknown.example": "not a sending domain", "none.example": "no DKIM key",
		"missing.example": "missing.pem", "garbage.example": "PEM", "der.example": "PKCS #8",
	} {
		signer, err := s.For(domain)
		if want == "" && (err != nil || signer == nil) || want != "" && (err == nil || !regexp.MustCompile(want).MatchString(err.Error())) {
			t.Errorf("%s: %v, want %q", domain, err, want)
		}
	}
	if err := os.Remove(k.path("r1.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.For("example.com"); err != nil {
		t.Errorf("a key is read more than once: %v", err)
	}
}

func TestSignersTryAgain(t *testing.T) {
	k := newKeys(t)
	s := New([]config.Domain{k.domain}, k.path)
	file := k.path(k.domain.Keys[0].File)
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.For(k.domain.Name); err == nil {
		t.Fatal("signs without a key")
	}
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	if _, err := s.For(k.domain.Name); err != nil {
		t.Errorf("a failure that passed is kept: %v", err)
	}
}

func FuzzBody(f *testing.F) {
	k := newKeys(f)
	s := k.signer(f)
	s.keys = s.keys[1:] // Ed25519 is enough, and fast
	for _, seed := range []string{"", "x\r\n", " \r\n", "a  b\t\r\n\r\n", "\r\n\r\na\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		body = strings.ReplaceAll(strings.ReplaceAll(body, "\r", ""), "\n", "\r\n")
		if body != "" && !strings.HasSuffix(body, "\r\n") {
			body += "\r\n"
		}
		if all, good := k.valid(t, sign(t, s, plainHeader, strings.NewReader(body))); all != 1 || good != 1 {
			t.Errorf("%q: %d signatures, %d good", body, all, good)
		}
	})
}

func BenchmarkBody(b *testing.B) {
	k := newKeys(b)
	s := k.signer(b)
	line := []byte(strings.Repeat("some words of text ", 4) + "\r\n")
	body := bytes.Repeat(line, (1<<20)/len(line))
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		g, err := s.Sign([]byte(plainHeader), time.Now())
		if err != nil {
			b.Fatal(err)
		}
		_, _ = g.Write(body)
		if _, err := g.Finish(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSmall(b *testing.B) {
	k := newKeys(b)
	s := k.signer(b)
	for b.Loop() {
		g, _ := s.Sign([]byte(plainHeader), time.Now())
		_, _ = g.Write([]byte("body\r\n"))
		if _, err := g.Finish(); err != nil {
			b.Fatal(err)
		}
	}
}
