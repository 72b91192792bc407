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
	from.sender.remember("key", note{ID: "id", Peer: config.Peer{Pod: "out-0"}, At: time.Now().Add(-askedFor - time.Hour)})
	for range 3 {
		from.sender.Step(t.Context())
	}
	if lines := strings.Count(said.String(), "a message stays"); lines != 1 {
		t.Errorf("said %d times:\n%s", lines, &said)
	}
	if !from.sender.Leaving("id") || from.sender.mark("id") {
		t.Error("the message may go again")
	}
}
