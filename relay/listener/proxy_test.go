package listener

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/postrider/postrider/relay/config"
)

// behindProxy lets the loopback addresses be proxies, and trusts one client behind them, and the proxies themselves.
func behindProxy(o *Options) {
	o.Listener.ProxyCIDRs = []string{"127.0.0.0/8", "::1/128"}
	o.Trusted = func(a netip.Addr) bool {
		return a == netip.MustParseAddr("192.0.2.7") || a == netip.MustParseAddr("2001:db8::7") || a.IsLoopback()
	}
}

// header is one of the PROXY protocol.
func header(t *testing.T, version byte, client string) string {
	t.Helper()
	source := netip.MustParseAddrPort(client)
	destination := netip.MustParseAddrPort("198.51.100.1:25")
	if source.Addr().Is6() {
		destination = netip.MustParseAddrPort("[2001:db8::1]:25")
	}
	octets, err := proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(source), net.TCPAddrFromAddrPort(destination)).Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(octets)
}

const (
	v2Signature = "\r\n\r\n\x00\r\nQUIT\n"
	v2Local     = v2Signature + "\x20\x00\x00\x00"
)

// TestProxiedClient: the address in the header is the client's, for everything that asks.
func TestProxiedClient(t *testing.T) {
	for octets, want := range map[string]struct {
		client  string
		trusted bool
	}{
		header(t, 1, "192.0.2.7:4321"):                        {"192.0.2.7:4321", true},
		header(t, 2, "192.0.2.7:4321"):                        {"192.0.2.7:4321", true},
		header(t, 1, "192.0.2.8:4321"):                        {"192.0.2.8:4321", false},
		header(t, 1, "[2001:db8::7]:4321"):                    {"[2001:db8::7]:4321", true},
		header(t, 2, "[2001:db8::8]:4321"):                    {"[2001:db8::8]:4321", false},
		"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 4321 25\r\n": {"192.0.2.7:4321", true},
		"PROXY UNKNOWN\r\n":                                   {"127.0.0.1:", false},
		"PROXY UNKNOWN 192.0.2.7 1.2.3.4 1 2\r\n":             {"127.0.0.1:", false},
		v2Local: {"127.0.0.1:", false},
	} {
		r := serve(t, config.ModeRelay, config.TLSNone, behindProxy)
		p := r.dial()
		p.send(octets)
		p.expect("220 ")
		p.do("EHLO a.example", "250 ")
		p.begin()
		p.do("A: b\r\n\r\n.", "250 ")
		if got := r.handler.all()[0]; !strings.HasPrefix(got.Remote.String(), want.client) || got.Trusted != want.trusted {
			t.Errorf("%q: client %s, trusted %v, want %+v", octets, got.Remote, got.Trusted, want)
		}
	}
}

// TestNotProxied: who comes without a header, or from elsewhere, is told nothing.
func TestNotProxied(t *testing.T) {
	for _, first := range []string{
		"EHLO a.example\r\n", "PROXY\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1 1 25\n", "PROXY TCP4 192.0.2.7 198.51.100.1 1 99999\r\n",
		"PROXY TCP4 2001:db8::7 2001:db8::1 1 25\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1 1 25 x\r\n", "PROXY UDP4 192.0.2.7 198.51.100.1 1 25\r\n",
		"PROXY " + strings.Repeat("x", 200), "proxy UNKNOWN\r\n", v2Signature + "\x11\x11\x00\x00" + strings.Repeat("x", 20),
		v2Signature + "\x21\x11\x00\x01x", v2Signature + "\x21\x12\x00\x0c" + strings.Repeat("x", 12), v2Signature + "\x21\x31\x00\xd8" + strings.Repeat("x", 216),
		v2Signature + "\x21\x11\xff\xff" + strings.Repeat("x", 5000), v2Signature + "\x21\x00\x00\x00", v2Signature + "\x2f\x11\x00\x0c" + strings.Repeat("x", 12),
	} {
		p := serve(t, config.ModeRelay, config.TLSNone, behindProxy).dial()
		p.send(first)
		if c, ok := p.raw.(*net.TCPConn); ok {
			_ = c.CloseWrite()
		}
		if said, _ := io.ReadAll(p.in); len(said) > 0 {
			t.Errorf("%q: %q", first, said)
		}
	}
	for _, cidrs := range [][]string{{"192.0.2.0/24"}, {"not a network"}} {
		r := serve(t, config.ModeRelay, config.TLSNone, func(o *Options) { o.Listener.ProxyCIDRs = cidrs })
		p := r.dial()
		_, _ = io.WriteString(p.Conn, header(t, 2, "192.0.2.7:4321"))
		if said, _ := io.ReadAll(p.in); len(said) > 0 {
			t.Errorf("behind %s: %q", cidrs, said)
		}
	}
}

// TestProxyHeaderIsNotWaitedForLong: five seconds, and nothing is said.
func TestProxyHeaderIsNotWaitedForLong(t *testing.T) {
	for _, sent := range []string{"", "P", v2Signature, v2Signature + "\x21\x11\x00\x0c"} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := piped(t, func(o *Options) { o.Listener.ProxyCIDRs = []string{"192.0.2.1/32"} })
			said := listen(c)
			if sent != "" {
				_, _ = io.WriteString(c, sent)
			}
			start := time.Now()
			if got := <-said; got != "" || time.Since(start) != proxyTimeout {
				t.Errorf("%q: said %q after %s", sent, got, time.Since(start))
			}
		})
	}
}

// TestProxiedClientsAreCounted by their own address, not by the proxy's.
func TestProxiedClientsAreCounted(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, func(o *Options) { behindProxy(o); o.Caps = NewCaps(10, 1) })
	for i, want := range []string{"220 ", "220 ", "421 4.7.0"} {
		p := r.dial()
		p.send(header(t, 1, fmt.Sprintf("192.0.2.%d:%d", max(7, 8-i), 1000+i)))
		p.expect(want)
	}
}

// TestTLSBehindProxy: it begins after the header, even where both come in one piece.
func TestTLSBehindProxy(t *testing.T) {
	r := serve(t, config.ModeSubmission, config.TLSImplicit, behindProxy)
	p := r.dial()
	p.Conn = prefixed{p.Conn, header(t, 2, "192.0.2.8:4321")}
	p.secure(r.tls())
	p.expect("220 ")
	r = serve(t, config.ModeRelay, config.TLSOpportunistic, behindProxy)
	p = r.dial()
	p.send(header(t, 1, "192.0.2.7:4321"))
	p.expect("220 ")
	p.do("EHLO a.example", "250 ", "STARTTLS", "220 ")
	p.secure(r.tls())
	p.do("EHLO a.example", "250 ")
}

// prefixed sends a prefix with the first octets.
type prefixed struct {
	net.Conn
	prefix string
}

func (c prefixed) Write(octets []byte) (int, error) {
	if octets[0] != 0x16 || octets[5] != 1 { // no ClientHello
		return c.Conn.Write(octets)
	}
	n, err := c.Conn.Write(append([]byte(c.prefix), octets...))
	return n - len(c.prefix), err
}

// FuzzProxyHeader: whatever comes, there is a client of TCP, or none, or an error, and no octet behind it is taken.
func FuzzProxyHeader(f *testing.F) {
	for _, seed := range []string{
		"PROXY TCP4 192.0.2.7 198.51.100.1 1 25\r\n", "PROXY TCP6 2001:db8::7 2001:db8::1 1 25\r\n", "PROXY UNKNOWN\r\n", v2Local,
		v2Signature + "\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\x00\x01\x00\x19", v2Signature + "\x21\x21\x00\x24" + strings.Repeat("x", 36), "EHLO x\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		const mark = "EHLO behind.example\r\n"
		in := bufio.NewReader(strings.NewReader(string(octets) + mark))
		client, err := readProxyHeader(in)
		if err != nil {
			return
		}
		if client.IsValid() && client.Addr().Is4In6() {
			t.Errorf("%q: %s", octets, client)
		}
		rest, err := io.ReadAll(in)
		if whole := string(octets) + mark; err != nil || !strings.HasSuffix(whole, string(rest)) || len(rest) > len(whole)-15 {
			t.Errorf("%q: behind it stands %q", octets, rest)
		}
	})
}

// TestStoppedWhileProxiesSpeak: a listener that is broken off closes connections whose headers are on their way, and
// waits for nobody. The race detector sees what the sessions share with who closes them.
func TestStoppedWhileProxiesSpeak(t *testing.T) {
	for range 20 {
		r := serve(t, config.ModeRelay, config.TLSNone, behindProxy)
		<-r.Ready()
		var speaking sync.WaitGroup
		for range 10 {
			c, err := net.Dial("tcp", r.Status().Address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			speaking.Go(func() { _, _ = io.WriteString(c, "PROXY UNKNOWN\r\n") })
		}
		now, cancel := context.WithCancel(t.Context())
		cancel()
		_ = r.Shutdown(now)
		speaking.Wait()
	}
}
