package smtptest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// DNS is a resolver with a zone of its own: it answers over UDP and TCP on one port, follows aliases within the
// zone, and says NXDOMAIN for every name that neither has a record nor stands above one that has.
type DNS struct {
	udp, tcp *dns.Server
	addr     string

	mu      sync.Mutex
	records []dns.RR
	special map[string]func(*dns.Msg) *dns.Msg
	asked   map[string]int
}

// NewDNS starts a resolver on a free port of 127.0.0.1. Its records are given as lines of a zone file with full
// names: "example.com. 60 MX 10 mx.example.com."; the TTL may be left out (60 s).
func NewDNS(records ...string) (*DNS, error) {
	return ListenDNS("127.0.0.1:0", records...)
}

// ListenDNS starts a resolver on addr, host:port.
func ListenDNS(addr string, records ...string) (*DNS, error) {
	d := &DNS{special: make(map[string]func(*dns.Msg) *dns.Msg), asked: make(map[string]int)}
	if err := d.Add(records...); err != nil {
		return nil, err
	}
	l, p, err := listenBoth(addr)
	if err != nil {
		return nil, err
	}
	d.addr = l.Addr().String()
	d.tcp = &dns.Server{Listener: l, Handler: dns.HandlerFunc(d.serve)}
	d.udp = &dns.Server{PacketConn: p, Handler: dns.HandlerFunc(d.serve), UDPSize: dns.DefaultMsgSize}
	for _, server := range []*dns.Server{d.tcp, d.udp} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started
	}
	return d, nil
}

// listenBoth opens TCP and UDP on the same port. A free TCP port can be taken over UDP, so it tries again.
func listenBoth(addr string) (net.Listener, net.PacketConn, error) {
	var failed error
	for range 20 {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
		if err != nil {
			return nil, nil, fmt.Errorf("DNS server for tests: %w", err)
		}
		p, err := new(net.ListenConfig).ListenPacket(context.Background(), "udp", l.Addr().String())
		if err == nil {
			return l, p, nil
		}
		failed = err
		_ = l.Close()
	}
	return nil, nil, fmt.Errorf("DNS server for tests: %w", failed)
}

// Addr is host:port of the server.
func (d *DNS) Addr() string { return d.addr }

// Close stops the server.
func (d *DNS) Close() {
	_ = d.udp.Shutdown()
	_ = d.tcp.Shutdown()
}

// Add adds records to the zone.
func (d *DNS) Add(records ...string) error {
	var parsed []dns.RR
	for _, line := range records {
		r, err := dns.NewRR("$TTL 60\n" + line)
		if err != nil {
			return fmt.Errorf("record %q: %w", line, err)
		}
		if r == nil {
			return fmt.Errorf("record %q: it is empty", line)
		}
		parsed = append(parsed, r)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records = append(d.records, parsed...)
	return nil
}

// Remove takes all records of a name out of the zone.
func (d *DNS) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := d.records[:0:0]
	for _, r := range d.records {
		if canonical(r.Header().Name) != canonical(name) {
			kept = append(kept, r)
		}
	}
	d.records = kept
}

// Answer lets f answer the questions about a name, of every type; a nil message is silence. A nil f puts the zone
// back in charge.
func (d *DNS) Answer(name string, f func(request *dns.Msg) *dns.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f == nil {
		delete(d.special, canonical(name))
		return
	}
	d.special[canonical(name)] = f
}

// Fail answers questions about a name with a response code, such as dns.RcodeServerFailure.
func (d *DNS) Fail(name string, rcode int) {
	d.Answer(name, func(request *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(request, rcode) })
}

// Silence leaves questions about a name without an answer.
func (d *DNS) Silence(name string) {
	d.Answer(name, func(*dns.Msg) *dns.Msg { return nil })
}

// Slow answers questions about a name from the zone, after a while.
func (d *DNS) Slow(name string, wait time.Duration) {
	d.Answer(name, func(request *dns.Msg) *dns.Msg {
		time.Sleep(wait)
		return d.fromZone(request)
	})
}

// Asked is how often a name has been asked for, over UDP and TCP and for all types together.
func (d *DNS) Asked(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[canonical(name)]
}

func (d *DNS) serve(w dns.ResponseWriter, request *dns.Msg) {
	if len(request.Question) != 1 {
		return
	}
	name := canonical(request.Question[0].Name)
	d.mu.Lock()
	d.asked[name]++
	special := d.special[name]
	d.mu.Unlock()
	answer := d.fromZone
	if special != nil {
		answer = special
	}
	m := answer(request)
	if m == nil {
		return
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		m.Truncate(room(request))
	}
	_ = w.WriteMsg(m)
}

// room is how many octets the asker takes over UDP.
func room(request *dns.Msg) int {
	if opt := request.IsEdns0(); opt != nil {
		return int(opt.UDPSize())
	}
	return dns.MinMsgSize
}

func (d *DNS) fromZone(request *dns.Msg) *dns.Msg {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := new(dns.Msg).SetReply(request)
	m.RecursionAvailable = true
	q := request.Question[0]
	name := canonical(q.Name)
	for range 20 { // aliases; a loop of them ends as an answer full of aliases
		found := d.of(name, q.Qtype)
		m.Answer = append(m.Answer, found...)
		if len(found) > 0 {
			return m
		}
		alias := d.of(name, dns.TypeCNAME)
		if len(alias) == 0 {
			break
		}
		m.Answer = append(m.Answer, alias[0])
		name = canonical(alias[0].(*dns.CNAME).Target)
	}
	if !d.exists(name) {
		m.Rcode = dns.RcodeNameError
	}
	m.Ns = []dns.RR{startOfAuthority()}
	return m
}

// of returns the records of a canonical name and type.
func (d *DNS) of(name string, qtype uint16) []dns.RR {
	var found []dns.RR
	for _, r := range d.records {
		if r.Header().Rrtype == qtype && canonical(r.Header().Name) == name {
			found = append(found, r)
		}
	}
	return found
}

func (d *DNS) exists(name string) bool {
	for _, r := range d.records {
		owner := canonical(r.Header().Name)
		if owner == name || strings.HasSuffix(owner, "."+name) {
			return true
		}
	}
	return false
}

func startOfAuthority() dns.RR {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60},
		Ns:  "ns.test.", Mbox: "postmaster.test.", Serial: 1, Refresh: 60, Retry: 60, Expire: 60, Minttl: 60,
	}
}

func canonical(name string) string { return dns.CanonicalName(name) }
