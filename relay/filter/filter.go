// Package filter owns the questions that a relay puts to others before it accepts mail: DNS block lists (RFC 5782)
// about the client, rspamd and milters about the message. It turns what they say into a reply, header fields to add,
// or a hold; one that gives no verdict in time is passed over or means "later", as the admin chose.
//
// Filters are trusted to refuse mail, not to change it: no field that is there is touched, no recipient and no octet of
// the body. What they send is bounded, and made inert before it is passed on. A message is read back from where it was
// stored, never held in memory.
package filter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
)

// longest bounds all filters of a message together: a client waits ten minutes for the reply to its final dot
// (RFC 5321 §4.5.3.2.6), and gives up, or sends twice, after that.
const longest = 5 * time.Minute

// Client is who sends.
type Client struct {
	Addr netip.Addr
	Port uint16
	Helo string
	// User is the name the client authenticated with; empty when it did not.
	User string
	// TLSVersion and Cipher are empty in clear.
	TLSVersion, Cipher string
}

// Message is a message that was received whole, and is not accepted yet.
type Message struct {
	// ID is its spool id.
	ID         string
	Client     Client
	From       string // the reverse path; empty for <>
	Recipients []string
	// Header is the header block, with the blank line at its end.
	Header []byte
	// Body reads the rest from its beginning, each time it is called.
	Body func() io.Reader
	// BodySize is its length in octets.
	BodySize int64
}

// Verdict is what the filters want done with a message that none of them refuses.
type Verdict struct {
	// Fields are header fields to put above the message, whole lines.
	Fields []byte
	// Hold is why the message is to be held; empty when it is not.
	Hold string
}

// Options of a Chain.
type Options struct {
	Filters []config.Filter
	// Path is where a file named in the configuration is.
	Path func(file string) string
	// Resolver answers for block lists.
	Resolver Resolver
	// Hostname is the relay's name.
	Hostname string
	Metrics  *Metrics
	Log      *slog.Logger
}

// Chain is the filters of one configuration, in its order. It is safe for concurrent use.
type Chain struct {
	lists   []*list
	content []*content
	log     *slog.Logger
}

// content is a filter that judges messages.
type content struct {
	config.Filter
	asker
	metrics *Metrics
}

// asker puts one question. An error says that there was no verdict.
type asker interface {
	ask(ctx context.Context, m *Message) (opinion, error)
}

// opinion is the verdict of one filter.
type opinion struct {
	// refuse is the reply that refuses the message; its code is 0 when the filter does not.
	refuse reply.Reply
	fields []field
	hold   string
}

// New makes the filters usable. With an error the others are; the filter that it names gives no verdict.
func New(o Options) (*Chain, error) {
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	c := &Chain{log: o.Log}
	var problems []error
	for _, f := range o.Filters {
		if f.DNSBL != nil {
			c.lists = append(c.lists, newList(f, o))
			continue
		}
		a, err := newAsker(f, o)
		if err != nil {
			problems = append(problems, fmt.Errorf("filter %s: %w", f.Name, err))
			a = unusable{err}
		}
		c.content = append(c.content, &content{Filter: f, asker: a, metrics: o.Metrics})
	}
	return c, errors.Join(problems...)
}

func newAsker(f config.Filter, o Options) (asker, error) {
	switch {
	case f.Rspamd != nil:
		password, err := readPassword(f.Rspamd.PasswordFile, o.Path)
		if err != nil {
			return nil, err
		}
		return newRspamd(f, password, o.Hostname)
	case f.Milter != nil:
		return newMilter(f, o.Hostname), nil
	}
	return nil, errors.New("it says neither dnsbl, rspamd nor milter")
}

func readPassword(file string, path func(string) string) (string, error) {
	if file == "" {
		return "", nil
	}
	data, err := os.ReadFile(path(file))
	if err != nil {
		return "", fmt.Errorf("read its password: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// unusable is a filter that its configuration does not describe.
type unusable struct{ why error }

func (u unusable) ask(context.Context, *Message) (opinion, error) { return opinion{}, u.why }

// JudgesContent says whether there is a filter that wants to see messages; never for a nil Chain.
func (c *Chain) JudgesContent() bool { return c != nil && len(c.content) > 0 }

// JudgesClients says whether there is a block list; never for a nil Chain.
func (c *Chain) JudgesClients() bool { return c != nil && len(c.lists) > 0 }

// Client asks the block lists about a client. The error is a reply.Reply that refuses its mail.
func (c *Chain) Client(ctx context.Context, addr netip.Addr) error {
	for _, l := range c.lists {
		if err := l.judge(ctx, addr.Unmap().WithZone("")); err != nil {
			return err
		}
	}
	return nil
}

// Message asks the filters about a message, one after the other. The error is a reply.Reply that refuses it, or the
// trouble that kept its body from being read.
func (c *Chain) Message(session context.Context, m *Message) (Verdict, error) {
	ctx, cancel := context.WithTimeout(session, longest)
	defer cancel()
	var fields []field
	var verdict Verdict
	for _, f := range c.content {
		o, err := f.question(ctx, m)
		if session.Err() != nil { // nobody waits for a reply: that no filter gave a verdict means nothing
			err = fmt.Errorf("filter %s was broken off: %w", f.Name, context.Cause(session))
		}
		if err != nil {
			return Verdict{}, err
		}
		if o.failed != nil {
			c.log.Warn("a filter gave no verdict", "filter", f.Name, "spool_id", m.ID, "on_failure", f.OnFailure, "error", o.failed)
			if f.OnFailure == config.FailDefer {
				return Verdict{}, unavailable(f.Name)
			}
			continue
		}
		if o.refuse.Code != 0 {
			c.log.Info("refused by a filter", "filter", f.Name, "spool_id", m.ID, "client", m.Client.Addr.String(),
				"from", m.From, "reply", o.refuse.String())
			return Verdict{}, o.refuse
		}
		fields = append(fields, o.fields...)
		if o.hold != "" && verdict.Hold == "" {
			c.log.Info("held by a filter", "filter", f.Name, "spool_id", m.ID, "client", m.Client.Addr.String(),
				"from", m.From, "reason", o.hold)
			verdict.Hold = fmt.Sprintf("filter %s: %s", f.Name, o.hold)
		}
	}
	verdict.Fields = c.render(m, fields)
	return verdict, nil
}

// answered is an opinion, or why there is none.
type answered struct {
	opinion
	failed error
}

// question asks one filter. Its error is trouble of our own, which says nothing about the filter.
func (f *content) question(ctx context.Context, m *Message) (answered, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(f.TimeoutSeconds)*time.Second)
	defer cancel()
	g := &gate{}
	readable := *m
	readable.Body = func() io.Reader { return g.guard(m.Body()) }
	o, err := f.ask(ctx, &readable)
	if broken := g.shut(); broken != nil {
		return answered{}, fmt.Errorf("read the message for filter %s: %w", f.Name, broken)
	}
	f.metrics.count(f.Name, outcome(o, err))
	return answered{o, err}, nil
}

// gate stands between a message and who reads it. It remembers that the message itself could not be read, and it shuts:
// an HTTP client may go on reading a body after it has returned, when the message's memory is somebody else's.
type gate struct {
	mu     sync.Mutex
	closed bool
	broken error
}

type gated struct {
	*gate
	in io.Reader
}

func (g *gate) guard(in io.Reader) io.Reader { return &gated{g, in} }

// Read implements io.Reader.
func (g *gated) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return 0, io.ErrClosedPipe
	}
	n, err := g.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		g.broken = err
	}
	return n, err
}

// shut ends all reading and returns why the message could not be read, if it could not.
func (g *gate) shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	return g.broken
}

func unavailable(name string) reply.Reply {
	return reply.Reply{Code: 451, Enhanced: "4.7.1", Text: fmt.Sprintf("Filter %s gives no verdict; try again later", name)}
}

// refusal is a reply that refuses a message for a filter; said is the filter's own text, if it has one.
func refusal(code int, name, said string) reply.Reply {
	r := reply.Reply{Code: code, Enhanced: "5.7.1", Text: "Refused by filter " + name}
	if code < 500 {
		r.Enhanced, r.Text = "4.7.1", "Put off by filter "+name
	}
	if said = inert(said, maxText); said != "" {
		r.Text += ": " + said
	}
	return r
}

// maxText is how much of a filter's text goes into a reply.
const maxText = 200

// inert makes a text from elsewhere one line of printable ASCII, no longer than limit.
func inert(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f { // line ends, too
			return ' '
		}
		if r > '~' {
			return '?'
		}
		return r
	}, text[:min(len(text), 4*limit)])
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(len(text), limit)]
}
