package dns

import (
	"context"
	"errors"
	"fmt"
	"strings"

	mdns "github.com/miekg/dns"
)

const (
	// rounds is how often the list of servers is gone through.
	rounds = 2
	// payload is the UDP size we offer: it fits every path without fragments (DNS flag day 2020).
	payload = 1232
)

// question is what is asked, and the cache's key. The name is lower case, without the final dot.
type question struct {
	name  string
	qtype uint16
}

// String is "MX of example.com".
func (q question) String() string { return mdns.TypeToString[q.qtype] + " of " + q.name }

// ask puts the question to one server after the other until one gives a definite answer. It takes no longer than
// six time-outs, whoever waits for it.
func (c *Client) ask(q question) answer {
	ctx, cancel := context.WithTimeout(context.Background(), 3*rounds*c.timeout)
	defer cancel()
	servers, err := c.servers()
	if err != nil {
		return failure(fmt.Errorf("look up %s: %w", q, err))
	}
	var failed error
	first := int(c.preferred.Load())
	for i := range rounds * len(servers) {
		server := (first + i) % len(servers)
		a, err := c.askServer(ctx, q, servers[server])
		if err == nil {
			c.preferred.Store(uint32(server))
			return a
		}
		failed = err
		if ctx.Err() != nil {
			break
		}
	}
	return failure(failed)
}

// askServer returns a definite answer of one server, or an error if it has none.
func (c *Client) askServer(ctx context.Context, q question, server string) (answer, error) {
	m, err := c.exchange(ctx, q, server)
	if err != nil {
		return answer{}, fmt.Errorf("look up %s at %s: %w", q, server, err)
	}
	a := read(m, q)
	if a.err != nil {
		a.err = fmt.Errorf("look up %s at %s: %w", q, server, a.err)
	}
	if a.err != nil && !NotFound(a.err) {
		return answer{}, a.err
	}
	return a, nil
}

// exchange asks over UDP, over TCP when the answer is truncated, and without EDNS0 when the server does not know
// it (RFC 6891 §7). The library draws ids and source ports at random and drops answers with another id.
func (c *Client) exchange(ctx context.Context, q question, server string) (*mdns.Msg, error) {
	m := new(mdns.Msg).SetQuestion(mdns.Fqdn(q.name), q.qtype)
	m.SetEdns0(payload, false)
	answer, err := c.over(ctx, "udp", m, server)
	if err == nil && (answer.Rcode == mdns.RcodeFormatError || answer.Rcode == mdns.RcodeNotImplemented) {
		m.Extra = nil
		answer, err = c.over(ctx, "udp", m, server)
	}
	if err == nil && answer.Truncated {
		answer, err = c.over(ctx, "tcp", m, server)
	}
	return answer, err
}

func (c *Client) over(ctx context.Context, network string, m *mdns.Msg, server string) (*mdns.Msg, error) {
	client := mdns.Client{Net: network, Timeout: c.timeout}
	answer, _, err := client.ExchangeContext(ctx, m, server)
	if err != nil {
		return nil, err
	}
	return answer, matches(m, answer)
}

// matches says whether the answer is to our question (RFC 5452 §9.1).
func matches(asked, answer *mdns.Msg) error {
	if !answer.Response || answer.Opcode != mdns.OpcodeQuery {
		return errors.New("what came back is not an answer")
	}
	if len(answer.Question) == 0 && answer.Rcode == mdns.RcodeFormatError {
		return nil // a server that does not understand the question need not repeat it
	}
	if len(answer.Question) != 1 ||
		answer.Question[0].Qtype != asked.Question[0].Qtype ||
		answer.Question[0].Qclass != asked.Question[0].Qclass ||
		!strings.EqualFold(answer.Question[0].Name, asked.Question[0].Name) {
		return errors.New("the answer is to another question")
	}
	return nil
}
