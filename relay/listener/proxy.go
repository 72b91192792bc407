package listener

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxyTimeout is how long a proxy may take for its header.
const proxyTimeout = 5 * time.Second

var errForeignProxy = errors.New("only proxies may connect here")

// parseProxies are the networks of the proxies; a text that is none is in the error, and the others count.
func parseProxies(texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	var bad []error
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			bad = append(bad, fmt.Errorf("proxyCIDRs: %w", err))
			continue
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, errors.Join(bad...)
}

// identify learns from the PROXY protocol header, where the listener wants one, who the client is. What follows the
// header stays to be read. A connection that a proxy makes for itself (LOCAL, UNKNOWN) keeps the proxy's address, and
// is nobody that is trusted.
func (s *session) identify() error {
	if len(s.Listener.ProxyCIDRs) == 0 {
		return nil
	}
	proxy := s.Remote.Addr()
	if !slices.ContainsFunc(s.settings.proxies, func(p netip.Prefix) bool { return p.Contains(proxy) }) {
		return errForeignProxy
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(proxyTimeout)); err != nil {
		return err
	}
	in := bufio.NewReader(s.conn.Conn)
	client, err := readProxyHeader(in)
	if err != nil {
		return err
	}
	s.conn.in = in
	if !client.IsValid() {
		s.anonymous = true
		return nil
	}
	s.Remote = client
	return nil
}

// readProxyHeader reads a header of the PROXY protocol, version 1 or 2. The client is not valid where the proxy speaks
// for itself.
func readProxyHeader(in *bufio.Reader) (client netip.AddrPort, err error) {
	header, err := proxyproto.Read(in)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("PROXY header: %w", err)
	}
	if header.Command.IsLocal() {
		return netip.AddrPort{}, nil
	}
	source, _, ok := header.TCPAddrs()
	if !ok {
		return netip.AddrPort{}, errors.New("PROXY header: not of a TCP connection")
	}
	address := source.AddrPort()
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port()), nil
}
