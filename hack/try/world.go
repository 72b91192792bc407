package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

// The world has these domains. Each has an MX host on a loopback address of its own; all listen on the same port.
const (
	senderDomain   = "shop.example"     // ours: bounces come back to it
	customerDomain = "customer.example" // takes mail
	refusingDomain = "refusing.example" // answers 550
	closedDomain   = "closed.example"   // nothing listens there
)

// world is what is outside the relay.
type world struct {
	dns *smtptest.DNS
	// home takes the bounces, customer and refusing are receivers.
	home, customer, refusing *smtptest.Sink
	// port is that of all MX hosts.
	port int
}

func newWorld() (*world, error) {
	w := &world{}
	hosts := map[string]**smtptest.Sink{senderDomain: &w.home, customerDomain: &w.customer, refusingDomain: &w.refusing, closedDomain: nil}
	var err error
	if w.dns, err = smtptest.NewDNS(); err != nil {
		return nil, err
	}
	if w.port, err = freePort(); err != nil {
		return nil, err
	}
	for i, domain := range []string{senderDomain, customerDomain, refusingDomain, closedDomain} {
		address := fmt.Sprintf("127.0.77.%d", 11+i)
		if err := w.dns.Add(
			fmt.Sprintf("%s. MX 10 mx.%s.", domain, domain),
			fmt.Sprintf("mx.%s. A %s", domain, address),
		); err != nil {
			return nil, err
		}
		if hosts[domain] == nil {
			continue
		}
		o := smtptest.Options{
			Addr: net.JoinHostPort(address, strconv.Itoa(w.port)), Hostname: "mx." + domain,
			Replies: map[string]reply.Reply{"@" + refusingDomain: {Code: 550, Enhanced: "5.1.1", Text: "no such user here"}},
		}
		if *hosts[domain], err = smtptest.NewSink(o); err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

func (w *world) close() {
	w.dns.Close()
	for _, s := range []*smtptest.Sink{w.home, w.customer, w.refusing} {
		if s != nil {
			s.Close()
		}
	}
}

// freePort is one that no receiver's address has in use.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.77.11:0")
	if err != nil {
		return 0, fmt.Errorf("a loopback address for the receivers: %w", err)
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// freeAddress is a loopback address at which a port is free.
func freeAddress(port int) (string, error) {
	var failed error
	for i := 1; i <= 9; i++ {
		address := fmt.Sprintf("127.0.77.%d", i)
		l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if err == nil {
			return address, l.Close()
		}
		failed = errors.Join(failed, err)
	}
	return "", failed
}

// message returns the first one that a sink has for a recipient.
func message(s *smtptest.Sink, to string) (smtptest.Message, bool) {
	messages := s.Messages()
	i := slices.IndexFunc(messages, func(m smtptest.Message) bool { return slices.Contains(m.To, to) })
	if i < 0 {
		return smtptest.Message{}, false
	}
	return messages[i], true
}

// header returns the lines of the named fields of a message, folded as they came.
func header(data []byte, names ...string) []string {
	block, _, _ := strings.Cut(string(data), "\r\n\r\n")
	var lines []string
	wanted := false
	for line := range strings.SplitSeq(block, "\r\n") {
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
			name, _, _ := strings.Cut(line, ":")
			wanted = slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
		}
		if wanted {
			lines = append(lines, line)
		}
	}
	return lines
}
