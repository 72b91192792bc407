package dns

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

// Bounds on how long an answer is believed.
const (
	minTTL     = 5 * time.Second
	maxTTL     = time.Hour
	maxNegTTL  = 5 * time.Minute
	failureTTL = 5 * time.Second
)

// maxChain is how many CNAMEs are followed within an answer.
const maxChain = 10

// answer is what a question came to: records, a definite "no", or a failure.
type answer struct {
	records []mdns.RR
	err     error
	ttl     time.Duration
}

func failure(err error) answer { return answer{err: err, ttl: failureTTL} }

// read says what a message answers to a question. It believes nothing but records that belong to the name asked
// for, or to a name that a CNAME in the same answer leads to.
func read(m *mdns.Msg, q question) answer {
	if m.Truncated {
		return failure(errors.New("the answer is truncated"))
	}
	switch m.Rcode {
	case mdns.RcodeSuccess:
	case mdns.RcodeNameError:
		return answer{err: ErrNXDomain, ttl: negativeTTL(m)}
	default:
		return failure(fmt.Errorf("the server says %s", rcode(m.Rcode)))
	}
	owner, ttl, err := follow(m.Answer, mdns.Fqdn(q.name), q.qtype)
	if err != nil {
		return failure(err)
	}
	records := owned(m.Answer, owner, q.qtype)
	if len(records) == 0 {
		return nothing(m, strings.EqualFold(owner, mdns.Fqdn(q.name)))
	}
	for _, r := range records {
		ttl = min(ttl, seconds(r.Header().Ttl))
	}
	return answer{records: records, ttl: max(ttl, minTTL)}
}

// nothing tells a name without such a record from a server that knows nothing about it (RFC 2308 §2.2): a
// referral, or an alias that leads out of the answer.
func nothing(m *mdns.Msg, direct bool) answer {
	hasSOA := slices.ContainsFunc(m.Ns, func(r mdns.RR) bool { return r.Header().Rrtype == mdns.TypeSOA })
	hasNS := slices.ContainsFunc(m.Ns, func(r mdns.RR) bool { return r.Header().Rrtype == mdns.TypeNS })
	switch {
	case hasSOA, direct && !hasNS:
		return answer{err: ErrNoData, ttl: negativeTTL(m)}
	case hasNS:
		return failure(errors.New("the server refers to others instead of asking them"))
	default:
		return failure(errors.New("the answer ends in an alias without its target"))
	}
}

// follow returns the name at the end of the CNAME chain that starts at name, and the least TTL on the way.
func follow(records []mdns.RR, name string, qtype uint16) (string, time.Duration, error) {
	ttl := maxTTL
	for range maxChain {
		alias := owned(records, name, mdns.TypeCNAME)
		if len(alias) == 0 || qtype == mdns.TypeCNAME {
			return name, ttl, nil
		}
		ttl = min(ttl, seconds(alias[0].Header().Ttl))
		name = alias[0].(*mdns.CNAME).Target
	}
	return "", 0, fmt.Errorf("more than %d aliases, or a loop of them", maxChain-1)
}

// owned returns the records of a name and type.
func owned(records []mdns.RR, name string, qtype uint16) []mdns.RR {
	var of []mdns.RR
	for _, r := range records {
		h := r.Header()
		if h.Rrtype == qtype && h.Class == mdns.ClassINET && strings.EqualFold(h.Name, name) {
			of = append(of, r)
		}
	}
	return of
}

// negativeTTL is how long a "no" is believed (RFC 2308 §5).
func negativeTTL(m *mdns.Msg) time.Duration {
	for _, r := range m.Ns {
		if soa, ok := r.(*mdns.SOA); ok {
			ttl := min(seconds(soa.Minttl), seconds(soa.Hdr.Ttl), maxNegTTL)
			return max(ttl, minTTL)
		}
	}
	return minTTL
}

func seconds(ttl uint32) time.Duration { return time.Duration(ttl) * time.Second }

func rcode(code int) string {
	if name, ok := mdns.RcodeToString[code]; ok {
		return name
	}
	return fmt.Sprintf("RCODE %d", code)
}

// exchangers sorts out MX records: valid hosts in ascending preference, each once, at most maxMX. A null MX counts
// only when it stands alone (RFC 7505 §3).
func exchangers(records []mdns.RR) []MX {
	var hosts []MX
	for _, r := range records {
		mx, ok := r.(*mdns.MX)
		if !ok {
			continue
		}
		if mx.Mx == "." && len(records) == 1 {
			return []MX{{Host: ".", Preference: mx.Preference}}
		}
		if host, ok := hostName(mx.Mx); ok {
			hosts = append(hosts, MX{Host: host, Preference: mx.Preference})
		}
	}
	slices.SortStableFunc(hosts, func(a, b MX) int { return cmp.Compare(a.Preference, b.Preference) })
	return firstOfEach(hosts)
}

// firstOfEach keeps the best preference of each host, and no more than maxMX hosts.
func firstOfEach(hosts []MX) []MX {
	seen := make(map[string]bool, len(hosts))
	kept := hosts[:0]
	for _, mx := range hosts {
		if !seen[mx.Host] && len(kept) < maxMX {
			seen[mx.Host] = true
			kept = append(kept, mx)
		}
	}
	return kept
}

func addresses(records []mdns.RR) []netip.Addr {
	var addrs []netip.Addr
	for _, r := range records[:min(len(records), maxAddrs)] {
		var octets []byte
		switch r := r.(type) {
		case *mdns.A:
			octets = r.A.To4()
		case *mdns.AAAA:
			octets = r.AAAA.To16()
		}
		if addr, ok := netip.AddrFromSlice(octets); ok {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

func texts(records []mdns.RR) []string {
	var all []string
	for _, r := range records[:min(len(records), maxTXT)] {
		if txt, ok := r.(*mdns.TXT); ok {
			all = append(all, unescape(strings.Join(txt.Txt, "")))
		}
	}
	return all
}

func pointers(records []mdns.RR) []string {
	var names []string
	for _, r := range records[:min(len(records), maxPTR)] {
		if ptr, ok := r.(*mdns.PTR); ok {
			if name, ok := hostName(ptr.Ptr); ok {
				names = append(names, name)
			}
		}
	}
	return names
}
