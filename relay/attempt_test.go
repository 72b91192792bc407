package relay

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/spool"
)

// TestAnAttemptThatIsBrokenOffEndsNothing: stopping the relay is no reason to give up mail at the end of its life.
func TestAnAttemptThatIsBrokenOffEndsNothing(t *testing.T) {
	now := time.Now()
	s := &settings{config: &config.Config{Relay: config.Relay{Queue: config.Queue{MaxMessageAgeSeconds: 1}}}}
	tried := envelope.Envelope{Accepted: now.Add(-time.Hour)}
	var outcomes []envelope.Outcome
	for _, r := range []struct {
		to   string
		code int
	}{{"busy@x.test", 421}, {"gone@x.test", 550}, {"here@x.test", 250}} {
		begun := envelope.Recipient{Address: r.to, State: envelope.Queued, Last: &envelope.Outcome{At: now}}.Begin(now)
		tried.Recipients = append(tried.Recipients, begun)
		outcomes = append(outcomes, envelope.Outcome{Reply: reply.Reply{Code: r.code}})
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for _, tc := range []struct {
		ctx  context.Context
		want []envelope.Disposition
	}{
		{t.Context(), []envelope.Disposition{envelope.Failed, envelope.Failed, envelope.Delivered}},
		{ended, []envelope.Disposition{envelope.Queued, envelope.Failed, envelope.Delivered}},
	} {
		current := tried
		current.Recipients = append([]envelope.Recipient(nil), tried.Recipients...)
		settle(&current, &tried, concluded(tc.ctx, outcomes), now, s)
		for i, r := range current.Recipients {
			if r.State != tc.want[i] {
				t.Errorf("%s: %s, want %s", r.Address, r.State, tc.want[i])
			}
		}
	}
}

func TestDamagedMailIsHeldAndTheRestFlows(t *testing.T) {
	r := &Relay{log: slog.New(slog.DiscardHandler)}
	sound, damaged := envelope.Envelope{}, envelope.Envelope{}
	r.quarantine(&sound, nil)
	r.quarantine(&damaged, fmt.Errorf("chunk 3: %w", spool.ErrDamaged))
	if sound.Held != "" || damaged.Held != "chunk 3: damaged in the spool" {
		t.Errorf("held: %q, %q", sound.Held, damaged.Held)
	}
}
