package dnscheck

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/dns"
)

const domain = "example.com"

var (
	errServfail = errors.New("SERVFAIL")
	errNXDomain = fmt.Errorf("TXT of example.com: %w", dns.ErrNXDomain)
	errNoData   = fmt.Errorf("TXT of example.com: %w", dns.ErrNoData)
)

// expect compares a verdict and holds every verdict to what a status can hold.
func expect(t *testing.T, r v1alpha1.DNSRecord, want v1alpha1.RecordResult, message string) {
	t.Helper()
	if r.Result != want || !strings.Contains(r.Message, message) {
		t.Errorf("got %s %q, want %s with %q", r.Result, r.Message, want, message)
	}
	if (r.Result == v1alpha1.ResultPass) != (r.Message == "") {
		t.Errorf("%s with the message %q", r.Result, r.Message)
	}
	if len(r.Observed) > maxValues || len(r.Message) > maxValue || slices.ContainsFunc(r.Observed, func(v string) bool { return len(v) > maxValue }) {
		t.Error("the verdict does not fit into a status")
	}
}

func TestMX(t *testing.T) {
	tests := map[string]struct {
		answer  Exchangers
		want    v1alpha1.RecordResult
		message string
	}{
		"a host":                               {Exchangers{Values: []dns.MX{{Host: "mx1.example.com", Preference: 10}}}, v1alpha1.ResultPass, ""},
		"null MX":                              {Exchangers{Values: []dns.MX{{Host: "."}}}, v1alpha1.ResultMismatch, "null MX"},
		"only A":                               {Exchangers{Err: errNoData}, v1alpha1.ResultWeak, "Publish an MX"},
		"nothing":                              {Exchangers{Err: errNoData, AddressErr: errNoData}, v1alpha1.ResultMissing, "nowhere to go"},
		"no such domain":                       {Exchangers{Err: errNXDomain, AddressErr: errNXDomain}, v1alpha1.ResultMissing, "nowhere to go"},
		"no answer":                            {Exchangers{Err: errServfail}, v1alpha1.ResultLookupFailed, "SERVFAIL"},
		"no MX, and no answer about addresses": {Exchangers{Err: errNoData, AddressErr: errServfail}, v1alpha1.ResultLookupFailed, "SERVFAIL"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { expect(t, MX(domain, test.answer), test.want, test.message) })
	}
}

func TestMXShowsPreferences(t *testing.T) {
	r := MX(domain, Exchangers{Values: []dns.MX{{Host: "a.example.com", Preference: 5}, {Host: "b.example.com", Preference: 10}}})
	if want := []string{"10 b.example.com", "5 a.example.com"}; !slices.Equal(r.Observed, want) {
		t.Errorf("got %q, want %q", r.Observed, want)
	}
}

func rsaKey(t *testing.T) PublicKey {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return publicKey(t, &private.PublicKey)
}

func publicKey(t *testing.T, public any) PublicKey {
	t.Helper()
	key, err := NewPublicKey("pr20260901-a", public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestDKIM(t *testing.T) {
	key := rsaKey(t)
	record := key.Record()
	p := record[strings.Index(record, "p="):]
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edwards := publicKey(t, public)

	tests := map[string]struct {
		answer  Texts
		want    v1alpha1.RecordResult
		message string
	}{
		"ours":              {Texts{Values: []string{record}}, v1alpha1.ResultPass, ""},
		"bare":              {Texts{Values: []string{p}}, v1alpha1.ResultPass, ""},
		"folded":            {Texts{Values: []string{"v=DKIM1;k=rsa; h=sha1 : sha256;s=email;" + p[:50] + " \t" + p[50:] + ";"}}, v1alpha1.ResultPass, ""},
		"testing":           {Texts{Values: []string{"v=DKIM1; t=s:y; " + p}}, v1alpha1.ResultWeak, "t=y"},
		"nothing":           {Texts{Err: errNXDomain}, v1alpha1.ResultMissing, "Publish"},
		"no answer":         {Texts{Err: errServfail}, v1alpha1.ResultLookupFailed, "SERVFAIL"},
		"another key":       {Texts{Values: []string{rsaKey(t).Record()}}, v1alpha1.ResultMismatch, "another key"},
		"another type":      {Texts{Values: []string{edwards.Record()}}, v1alpha1.ResultMismatch, "type ed25519"},
		"cut at 255 octets": {Texts{Values: []string{record[:255]}}, v1alpha1.ResultMismatch, "not base64"},
		"revoked":           {Texts{Values: []string{"v=DKIM1; p="}}, v1alpha1.ResultMismatch, "revokes"},
		"without p":         {Texts{Values: []string{"v=DKIM1"}}, v1alpha1.ResultMismatch, "revokes"},
		"version 2":         {Texts{Values: []string{"v=DKIM2; " + p}}, v1alpha1.ResultMismatch, "v=DKIM1"},
		"version last":      {Texts{Values: []string{p + "; v=DKIM1"}}, v1alpha1.ResultMismatch, "v=DKIM1"},
		"sha1 only":         {Texts{Values: []string{"h=sha1; " + p}}, v1alpha1.ResultMismatch, "sha256"},
		"not for mail":      {Texts{Values: []string{"s=tlsrpt; " + p}}, v1alpha1.ResultMismatch, "email"},
		"twice":             {Texts{Values: []string{record + "; p=x"}}, v1alpha1.ResultMismatch, "twice"},
		"two records":       {Texts{Values: []string{record, record}}, v1alpha1.ResultMismatch, "several"},
		"hello":             {Texts{Values: []string{"hello\xff"}}, v1alpha1.ResultMismatch, "name=value"},
		"empty":             {Texts{Values: []string{""}}, v1alpha1.ResultMismatch, "name=value"},
		"a long one":        {Texts{Values: []string{"v=DKIM1; n=" + strings.Repeat("ü", 2000)}}, v1alpha1.ResultMismatch, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := DKIM(domain, key, test.answer)
			expect(t, r, test.want, test.message)
			if r.Name != "pr20260901-a._domainkey.example.com" || !slices.Equal(r.Expected, []string{record}) {
				t.Errorf("expected %q at %s", r.Expected, r.Name)
			}
		})
	}
	expect(t, DKIM(domain, edwards, Texts{Values: []string{edwards.Record()}}), v1alpha1.ResultPass, "")
	if len(edwards.Data) != ed25519.PublicKeySize {
		t.Errorf("an Ed25519 key is published as %d octets", len(edwards.Data))
	}
	if _, err := NewPublicKey("s", "key"); err == nil {
		t.Error("a string was taken for a key")
	}
}

func TestDMARC(t *testing.T) {
	at := func(values ...string) Texts { return Texts{Values: values} }
	none := Texts{Err: errNoData}
	tests := map[string]struct {
		answers []Texts
		want    v1alpha1.RecordResult
		message string
	}{
		"reject":               {[]Texts{at("v=DMARC1; p=reject; rua=mailto:d@example.com")}, v1alpha1.ResultPass, ""},
		"capitals":             {[]Texts{at("v=DMARC1;p=Quarantine")}, v1alpha1.ResultPass, ""},
		"beside another":       {[]Texts{at("hello", "v=DMARC1; p=reject")}, v1alpha1.ResultPass, ""},
		"none":                 {[]Texts{at("v=DMARC1; p=none")}, v1alpha1.ResultWeak, "none"},
		"nothing":              {[]Texts{{Err: errNXDomain}}, v1alpha1.ResultMissing, "Publish"},
		"only others":          {[]Texts{at("hello")}, v1alpha1.ResultMissing, "Publish"},
		"lower case version":   {[]Texts{at("v=dmarc1; p=reject")}, v1alpha1.ResultMissing, ""},
		"no answer":            {[]Texts{{Err: errServfail}}, v1alpha1.ResultLookupFailed, "SERVFAIL"},
		"no p":                 {[]Texts{at("v=DMARC1; rua=mailto:d@example.com")}, v1alpha1.ResultMismatch, "no p="},
		"misspelt":             {[]Texts{at("v=DMARC1; p=rejct")}, v1alpha1.ResultMismatch, "p=rejct"},
		"commas":               {[]Texts{at("v=DMARC1, p=reject; p=none; p=x")}, v1alpha1.ResultMissing, ""},
		"a bare address":       {[]Texts{at("v=DMARC1; p=reject; rua=d@example.com")}, v1alpha1.ResultMismatch, "mailto:"},
		"two":                  {[]Texts{at("v=DMARC1; p=reject", "v=DMARC1; p=none")}, v1alpha1.ResultMismatch, "several"},
		"inherited":            {[]Texts{none, at("v=DMARC1; p=reject")}, v1alpha1.ResultPass, ""},
		"inherited sp":         {[]Texts{none, at("v=DMARC1; p=reject; sp=none")}, v1alpha1.ResultWeak, "_dmarc.example.com"},
		"sp does not bind":     {[]Texts{at("v=DMARC1; p=reject; sp=none")}, v1alpha1.ResultPass, ""},
		"parent not answering": {[]Texts{none, {Err: errServfail}}, v1alpha1.ResultLookupFailed, "SERVFAIL"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { expect(t, DMARC("news.example.com", test.answers), test.want, test.message) })
	}
}

func TestDMARCNames(t *testing.T) {
	tests := map[string][]string{
		"example.com":             {"_dmarc.example.com"},
		"a.b.example.com":         {"_dmarc.a.b.example.com", "_dmarc.b.example.com", "_dmarc.example.com"},
		"a.b.c.d.e.f.g.h.i.j.com": {"_dmarc.a.b.c.d.e.f.g.h.i.j.com", "_dmarc.e.f.g.h.i.j.com", "_dmarc.f.g.h.i.j.com", "_dmarc.g.h.i.j.com", "_dmarc.h.i.j.com", "_dmarc.i.j.com", "_dmarc.j.com"},
	}
	for name, want := range tests {
		if got := DMARCNames(name); !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestSPF(t *testing.T) {
	four, six := netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::10")
	both := []netip.Addr{four, six}
	published := Texts{Values: []string{"hello", "v=spf1 ip4:203.0.113.10 -all"}}
	result := func(a netip.Addr, r string) Evaluation {
		return Evaluation{Address: a, Result: r, Reason: "too many look-ups"}
	}
	tests := map[string]struct {
		egress      []netip.Addr
		answer      Texts
		evaluations []Evaluation
		want        v1alpha1.RecordResult
		message     string
	}{
		"pass":              {both, published, []Evaluation{result(four, "pass"), result(six, "pass")}, v1alpha1.ResultPass, ""},
		"one is not in it":  {both, published, []Evaluation{result(four, "pass"), result(six, "fail")}, v1alpha1.ResultMismatch, "Add ip6:2001:db8::10 "},
		"softfail":          {both[:1], published, []Evaluation{result(four, "softfail")}, v1alpha1.ResultMismatch, "ip4:203.0.113.10"},
		"neutral":           {both[:1], published, []Evaluation{result(four, "neutral")}, v1alpha1.ResultMismatch, "ip4:203.0.113.10"},
		"broken":            {both[:1], published, []Evaluation{result(four, "permerror")}, v1alpha1.ResultMismatch, "too many look-ups"},
		"include fails":     {both[:1], published, []Evaluation{result(four, "temperror")}, v1alpha1.ResultLookupFailed, "too many look-ups"},
		"anyone":            {both[:1], Texts{Values: []string{"v=spf1 +all"}}, []Evaluation{result(four, "pass")}, v1alpha1.ResultWeak, "anyone"},
		"two records":       {both[:1], Texts{Values: []string{"v=spf1 -all", "V=SPF1 a"}}, nil, v1alpha1.ResultMismatch, "several"},
		"none":              {both[:1], Texts{Err: errNXDomain}, nil, v1alpha1.ResultMissing, "Publish"},
		"none among others": {both[:1], Texts{Values: []string{"hello", "v=spf10 a"}}, nil, v1alpha1.ResultMissing, "Publish"},
		"no answer":         {both[:1], Texts{Err: errServfail}, nil, v1alpha1.ResultLookupFailed, "SERVFAIL"},
		"no egress address": {nil, published, nil, v1alpha1.ResultNotRequired, "spec.egress.addresses"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			expect(t, SPF(domain, test.egress, test.answer, test.evaluations), test.want, test.message)
		})
	}
	if r := SPF(domain, both, published, nil); r.Expected[0] != "v=spf1 ip4:203.0.113.10 ip6:2001:db8::10 ~all" {
		t.Errorf("expected %q", r.Expected)
	}
}
