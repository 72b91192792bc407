package main

import (
	"net"
	"strings"

	mdns "github.com/miekg/dns"

	"github.com/postrider/postrider/controllers/dkimkey"
	"github.com/postrider/postrider/controllers/dnscheck"
)

// nameServer says of every domain what its admin would have published, with one set of keys for all.
type nameServer struct {
	udp     *mdns.Server
	records map[string]string // DKIM keys, by selector
}

func startNameServer(set dkimkey.Set) (*nameServer, error) {
	s := &nameServer{records: map[string]string{}}
	for _, k := range set.Keys {
		public, err := dnscheck.NewPublicKey(k.Selector, k.Public)
		if err != nil {
			return nil, err
		}
		s.records[k.Selector] = public.Record()
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	started := make(chan struct{})
	s.udp = &mdns.Server{PacketConn: conn, Handler: mdns.HandlerFunc(s.serve), NotifyStartedFunc: func() { close(started) }}
	go func() { _ = s.udp.ActivateAndServe() }() // until close
	<-started
	return s, nil
}

func (s *nameServer) address() string { return s.udp.PacketConn.LocalAddr().String() }
func (s *nameServer) close()          { _ = s.udp.Shutdown() }

func (s *nameServer) serve(w mdns.ResponseWriter, request *mdns.Msg) {
	reply := new(mdns.Msg).SetReply(request)
	question := request.Question[0]
	header := mdns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: mdns.ClassINET, Ttl: 60}
	switch question.Qtype {
	case mdns.TypeMX:
		reply.Answer = []mdns.RR{&mdns.MX{Hdr: header, Preference: 10, Mx: "mx.example."}}
	case mdns.TypeA:
		reply.Answer = []mdns.RR{&mdns.A{Hdr: header, A: net.IPv4(192, 0, 2, 1)}}
	case mdns.TypeTXT:
		reply.Answer = []mdns.RR{&mdns.TXT{Hdr: header, Txt: pieces(s.text(question.Name))}}
	}
	_ = w.WriteMsg(reply)
}

// text is the TXT record of a name.
func (s *nameServer) text(name string) string {
	first, rest, _ := strings.Cut(strings.ToLower(name), ".")
	switch {
	case strings.HasPrefix(rest, "_domainkey."):
		return s.records[first]
	case first == "_dmarc":
		return "v=DMARC1; p=reject"
	default:
		return "v=spf1 mx -all"
	}
}

// pieces are of 255 octets at most, as a TXT record has them (RFC 1035 §3.3.14).
func pieces(text string) []string {
	var list []string
	for len(text) > 255 {
		list = append(list, text[:255])
		text = text[255:]
	}
	return append(list, text)
}
