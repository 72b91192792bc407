package deliver

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/route"
)

// key is all in which two connections must be equal to stand for one another.
type key struct {
	addr     netip.AddrPort
	tls      config.HopTLS
	verified string // the name that the certificate was verified against
	roots    *x509.CertPool
	username string
	password string
	tokens   route.TokenSource
	lmtp     bool
	ehlo     string
}

// target is a host at one of its addresses.
type target struct {
	host string
	key  key
}

func newTarget(hop route.Hop, addr netip.Addr, ehlo string) target {
	t := target{host: hop.Host, key: key{
		addr: netip.AddrPortFrom(addr, uint16(hop.Port)), tls: hop.TLS,
		username: hop.Username, password: hop.Password, tokens: hop.Tokens, lmtp: hop.LMTP, ehlo: ehlo,
	}}
	if hop.TLS == config.HopRequired {
		t.key.verified, t.key.roots = hop.Host, hop.RootCAs
	}
	return t
}

// String is the target as logs have it: "mx1.example.com[192.0.2.1]:25".
func (t target) String() string {
	return fmt.Sprintf("%s[%s]:%d", t.host, t.key.addr.Addr(), t.key.addr.Port())
}

func (t target) mayGoPlain() bool {
	return t.key.tls == config.HopOpportunistic && t.key.username == ""
}

// memory holds addresses for a while.
type memory struct {
	keep  time.Duration
	mu    sync.Mutex
	until map[netip.AddrPort]time.Time
}

func newMemory(keep time.Duration) *memory {
	return &memory{keep: keep, until: make(map[netip.AddrPort]time.Time)}
}

// maxRemembered bounds a memory. Forgetting costs one more failure.
const maxRemembered = 10_000

func (m *memory) remember(addr netip.AddrPort, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.until) >= maxRemembered {
		clear(m.until)
	}
	m.until[addr] = now.Add(m.keep)
}

func (m *memory) forget(addr netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.until, addr)
}

func (m *memory) holds(addr netip.AddrPort, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Before(m.until[addr])
}

// spares says whether the memory holds some addresses of a plan, and not all.
func (m *memory) spares(plan route.Plan, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.until) == 0 {
		return false
	}
	held, others := false, false
	for _, hop := range plan.Hops {
		for _, addr := range hop.Addrs {
			holds := now.Before(m.until[netip.AddrPortFrom(addr, uint16(hop.Port))])
			held, others = held || holds, others || !holds
		}
	}
	return held && others
}

// unsendable says why an address cannot stand in a command; a reply without code if it can. What was accepted can
// be sent, so this only keeps a fault elsewhere from becoming a command of its own.
func unsendable(address string, utf8 bool, enhanced string) reply.Reply {
	quoted, escaped := false, false
	for _, c := range []byte(address) {
		switch {
		case c < ' ' || c == 0x7f, !quoted && strings.IndexByte(" <>", c) >= 0:
			return reply.Reply{Code: 553, Enhanced: enhanced, Text: fmt.Sprintf("%q cannot be an address in SMTP", address)}
		case c >= 0x80 && !utf8:
			return reply.Reply{Code: 553, Enhanced: "5.6.7", Text: fmt.Sprintf("%q needs SMTPUTF8", address)}
		case escaped:
			escaped = false
		case c == '\\':
			escaped = quoted
		case c == '"':
			quoted = !quoted
		}
	}
	return reply.Reply{}
}
