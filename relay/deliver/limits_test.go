package deliver_test

import (
	"testing"

	"github.com/postrider/postrider/relay/smtptest"
)

func TestRecipientsAreSplitByPolicyAndServer(t *testing.T) {
	for name, tc := range map[string]struct {
		policy       int
		offer        []string
		takes        int // what the server takes without saying so
		transactions int64
	}{
		"neither":            {0, nil, 0, 1},
		"policy":             {2, nil, 0, 3},
		"server":             {0, []string{"LIMITS RCPTMAX=2"}, 0, 3},
		"server is stricter": {3, []string{"LIMITS MAILMAX=9 RCPTMAX=1"}, 0, 5},
		"policy is stricter": {1, []string{"limits rcptmax=3"}, 0, 5},
		"nonsense":           {0, []string{"LIMITS RCPTMAX=-1 RCPTMAX RCPTMAX=0 RCPTMAX=1000001 RCPTMAX=1x"}, 0, 1},
		"found out":          {0, nil, 2, 3},
	} {
		for _, more := range [][]string{nil, {"CHUNKING"}} {
			s := newSink(t, smtptest.Options{Offer: append(more, tc.offer...), MaxRecipients: tc.takes})
			p := plan(hop(s.Port()))
			p.MaxRecipients = tc.policy
			got := do(t, newClient(t), mail("a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test"), p)
			wantReplies(t, got, "250", "250", "250", "250", "250")
			if s.Accepted() != tc.transactions || s.Recipients() != 5 || s.Connections() != 1 {
				t.Errorf("%s, %v: %d transactions, %d recipients, %d connections", name, more, s.Accepted(), s.Recipients(), s.Connections())
			}
		}
	}
}

// What a server took at once is what it is given from then on, over that connection.
func TestALimitThatWasFoundOutIsKept(t *testing.T) {
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{
		"RCPT TO:<c": {smtptest.Reply("452 4.5.3 too many"), smtptest.Reply("250 ok")}}})
	c := newClient(t)
	for range 2 {
		wantReplies(t, do(t, c, mail("a@x.test", "b@x.test", "c@x.test"), plan(hop(p.Port()))), "250", "250", "250")
	}
	if n := len(p.Contents()); n != 4 {
		t.Errorf("%d transactions, want 2 each time: %q", n, p.Lines())
	}
}

func TestAConnectionCarriesSoManyMessages(t *testing.T) {
	for name, tc := range map[string]struct {
		policy      int
		offer       []string
		connections int64 // for 4 messages
	}{
		"policy":             {2, nil, 2},
		"server":             {0, []string{"LIMITS MAILMAX=1"}, 4},
		"server is stricter": {4, []string{"LIMITS MAILMAX=2"}, 2},
		"policy is stricter": {1, []string{"LIMITS MAILMAX=9"}, 4},
	} {
		s := newSink(t, smtptest.Options{Offer: tc.offer})
		c := newClient(t)
		p := plan(hop(s.Port()))
		p.MaxMessages = tc.policy
		for range 4 {
			wantReplies(t, do(t, c, mail("a@x.test"), p), "250")
		}
		if s.Connections() != tc.connections || s.Accepted() != 4 {
			t.Errorf("%s: %d messages over %d connections", name, s.Accepted(), s.Connections())
		}
	}
	// A connection that waited may be worn under the limit of the day.
	s, c := newSink(t, smtptest.Options{}), newClient(t)
	p := plan(hop(s.Port()))
	for _, p.MaxMessages = range []int{0, 0, 2} {
		wantReplies(t, do(t, c, mail("a@x.test"), p), "250")
	}
	if s.Connections() != 2 {
		t.Errorf("%d connections", s.Connections())
	}
}
