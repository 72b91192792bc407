package handoff

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/config"
)

// TestAnOldTryIsLeftAlone: a try that no peer can answer for any more is said once, and its message is neither attempted
// nor given to another.
func TestAnOldTryIsLeftAlone(t *testing.T) {
	var n network
	from := n.add(t, "out-1", openSpool(t, vfs.NewMem()))
	var said bytes.Buffer
	from.sender.o.Log = slog.New(slog.NewTextHandler(&said, nil))
	id := accept(t, from.store, 100, "a@one.test")
	from.sender.remember("key", note{ID: id, Peer: config.Peer{Pod: "out-0"}, At: time.Now().Add(-askedFor - time.Hour)})
	for range 3 {
		from.sender.Step(t.Context())
	}
	if lines := strings.Count(said.String(), "a message stays"); lines != 1 {
		t.Errorf("said %d times:\n%s", lines, &said)
	}
	if !from.sender.Leaving(id) || from.sender.mark(id) {
		t.Error("the message may go again")
	}
}

// TestWhatAnAdminRemovesIsNotAskedFor: a message whose peer is silent may be removed, and nobody waits for the peer then.
func TestWhatAnAdminRemovesIsNotAskedFor(t *testing.T) {
	now := time.Now()
	n := network{fate: func(string, func()) bool { return false }}
	from := n.add(t, "out-1", openSpool(t, vfs.NewMem()))
	from.sender.o.Now = func() time.Time { return now }
	n.add(t, "out-0", openSpool(t, vfs.NewMem()))
	id := accept(t, from.store, 100, "a@one.test")
	err := from.sender.hand(t.Context(), []*peer{from.sender.peer(config.Peer{Pod: "out-0"})}, id)
	if err == nil || from.sender.Silent(id) || !from.sender.Leaving(id) {
		t.Fatalf("silent after a moment, or not bound: %v, %v", from.sender.open, err)
	}
	if now = now.Add(silentAfter + time.Second); !from.sender.Silent(id) {
		t.Fatal("nobody may remove it")
	}
	deliverAll(t, from, map[string]int{})
	from.sender.Step(t.Context())
	if rows, err := from.store.Rows(outTable, "", 10); len(rows) != 0 || err != nil || from.sender.Leaving(id) || len(from.sender.open) != 0 {
		t.Errorf("%d notes stay, %v; open are %v", len(rows), err, from.sender.open)
	}
}

// TestAPeerWhoseAddressAnotherPodHas is found by its name.
func TestAPeerWhoseAddressAnotherPodHas(t *testing.T) {
	n := network{at: map[string]string{"10.0.0.1": "out-2"}}
	from := n.add(t, "out-1", openSpool(t, vfs.NewMem()))
	n.add(t, "out-0", openSpool(t, vfs.NewMem()))
	n.add(t, "out-2", openSpool(t, vfs.NewMem()))
	id := accept(t, from.store, 100, "a@one.test")
	from.sender.remember("key", note{ID: id, Peer: config.Peer{Pod: "out-0", Address: "10.0.0.1", Host: "out-0.svc"}, At: time.Now()})
	for range 2 {
		from.sender.Step(t.Context())
	}
	if from.sender.Leaving(id) || from.kept.Load() != 1 {
		t.Errorf("open are %v", from.sender.open)
	}
}
