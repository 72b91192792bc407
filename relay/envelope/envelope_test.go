package envelope

import "testing"

func TestSenderDomainIsNotForged(t *testing.T) {
	for _, tc := range []struct {
		e    Envelope
		want string
	}{
		{Envelope{Origin: Submitted, Tenant: "news.example", ReversePath: "a@Example.org"}, "news.example"},
		{Envelope{Origin: Trusted, ReversePath: "a@Example.org"}, "example.org"},
		{Envelope{Origin: Trusted}, ""},
		{Envelope{Origin: Internal}, ""},
		{Envelope{Origin: Relayed, ReversePath: "forged@example.org"}, ""},
	} {
		if got := tc.e.SenderDomain(); got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.e, got, tc.want)
		}
	}
}
