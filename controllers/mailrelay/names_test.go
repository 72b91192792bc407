package mailrelay

import (
	"testing"
	"time"

	"github.com/postrider/postrider/controllers/condition"
)

func TestNamesKeepTheLastVerdict(t *testing.T) {
	good, bad := condition.Reverse{Reason: "ForwardConfirmed"}, condition.Reverse{Reason: "Missing"}
	lost, lostAgain := condition.Reverse{Reason: "Unknown", Message: "a"}, condition.Reverse{Reason: "Unknown", Message: "b"}
	n := names{}
	for i, step := range []struct {
		found, want condition.Reverse
		soon        bool
	}{
		{lost, lost, true}, // nothing was known before
		{good, good, false},
		{lost, good, true},
		{lost, good, true},
		{lost, lost, true},
		{lostAgain, lost, true}, // the same in other words
		{bad, bad, true},
		{good, good, false},
	} {
		n.settle(step.found, start)
		if n.verdict != step.want {
			t.Errorf("step %d: %v", i, n.verdict)
		}
		if wait := n.next.Sub(start); (wait <= namesAmiss) != step.soon || wait > time.Hour {
			t.Errorf("step %d: again after %v", i, wait)
		}
	}
}
