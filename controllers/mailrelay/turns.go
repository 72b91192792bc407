package mailrelay

import (
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// upgradesAtOnce is how many relays are upgraded at the same time.
const upgradesAtOnce = 4

// turns bound how many relays take up another version at the same time. One that was well before and does not become so again
// keeps its turn: a version that does not run stops after the first few relays.
type turns struct {
	mu    sync.Mutex
	limit int
	// recalled says that the turns that another operator gave are known.
	recalled bool
	// held says of each relay that has a turn whether it was well when it got it.
	held map[client.ObjectKey]bool
}

func newTurns(limit int) *turns { return &turns{limit: limit, held: map[client.ObjectKey]bool{}} }

// take gives a relay a turn, if it has none yet and there is one.
func (t *turns) take(relay client.ObjectKey, well bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, has := t.held[relay]; has {
		return true
	}
	if len(t.held) >= t.limit {
		return false
	}
	t.held[relay] = well
	return true
}

// recall has relays hold their turns that another operator gave: underway finds them, and is asked once. Nobody gets a turn
// before that.
func (t *turns) recall(underway func() ([]client.ObjectKey, error)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.recalled {
		return nil
	}
	relays, err := underway()
	if err != nil {
		return err
	}
	for _, relay := range relays {
		t.held[relay] = true
	}
	t.recalled = true
	return nil
}

// resume has a relay that is being upgraded hold its turn, which the operator may have forgotten.
func (t *turns) resume(relay client.ObjectKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, has := t.held[relay]; !has {
		t.held[relay] = true
	}
}

// done ends the turn of a relay all of whose pods have the new version, if it is well, or was not before.
func (t *turns) done(relay client.ObjectKey, well bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if well || !t.held[relay] {
		delete(t.held, relay)
	}
}

// drop ends the turn of a relay.
func (t *turns) drop(relay client.ObjectKey) { t.done(relay, true) }
