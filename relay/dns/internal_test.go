package dns

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

func TestSystemServersFollowTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	now := time.Unix(1e9, 0)
	s := newSystemServers(path, func() time.Time { return now })
	if _, err := s.list(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		now = now.Add(recheck)
		if err := os.Chtimes(path, now, now); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct{ text, want string }{
		{"nameserver 192.0.2.1\nnameserver 2001:db8::1\n", "192.0.2.1:53 [2001:db8::1]:53"},
		{"nameserver 192.0.2.2\n", "192.0.2.2:53"},
		{"", "192.0.2.2:53"}, // emptied: what was there goes on
	} {
		write(step.text)
		got, err := s.list()
		if err != nil || strings.Join(got, " ") != step.want {
			t.Errorf("%q: %v, %v", step.text, got, err)
		}
	}
}

func TestHostName(t *testing.T) {
	for name, want := range map[string]bool{
		"mx.example.com.": true, "MX_1.example.com": true, "1.example.com": true, "localhost": true,
		"192.0.2.1": false, "": false, ".": false, "a..b": false, "-a.b": false, "a-.b": false, "a b.c": false,
		strings.Repeat("a", 64) + ".b": false, strings.Repeat("a.", 126) + "a": true, strings.Repeat("a.", 127) + "a": false,
		"[192.0.2.1]": false, "ä.example": false, "x\x00.example": false, "x;y.example": false,
	} {
		if got, ok := hostName(name); ok != want || ok && got != strings.ToLower(strings.TrimSuffix(name, ".")) {
			t.Errorf("%q: %q, %v", name, got, ok)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`plain`: "plain", `a\"b`: `a"b`, `a\\b`: `a\b`, `\195\164`: "ä", `\000`: "\x00", `end\`: `end\`, `\99`: "99",
	} {
		if got := unescape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzRead puts arbitrary octets in the place of an answer: there must be no panic, and what comes out must obey
// the promises of Resolver.
func FuzzRead(f *testing.F) {
	for _, text := range []string{"x.test. 60 IN MX 10 mx.x.test.", "x.test. 0 IN A 192.0.2.1", `x.test. 1 IN TXT "a\\b"`,
		"x.test. 60 IN CNAME y.test.", "1.x.test. 60 IN PTR a.test.", "x.test. 60 IN AAAA 2001:db8::1"} {
		m := new(mdns.Msg).SetQuestion("x.test.", mdns.TypeMX)
		r, err := mdns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		m.Response, m.Answer = true, []mdns.RR{r}
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		m := new(mdns.Msg)
		if m.Unpack(octets) != nil {
			return
		}
		for _, qtype := range []uint16{mdns.TypeMX, mdns.TypeA, mdns.TypeAAAA, mdns.TypeTXT, mdns.TypePTR} {
			a := read(m, question{"x.test", qtype})
			if (len(a.records) == 0) != (a.err != nil) || a.ttl < minTTL || a.ttl > maxTTL {
				t.Fatalf("%+v", a)
			}
			hosts := exchangers(a.records)
			if len(hosts) > maxMX || !slices.IsSortedFunc(hosts, func(a, b MX) int { return int(a.Preference) - int(b.Preference) }) {
				t.Fatalf("%v", hosts)
			}
			_, _, _ = addresses(a.records), texts(a.records), pointers(a.records)
		}
	})
}
