package relay

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/spool"
)

// TestASpoolThatTakesNoWritesIsNotReady, and neither is a relay without a configuration, or one that has not looked yet.
func TestASpoolThatTakesNoWritesIsNotReady(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*spool.Store) error
		want  string
	}{
		"closed":           {(*spool.Store).Close, "the spool takes no writes: "},
		"no configuration": {func(*spool.Store) error { return nil }, "no configuration is in force yet"},
	} {
		t.Run(name, func(t *testing.T) {
			store, err := spool.Open(t.TempDir(), spool.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			r := &Relay{spool: store, log: slog.New(slog.DiscardHandler)}
			if err := r.Ready(); err == nil {
				t.Error("ready before the self-test")
			}
			if err := test.spoil(store); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), proveEvery/2)
			defer cancel()
			r.prove(ctx)
			if err := r.Ready(); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("it says %v", err)
			}
			if _, err := store.Lookup("selftest", "start"); err == nil {
				t.Error("the record of the test is still there")
			}
		})
	}
	if proveEvery > time.Second {
		t.Error("a kubelet asks more often")
	}
}
