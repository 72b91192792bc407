package relay

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/filter"
	"github.com/postrider/postrider/relay/listener"
	"github.com/postrider/postrider/relay/policy"
	"github.com/postrider/postrider/relay/spool"
)

// addFilters makes the filters of new settings. One that cannot be used gives no verdict, and is no reason against the
// configuration.
func (r *Relay) addFilters(s *settings) {
	var err error
	s.filters, err = filter.New(filter.Options{
		Filters: s.config.Relay.Filters, Path: s.config.Path, Resolver: s.resolver,
		Hostname: s.config.Relay.Hostname, Metrics: r.filterMetrics, Log: r.log,
	})
	if err != nil {
		r.log.Error("not all filters are as they should be", "error", err)
	}
}

// filterClient asks block lists about a client that is neither authenticated nor trusted. The postmaster gets mail
// from anyone (RFC 5321 §4.5.1).
func (r *Relay) filterClient(ctx context.Context, s *settings, c *listener.Session, client policy.Client, to string) error {
	if client.Origin != envelope.Relayed || !s.filters.JudgesClients() || strings.EqualFold(to, s.config.Relay.Postmaster) {
		return nil
	}
	return s.filters.Client(ctx, c.Remote.Addr())
}

// filterMessage asks filters about a message that was streamed into w. added is what a submission lacked: they see the
// message as it will be sent, but for the trace and the signatures.
func (r *Relay) filterMessage(ctx context.Context, s *settings, c *listener.Session, w *spool.Writer, added, header []byte) (filter.Verdict, error) {
	if !s.filters.JudgesContent() {
		return filter.Verdict{}, nil
	}
	m := &filter.Message{
		ID:       string(w.ID()),
		Client:   filter.Client{Addr: c.Remote.Addr().Unmap().WithZone(""), Port: c.Remote.Port(), Helo: c.Helo, User: c.User},
		From:     c.ReversePath,
		Header:   slices.Concat(added, header),
		Body:     func() io.Reader { return w.Preview(int64(len(header))) },
		BodySize: w.Written() - int64(len(header)),
	}
	if c.TLS != nil {
		m.Client.TLSVersion, m.Client.Cipher = c.TLS.Version, c.TLS.Cipher
	}
	for _, to := range c.Recipients {
		m.Recipients = append(m.Recipients, to.Address)
	}
	return s.filters.Message(ctx, m)
}

// holdAll holds new entries, if there is a reason to.
func holdAll(entries []envelope.Envelope, reason string) {
	for i := range entries {
		entries[i].Held = reason
	}
}

// held are the events of entries that were accepted and are held.
func held(entries []envelope.Envelope, now time.Time) []event.Event {
	var events []event.Event
	for i := range entries {
		entry := &entries[i]
		if entry.Held == "" {
			continue
		}
		for _, to := range entry.Recipients {
			e := eventOf(event.Held, entry, to.Address, now)
			e.Reason = entry.Held
			events = append(events, e)
		}
	}
	return events
}
