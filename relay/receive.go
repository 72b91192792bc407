package relay

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/postrider/postrider/relay/dkim"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/listener"
	"github.com/postrider/postrider/relay/policy"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/spool"
)

var (
	errNoRoom   = reply.Reply{Code: 452, Enhanced: "4.3.1", Text: "Insufficient storage; try again later"}
	errCordoned = reply.Reply{Code: 421, Enhanced: "4.3.2", Text: "This pod takes no new mail; connect again to reach another"}
	errNoConfig = reply.Reply{Code: 451, Enhanced: "4.3.5", Text: "No configuration is in force yet; try again later"}
)

// Mail implements listener.Handler.
func (r *Relay) Mail(_ context.Context, c *listener.Session) error {
	return r.countRefused(c, r.mail(c))
}

// Rcpt implements listener.Handler.
func (r *Relay) Rcpt(ctx context.Context, c *listener.Session, to envelope.Recipient) error {
	return r.countRefused(c, r.rcpt(ctx, c, to))
}

// Data implements listener.Handler.
func (r *Relay) Data(ctx context.Context, c *listener.Session, header []byte, body io.Reader) (reply.Reply, error) {
	queued, err := r.receive(ctx, c, header, body)
	return queued, r.countRefused(c, err)
}

// clientOf says who a session is of.
func clientOf(c *listener.Session) policy.Client {
	client := policy.ClientOf(c.User, c.Trusted)
	client.UID = c.UID
	return client
}

// mail: may this client use this reverse path, and is there room?
func (r *Relay) mail(c *listener.Session) error {
	s := r.settings.Load()
	switch {
	case s == nil:
		return errNoConfig
	case s.cordoned(r.options.Pod):
		return errCordoned
	case r.pressure.lowDisk.Load():
		return errNoRoom
	default:
		return s.policy.ReversePath(clientOf(c), c.ReversePath)
	}
}

// rcpt: may this client send to this recipient?
func (r *Relay) rcpt(ctx context.Context, c *listener.Session, to envelope.Recipient) error {
	s := r.settings.Load()
	client := clientOf(c)
	var err error
	to.Address, err = s.policy.Recipient(client, to.Address)
	if err != nil {
		return err
	}
	if err := r.filterClient(ctx, s, c, client, to.Address); err != nil {
		return err
	}
	if err := r.verify(ctx, s, client, to.Address); err != nil {
		return err
	}
	if err := r.refused(c, to); err != nil {
		return err
	}
	if err := r.suppressedAtRCPT(s, c, client, to.Address); err != nil {
		return err
	}
	c.Recipients = append(c.Recipients, to)
	return nil
}

// receive is the first half of a message's path: judged, signed, stored and synced before the 250.
func (r *Relay) receive(ctx context.Context, c *listener.Session, header []byte, body io.Reader) (reply.Reply, error) {
	r.receiving.Add(1)
	defer r.receiving.Add(-1)
	s := r.settings.Load()
	if s.cordoned(r.options.Pod) {
		return reply.Reply{}, errCordoned // since MAIL; what was counted before may end
	}
	client := clientOf(c)
	verdict, err := s.policy.Header(client, header)
	if err != nil {
		return reply.Reply{}, err
	}
	now := time.Now()
	if err := r.suppress(s, c, client, verdict.Tenant, now); err != nil {
		return reply.Reply{}, err
	}
	if err := s.policy.Accept(client, c.ReversePath, verdict.Tenant); err != nil {
		return reply.Reply{}, err
	}
	w := r.spool.Create()
	defer w.Abort()

	added := verdict.Missing(c.Listener.Mode, w.ID(), s.config.Relay.Hostname, now)
	signatures, err := r.store(w, s, verdict, added, header, body, now)
	if err != nil {
		return reply.Reply{}, err
	}
	judged, err := r.filterMessage(ctx, s, c, w, added, header)
	if err != nil {
		return reply.Reply{}, err
	}
	priority := policy.Priority(client, c.Priority, verdict.Priority)
	prefix := slices.Concat(signatures, judged.Fields, received(c, s, w.ID(), priority, now), added)
	all := entriesFor(c, client, verdict, priority, now)
	holdAll(all, judged.Hold)
	directed := r.directives.Current()
	holdDirected(directed, all, now)
	entries, err := w.Commit(prefix, all)
	if err != nil {
		return reply.Reply{}, err
	}
	r.record(slices.Concat(accepted(c, entries), dropped(c, w.ID(), all), held(entries, now))...)
	r.schedule.Wake(entries...)
	r.releaseEnded(directed, entries)
	return queued(w.ID(), c.Priority, priority), nil
}

// queued is the reply to a message that is on stable storage. A client that asked for another priority than it got is
// told (RFC 6710 §9, X.3.6).
func queued(id envelope.ID, asked *int, got int) reply.Reply {
	if asked != nil && *asked != got {
		return reply.Reply{Code: 250, Enhanced: "2.3.6", Text: fmt.Sprintf("%d is the priority; queued as %s", got, id)}
	}
	return reply.Reply{Code: 250, Enhanced: "2.0.0", Text: "queued as " + string(id)}
}

// store streams the message into the spool and, where it is to be signed, past the signer. It returns the
// signatures.
func (r *Relay) store(w *spool.Writer, s *settings, v policy.Verdict, added, header []byte, body io.Reader, now time.Time) ([]byte, error) {
	var signing *dkim.Signing
	into := io.Writer(w)
	if v.Sign {
		var err error
		if signing, err = s.signing(v.Tenant, slices.Concat(added, header), now); err != nil {
			return nil, err
		}
		into = io.MultiWriter(w, signing)
	}
	if _, err := w.Write(header); err != nil {
		return nil, err
	}
	if err := r.copyBody(into, body); err != nil {
		return nil, err
	}
	if signing == nil {
		return nil, nil
	}
	return signing.Finish()
}

// copyBody copies with a buffer of the pool: one for each message would be most of what there is to collect.
func (r *Relay) copyBody(into io.Writer, body io.Reader) error {
	buffer, ok := r.copies.Get().(*[]byte)
	if !ok {
		fresh := make([]byte, 32<<10)
		buffer = &fresh
	}
	defer r.copies.Put(buffer)
	_, err := io.CopyBuffer(into, body, *buffer)
	return err
}

func received(c *listener.Session, s *settings, id envelope.ID, priority int, now time.Time) []byte {
	return policy.Trace{
		ID: id, Hostname: s.config.Relay.Hostname, Helo: c.Helo, Remote: c.Remote.Addr(), HideClient: c.Listener.HideClient,
		ESMTP: c.ESMTP, UTF8: c.SMTPUTF8, User: c.User, TLS: c.TLS, Recipients: c.Recipients, Priority: priority, Now: now,
	}.Received()
}

// entriesFor makes an envelope for each destination domain, in the order in which they were named. A recipient
// that was named twice is one.
func entriesFor(c *listener.Session, client policy.Client, v policy.Verdict, priority int, now time.Time) []envelope.Envelope {
	var entries []envelope.Envelope
	at := map[string]int{}
	seen := map[string]bool{}
	for _, to := range c.Recipients {
		if seen[to.Address] {
			continue
		}
		seen[to.Address] = true
		domain := envelope.DomainOf(to.Address)
		i, known := at[domain]
		if !known {
			i = len(entries)
			at[domain] = i
			entries = append(entries, envelope.Envelope{
				Domain: domain, ReversePath: c.ReversePath, Tenant: v.Tenant, User: c.User, Origin: client.Origin,
				Accepted: now, EightBit: c.EightBit, UTF8: c.UTF8, EnvelopeID: c.EnvelopeID, Return: c.Return,
				Priority: priority,
			})
		}
		to.Due = now
		if to.State == "" {
			to.State = envelope.Queued
		}
		entries[i].UTF8 = entries[i].UTF8 || envelope.NeedsUTF8(to.Address)
		entries[i].EightBit = entries[i].EightBit || entries[i].UTF8 // the address may stand in Received
		entries[i].Recipients = append(entries[i].Recipients, to)
	}
	return entries
}
