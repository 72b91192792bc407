package relay

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
)

func TestDamagedMailIsHeldAndTheRestFlows(t *testing.T) {
	r := &Relay{log: slog.New(slog.DiscardHandler)}
	sound, damaged := envelope.Envelope{}, envelope.Envelope{}
	r.quarantine(&sound, nil)
	r.quarantine(&damaged, fmt.Errorf("chunk 3: %w", spool.ErrDamaged))
	if sound.Held != "" || damaged.Held != "chunk 3: damaged in the spool" {
		t.Errorf("held: %q, %q", sound.Held, damaged.Held)
	}
}
