package crash

import (
	"errors"
	"flag"
	"testing"

	"github.com/postrider/postrider/test/daemon"
)

var (
	kills = flag.Int("kills", 10, "how often the relay is killed; make crash asks for 500")
	seed  = flag.Uint64("seed", 1, "of the pauses between kills and the mix of messages")
)

// TestNothingIsLostWhenTheRelayIsKilled kills a relay under load: every recipient that was answered 250 arrives,
// and no more copies than deliveries were in flight.
func TestNothingIsLostWhenTheRelayIsKilled(t *testing.T) {
	binary, err := daemon.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), Options{Binary: binary, Dir: t.TempDir(), Kills: *kills, Sessions: 16, Seed: *seed, Log: t.Logf})
	t.Logf("part 2, %d SIGKILLs: %v, %d without a 250; slowest start %s", *kills, r.Ledger, r.Unacknowledged, r.Slowest)
	if err := errors.Join(err, r.Err()); err != nil {
		t.Fatalf("%v; missing: %v", err, r.Missing[:min(len(r.Missing), 20)])
	}
	if r.Accepted < 20**kills || r.Bounced == 0 {
		t.Errorf("%v: too little to prove anything", r.Ledger)
	}
}

// TestTheOracleSeesLossAndDuplicates holds the reckoning against a history with both.
func TestTheOracleSeesLossAndDuplicates(t *testing.T) {
	b := newBook()
	b.acknowledge(message{from: "bounced", expect: []string{"kept", "lost", "twice"}})
	b.acknowledge(message{from: "bounced", expect: []string{"bounced"}})
	for _, a := range []string{"kept", "twice", "twice", "twice", "bounced", "unseen"} {
		b.arrived(a)
	}
	var r Result
	b.close(&r)
	want := Ledger{Accepted: 4, Delivered: 2, Bounced: 1, Lost: 1, Duplicated: 2}
	if r.Ledger != want || r.Missing[0] != "lost" || r.Unacknowledged != 1 || r.Err() == nil {
		t.Errorf("got %+v", r)
	}
}
