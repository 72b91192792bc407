//go:build interop

package interop

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/status"
	"github.com/postrider/postrider/test/peers"
)

// Behind HAProxy, the client that it names is the one that is trusted or not and that Received tells of. Who does not come
// from the proxy, or without a header, is turned away.
func TestHAProxy(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) { behindProxy(t, version) })
	}
}

const proxy = 80 // the last octet of its address

func behindProxy(t *testing.T, version int) {
	p := newPlace(t)
	p.mailboxes("proxied.test")
	client6 := p.ip6(trusted)
	r := p.relay(kind + `
  listeners: [{name: smtp, port: 25, mode: Relay, proxyProtocol: Required, proxyCIDRs: [{net}.80/32]}]
  access: {trustedCIDRs: [{net}.9/32, "{net6}9/128"], undeclaredSenders: Accept}
  routes: [{name: mailboxes, match: {recipientDomains: [proxied.test]}, lmtp: {host: {net}.24}}]
`)
	hosts := map[string]string{p.ip(trusted): p.ip(proxy), client6: p.ip6(proxy)}
	var arrived int64
	for client, host := range hosts {
		haproxy, err := peers.StartHAProxy(p.path("haproxy-"+host), net.JoinHostPort(host, "25"), r.address(portSMTP), p.ip(proxy), version)
		p.must(err)
		p.stopAfter(haproxy.Stop)
		s := submission{Host: host, Port: 25, From: "bob@proxied.test", To: []string{"ada@proxied.test"}}
		s.Message = text(s.From, s.To[0], "from "+client, 3)
		s.Source = client
		r.accepts(s)
		arrived++
		eventually(t, "it arrives with the client's address", func() error { return p.tellsOf(client) })

		s.Source, s.To = "", []string{"ada@elsewhere.test"}
		if got := r.send(s); got.Refused["ada@elsewhere.test"][0] != float64(550) {
			t.Errorf("a stranger may relay through the proxy: %+v", got)
		}
	}
	r.settles(status.Ledger{Accepted: arrived, Delivered: arrived})
	r.turnsAway(p.ip(trusted), "EHLO client.test\r\n")
	r.turnsAway(p.ip(proxy), "EHLO client.test\r\n")
	r.turnsAway(p.ip(trusted), "PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\nEHLO client.test\r\n")
}

// tellsOf wants a message in ada's mailbox whose Received names this client.
func (p *place) tellsOf(client string) error {
	got, err := p.mailbox("ada@proxied.test")
	if err != nil {
		return err
	}
	literal := "[" + client + "]"
	if strings.Contains(client, ":") {
		literal = "[IPv6:" + client + "]"
	}
	for _, m := range got {
		if strings.Contains(m, literal) {
			return nil
		}
	}
	return fmt.Errorf("%s is not in %q", literal, got)
}

// turnsAway wants a connection from this address, which says this, to end without that EHLO is answered.
func (r *relay) turnsAway(from, says string) {
	r.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", r.address(portSMTP))
	r.must(err)
	defer c.Close()
	r.must(c.SetDeadline(time.Now().Add(60 * time.Second)))
	if _, err := c.Write([]byte(says)); err != nil {
		return // it is closed already
	}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "250") {
			r.t.Errorf("%s, which says %q, is answered %s", from, says, lines.Text())
		}
	}
}
