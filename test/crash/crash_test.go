package crash

import (
	"flag"
	"testing"

	"github.com/postrider/postrider/test/daemon"
)

var (
	kills = flag.Int("kills", 10, "how often the relay is killed; make crash asks for 100")
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
	t.Logf("%d kills: %d acknowledged, %d arrived, %d lost, %d duplicates (at most %d were in flight), %d without a 250; slowest start %s",
		r.Kills, r.Acknowledged, r.Arrived, len(r.Lost), r.Duplicates, r.InFlight, r.Unacknowledged, r.Slowest)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Lost) > 0 {
		t.Errorf("lost: %v", r.Lost[:min(len(r.Lost), 20)])
	}
	if r.Duplicates > r.InFlight {
		t.Errorf("%d duplicates, but only %d deliveries can have been in flight", r.Duplicates, r.InFlight)
	}
	if r.Acknowledged < 50*r.Kills {
		t.Errorf("only %d recipients were acknowledged in %d rounds: too few to prove anything", r.Acknowledged, r.Kills)
	}
}

// TestTheOracleSeesLossAndDuplicates holds the reckoning against a history with both.
func TestTheOracleSeesLossAndDuplicates(t *testing.T) {
	b := newBook()
	b.acknowledge([]string{"kept", "lost", "twice"})
	for _, a := range []string{"kept", "twice", "twice", "twice", "unseen"} {
		b.arrived(a)
	}
	var r Result
	b.close(&r)
	if len(r.Lost) != 1 || r.Lost[0] != "lost" || r.Arrived != 2 || r.Duplicates != 2 || r.Unacknowledged != 1 {
		t.Errorf("got %+v", r)
	}
}
