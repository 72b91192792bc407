package deliver_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/route"
	"github.com/postrider/postrider/relay/smtptest"
)

// TestIPv6 goes all ways that IPv4 goes.
func TestIPv6(t *testing.T) {
	ca := smtptest.NewCA()
	for name, tc := range map[string]struct {
		sink smtptest.Options
		hop  route.Hop
	}{
		"plain":            {smtptest.Options{}, route.Hop{Host: "mx.test"}},
		"in one flight":    {smtptest.Options{Offer: []string{"CHUNKING"}}, route.Hop{Host: "mx.test"}},
		"LMTP":             {smtptest.Options{LMTP: true}, route.Hop{Host: "mx.test", LMTP: true}},
		"TLS":              {smtptest.Options{TLS: ca.ServerTLS("mx.test")}, route.Hop{Host: "mx.test", TLS: config.HopRequired, RootCAs: ca.Pool()}},
		"TLS of a literal": {smtptest.Options{TLS: ca.ServerTLS("::1")}, route.Hop{Host: "::1", TLS: config.HopRequired, RootCAs: ca.Pool()}},
	} {
		tc.sink.Addr = "[::1]:0"
		s := newSink(t, tc.sink)
		tc.hop.Port, tc.hop.Addrs = s.Port(), []netip.Addr{netip.IPv6Loopback()}
		c := newClient(t)
		if o := c.Probe(t.Context(), "relay.test", plan(tc.hop), "a@x.test", false); o.Reply.Code != 250 {
			t.Errorf("%s: %s", name, o.Reply)
		}
		o := c.Do(t.Context(), "relay.test", mail("a@x.test"), open, plan(tc.hop))[0]
		if o.Reply.Code != 250 || o.NextHop != fmt.Sprintf("%s[::1]:%d", tc.hop.Host, s.Port()) {
			t.Errorf("%s: %+v", name, o)
		}
		if m := s.Messages(); len(m) != 1 || string(m[0].Data) != content || s.Connections() != 1 {
			t.Errorf("%s: %d connections, %+v", name, s.Connections(), m)
		}
	}
}

// A family that leads nowhere costs a try, whichever it is.
func TestTheOtherFamilyIsTried(t *testing.T) {
	four, six := newSink(t, smtptest.Options{}), newSink(t, smtptest.Options{Addr: "[::1]:0"})
	for _, port := range []int{four.Port(), six.Port()} {
		for _, addrs := range [][]netip.Addr{{loopback, netip.IPv6Loopback()}, {netip.IPv6Loopback(), loopback}} {
			h := hop(port)
			h.Addrs = addrs
			wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(h)), "250 2.0.0 kept")
		}
	}
	if four.Accepted() != 2 || six.Accepted() != 2 {
		t.Errorf("%d over IPv4, %d over IPv6", four.Accepted(), six.Accepted())
	}
}
