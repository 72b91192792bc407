package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/cmd/postrider/local"
	"github.com/postrider/postrider/relay/smtptest"
)

// domains writes the state of a data directory with one relay and a domain with these records.
func domains(t *testing.T, records ...v1alpha1.DNSRecord) (dataDir string) {
	t.Helper()
	relay := &v1alpha1.MailRelay{}
	relay.Namespace, relay.Name = "mail", "outbound"
	domain := v1alpha1.SendingDomain{Spec: v1alpha1.SendingDomainSpec{Domain: "shop.example", RelayRef: v1alpha1.RelayReference{Name: "outbound"}}}
	domain.Namespace, domain.Name, domain.Status.Records = "mail", "shop", records
	data, err := json.Marshal(local.State{Relays: []local.RelayState{{Relay: relay}}, Domains: []v1alpha1.SendingDomain{domain}})
	if err != nil {
		t.Fatal(err)
	}
	dataDir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dataDir, "state.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dataDir
}

// A DNS server's own parser reads back from each line what was to be published.
func TestRecordsAreLinesOfAZoneFile(t *testing.T) {
	long := "v=DKIM1; k=rsa; p=" + strings.Repeat("A", 392)
	dir := domains(t,
		v1alpha1.DNSRecord{Purpose: "DKIM", Name: "s._domainkey.shop.example", Type: "TXT", Expected: []string{long}},
		v1alpha1.DNSRecord{Purpose: "DMARC", Name: "_dmarc.shop.example", Type: "TXT", Expected: []string{`v=DMARC1; p="\`}},
		v1alpha1.DNSRecord{Purpose: "MX", Name: "shop.example", Type: "MX"},
	)
	code, out, complaint := cli(t, "dns", "records", "--data", dir)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, complaint)
	}
	var got []string
	parser := dns.NewZoneParser(strings.NewReader("$TTL 60\n"+out), "", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		parts := rr.(*dns.TXT).Txt
		if slices.ContainsFunc(parts, func(s string) bool { return len(s) > 255 }) {
			t.Errorf("a character-string of %s is too long", rr.Header().Name)
		}
		got = append(got, strings.Join(parts, ""))
	}
	// The parser keeps escapes as they are written.
	if want := []string{long, `v=DMARC1; p=\"\\`}; parser.Err() != nil || !slices.Equal(got, want) {
		t.Errorf("read back %q, error %v; want %q", got, parser.Err(), want)
	}
}

func TestCheckFailsForWhatMustChange(t *testing.T) {
	record := func(purpose v1alpha1.RecordPurpose, result v1alpha1.RecordResult) v1alpha1.DNSRecord {
		return v1alpha1.DNSRecord{Purpose: purpose, Name: "shop.example", Type: "TXT", Result: result, Message: "Publish it."}
	}
	for _, c := range []struct {
		name    string
		records []v1alpha1.DNSRecord
		code    int
		want    string
	}{
		{"well", []v1alpha1.DNSRecord{record("SPF", "NotRequired"), record("DKIM", "Pass"), record("DMARC", "Weak")}, 0, ""},
		{"missing", []v1alpha1.DNSRecord{record("DKIM", "Missing"), record("MX", "Pass")}, 1, "DKIM of shop.example: Missing"},
		{"unknown", []v1alpha1.DNSRecord{record("MX", "LookupFailed")}, 1, "MX of shop.example: LookupFailed"},
		{"not asked", nil, 1, "DNS has not been asked about shop.example yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, complaint := cli(t, "dns", "check", "--data", domains(t, c.records...))
			if code != c.code || !strings.Contains(complaint, c.want) || len(c.records) > 0 && !strings.Contains(out, "Publish it.") {
				t.Errorf("exit code %d, want %d\n%s%s", code, c.code, out, complaint)
			}
		})
	}
	if code, _, complaint := cli(t, "dns", "check", "--domain", "other.example", "--data", domains(t)); code != 1 || !strings.Contains(complaint, "there is no SendingDomain other.example") {
		t.Errorf("another domain: exit code %d, %s", code, complaint)
	}
}

func TestSPF(t *testing.T) {
	server, err := smtptest.NewDNS(`shop.example. TXT "v=spf1 ip4:192.0.2.0/24 -all"`)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, c := range []struct {
		ip   string
		code int
		want string
	}{{"192.0.2.7", 0, "pass"}, {"198.51.100.7", 1, "fail"}} {
		code, out, _ := cli(t, "dns", "spf", "--ip", c.ip, "--from", "a@shop.example", "--resolver", server.Addr())
		if code != c.code || !strings.HasPrefix(out, c.want) {
			t.Errorf("%s: exit code %d, %s", c.ip, code, out)
		}
	}
}
