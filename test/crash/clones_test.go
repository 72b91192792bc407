package crash

import (
	"flag"
	"testing"

	"github.com/postrider/postrider/relay/envelope"
)

var clones = flag.Int("clones", 50, "how many crashes of the machine are simulated; make crash asks for 1,000")

// TestNothingIsLostWhenTheMachineCrashes is part 1 of the proof.
func TestNothingIsLostWhenTheMachineCrashes(t *testing.T) {
	l, err := Clones(*clones, *seed)
	t.Logf("part 1, %d crash clones: %v", *clones, l)
	if err != nil {
		t.Error(err)
	}
	if l.Accepted < 10**clones || l.Queued == 0 || l.Delivered == 0 || l.Bounced == 0 {
		t.Errorf("%v: too little to prove anything", l)
	}
}

// TestTheLedgerSeesLossAndDuplicates holds the reckoning against histories with both.
func TestTheLedgerSeesLossAndDuplicates(t *testing.T) {
	for name, c := range map[string]struct {
		before, after fate
		queued, dsn   int
		want          Ledger
	}{
		"lost":                     {fate{stage: accepted}, fate{stage: accepted}, 0, 0, Ledger{Accepted: 1, Lost: 1}},
		"kept":                     {fate{stage: accepted}, fate{stage: accepted}, 1, 0, Ledger{Accepted: 1, Queued: 1}},
		"not acknowledged":         {fate{stage: offered}, fate{stage: accepted}, 0, 0, Ledger{}},
		"back again":               {fate{ended, envelope.Delivered}, fate{ended, envelope.Delivered}, 1, 0, Ledger{Accepted: 1, Duplicated: 1}},
		"bounced without its DSN":  {fate{stage: accepted}, fate{ending, envelope.Failed}, 0, 0, Ledger{Accepted: 1, Lost: 1}},
		"bounced and still queued": {fate{stage: accepted}, fate{ending, envelope.Failed}, 1, 1, Ledger{Accepted: 1, Duplicated: 1}},
		"bounced":                  {fate{ended, envelope.Failed}, fate{ended, envelope.Failed}, 0, 1, Ledger{Accepted: 1, Bounced: 1}},
		"delivered":                {fate{ending, envelope.Delivered}, fate{ended, envelope.Delivered}, 0, 0, Ledger{Accepted: 1, Delivered: 1}},
	} {
		var l Ledger
		if l.reckon(c.before, c.after, c.queued, c.dsn); l != c.want {
			t.Errorf("%s: %v", name, l)
		}
		if (l.Err() != nil) != (c.want.Lost+c.want.Duplicated > 0) {
			t.Errorf("%s: %v", name, l.Err())
		}
	}
}
