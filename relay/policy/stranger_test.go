package policy

import (
	"testing"

	"github.com/postrider/postrider/relay/config"
)

func TestOpenRelay(t *testing.T) {
	tests := map[string]struct {
		trusted  []string
		relaysTo func(string) bool
		open     bool
	}{
		"nobody is trusted":            {nil, func(string) bool { return false }, false},
		"networks":                     {[]string{"10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"}, func(string) bool { return false }, false},
		"a hosted domain":              {nil, func(d string) bool { return d == "hosted.example" || d == "mx.example.com" }, false},
		"everybody":                    {[]string{"0.0.0.0/0"}, func(string) bool { return false }, true},
		"everybody in two halves":      {[]string{"0.0.0.0/1", "128.0.0.0/1"}, func(string) bool { return false }, true},
		"everybody who speaks IPv6":    {[]string{"2000::/3"}, func(string) bool { return false }, true},
		"recipients wherever they are": {nil, func(string) bool { return true }, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := New(Options{
				Relay:    config.Relay{Hostname: "mx.example.com", Postmaster: "ops@example.com", Access: config.Access{TrustedCIDRs: test.trusted}},
				RelaysTo: test.relaysTo,
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.OpenRelay(); (err != nil) != test.open {
				t.Errorf("%v", err)
			}
		})
	}
}
