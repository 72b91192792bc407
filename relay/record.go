package relay

import (
	"context"
	"crypto/tls"
	"log/slog"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/listener"
	"github.com/postrider/postrider/relay/schedule"
)

// recordAccept is the line in the log, and the count, for a message that is about to be answered 250.
func (r *Relay) recordAccept(c *listener.Session, entries []envelope.Envelope) {
	recipients := 0
	for _, e := range entries {
		recipients += len(e.Recipients)
	}
	r.metrics.accepted.WithLabelValues(c.Listener.Name).Add(float64(recipients))
	e := entries[0]
	attributes := []any{
		"spool_id", e.ID, "listener", c.Listener.Name, "client", c.Remote.String(), "helo", c.Helo,
		"from", e.ReversePath, "recipients", recipients, "size", e.Size, "origin", e.Origin,
	}
	for _, optional := range []struct{ key, value string }{
		{"user", c.User}, {"domain", e.Tenant}, {"tls", tlsName(c)},
	} {
		if optional.value != "" {
			attributes = append(attributes, optional.key, optional.value)
		}
	}
	r.log.Info("accepted", attributes...)
}

// recordAttempt is a line in the log, and a count, for each recipient of an attempt whose outcome is stored.
func (r *Relay) recordAttempt(ctx context.Context, job *schedule.Job, tried, after *envelope.Envelope, outcomes []envelope.Outcome, began time.Time) {
	r.metrics.duration.Observe(time.Since(began).Seconds())
	for i, recipient := range tried.Recipients {
		o := outcomes[i]
		r.metrics.attempted(o.Reply.Class())
		attributes := []slog.Attr{
			slog.String("spool_id", string(tried.ID)), slog.String("to", recipient.Address),
			slog.String("site", job.Site), slog.String("next_hop", o.NextHop), slog.String("tls", o.TLS),
			slog.String("reply", o.Reply.String()), slog.Int("attempt", recipient.Attempts),
		}
		if due := dueAgain(after, recipient.Address); !due.IsZero() {
			attributes = append(attributes, slog.Time("due", due))
		}
		r.log.LogAttrs(ctx, slog.LevelInfo, "attempt", attributes...)
	}
}

// tlsName is the protocol and cipher of a session, empty in clear.
func tlsName(c *listener.Session) string {
	if c.TLS == nil {
		return ""
	}
	return strings.ReplaceAll(tls.VersionName(c.TLS.Version), " ", "") + " " + tls.CipherSuiteName(c.TLS.CipherSuite)
}

// dueAgain is when a recipient is tried next; zero when it has reached its end.
func dueAgain(after *envelope.Envelope, address string) time.Time {
	for _, r := range after.Recipients {
		if r.Address == address {
			return r.Due
		}
	}
	return time.Time{}
}
