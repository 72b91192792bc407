package dnscheck

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/dns"
)

func TestPTR(t *testing.T) {
	ours, other := netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("203.0.113.11")
	good := Named{Addr: ours, Names: []string{"x.example", "mx1.example.com"}, Back: map[string][]netip.Addr{"mx1.example.com": {other, ours}}}
	missing := Named{Addr: other, Err: dns.ErrNoData}
	unknown := Named{Addr: other, Err: context.DeadlineExceeded}
	astray := Named{Addr: other, Names: []string{"mx1.example.com"}, Back: map[string][]netip.Addr{"mx1.example.com": {ours}}}
	halfway := Named{Addr: other, Names: []string{"mx1.example.com"}, BackErr: context.DeadlineExceeded}
	tests := map[string]struct {
		all          []Named
		reason, says string
	}{
		"confirmed":                       {[]Named{good}, "ForwardConfirmed", "203.0.113.10 is mx1.example.com, x.example,"},
		"no name":                         {[]Named{missing}, "Missing", "name it mx1.example.com"},
		"a name that leads elsewhere":     {[]Named{astray}, "Mismatch", "203.0.113.11 is named mx1.example.com"},
		"no answer":                       {[]Named{unknown}, "Unknown", "deadline"},
		"no answer about the name":        {[]Named{halfway}, "Unknown", "deadline"},
		"one is not":                      {[]Named{good, astray, unknown}, "Mismatch", "203.0.113.11"},
		"what is known before what isn't": {[]Named{unknown, missing, good}, "Missing", "203.0.113.11"},
		"one is not known":                {[]Named{good, unknown}, "Unknown", "deadline"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if reason, message := PTR("mx1.example.com", test.all); reason != test.reason || !strings.Contains(message, test.says) {
				t.Errorf("%s: %s", reason, message)
			}
		})
	}
}
