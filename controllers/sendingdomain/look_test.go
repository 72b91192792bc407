package sendingdomain

import (
	"net/netip"
	"testing"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/dkimkey"
	"github.com/postrider/postrider/relay/dns"
	"github.com/postrider/postrider/relay/smtptest"
)

func TestLookAtARealServer(t *testing.T) {
	server, err := smtptest.NewDNS(
		"example.com. MX 10 mx1.example.com.", "mx1.example.com. A 203.0.113.10", "mx1.example.com. AAAA 2001:db8::10",
		`example.com. TXT "v=spf1 include:_spf.example.net mx -all"`, `_spf.example.net. TXT "v=spf1 ip4:198.51.100.0/24 ~all"`,
		`_dmarc.example.com. TXT "v=DMARC1; " "p=reject"`,
		`broken.example. TXT "v=spf1 include:missing.example -all"`, "broken.example. MX 0 .",
		`loop.example. TXT "v=spf1 include:loop.example -all"`,
		`ptr.example. TXT "v=spf1 ptr -all"`, "10.113.0.203.in-addr.arpa. PTR host.ptr.example.", "host.ptr.example. A 203.0.113.10",
		"bare.example. A 203.0.113.10",
	)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	server.Fail("down.example.", 2)
	resolver := dns.New(dns.Options{Servers: []string{server.Addr()}})
	four, six := netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::10")
	const pass, missing, mismatch, weak, failed = v1alpha1.ResultPass, v1alpha1.ResultMissing, v1alpha1.ResultMismatch, v1alpha1.ResultWeak, v1alpha1.ResultLookupFailed

	tests := map[string]struct {
		domain         string
		egress         []netip.Addr
		mx, spf, dmarc v1alpha1.RecordResult
	}{
		"all is well":                  {"example.com", []netip.Addr{four, six}, pass, pass, pass},
		"included":                     {"example.com", []netip.Addr{netip.MustParseAddr("198.51.100.7")}, pass, pass, pass},
		"another address":              {"example.com", []netip.Addr{netip.MustParseAddr("192.0.2.7")}, pass, mismatch, pass},
		"below, with DMARC from above": {"news.example.com", []netip.Addr{four}, missing, missing, pass},
		"an include of nothing":        {"broken.example", []netip.Addr{four}, mismatch, mismatch, missing},
		"an include of itself":         {"loop.example", []netip.Addr{four}, missing, mismatch, missing},
		"by its name":                  {"ptr.example", []netip.Addr{four}, missing, pass, missing},
		"only an address":              {"bare.example", nil, weak, v1alpha1.ResultNotRequired, missing},
		"a server that fails":          {"down.example", []netip.Addr{four}, failed, failed, missing},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			key, err := dkimkey.Generate("pr20260901-a", []v1alpha1.DKIMAlgorithm{v1alpha1.Ed25519})
			if err != nil {
				t.Fatal(err)
			}
			records, err := look(t.Context(), resolver, subject{domain: test.domain, hostname: "mx1.example.com", keys: key.Keys, egress: test.egress})
			if err != nil {
				t.Fatal(err)
			}
			want := map[v1alpha1.RecordPurpose]v1alpha1.RecordResult{
				v1alpha1.PurposeMX: test.mx, v1alpha1.PurposeSPF: test.spf, v1alpha1.PurposeDMARC: test.dmarc, v1alpha1.PurposeDKIM: missing,
			}
			if len(records) != len(want) {
				t.Fatalf("%d records", len(records))
			}
			for _, r := range records {
				if r.Result != want[r.Purpose] {
					t.Errorf("%s is %s (%s), want %s", r.Purpose, r.Result, r.Message, want[r.Purpose])
				}
			}
		})
	}
}
