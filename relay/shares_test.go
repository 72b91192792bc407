package relay_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

// share has a pod follow a policy for nowhere.test that leaves all connections to out-0.
func (r *rig) share(port int) {
	r.routeTo(port)
	r.config.Relay.Policies = []config.RatePolicy{{
		Name: "test/one", Stage: config.StageDelivery, Key: config.KeySite, MaxConnections: 1, DestinationDomains: []string{"nowhere.test"},
		Shares: map[string]config.Share{"out-0": {MaxConnections: 1}},
	}}
	r.config.Relay.Carriers = []config.Peer{{Pod: "out-0", Address: "127.0.0.2", Host: "out-0.invalid"}}
	r.configure()
	r.eventually("the shares to be in force", func() bool { return r.status().Generation == r.config.Generation })
}

// TestMailGoesToAPodWithAShare: what a pod may never deliver it gives to one that may; everything else is its own.
func TestMailGoesToAPodWithAShare(t *testing.T) {
	with, without := newPods(t)
	sink := newSink(t, smtptest.Options{Addr: "127.0.0.9:0"})
	with.share(sink.Port())
	without.share(sink.Port())
	const held, free = 30, 5
	for i := range held {
		without.mustSend("a@sender.test", "b@nowhere.test", message("a@sender.test", fmt.Sprint("held", i)))
	}
	for i := range free {
		without.mustSend("a@sender.test", "b@other.test", message("a@sender.test", fmt.Sprint("free", i)))
	}
	without.drained()
	with.drained()
	if l := without.status().Ledger; !l.Balanced() || l.HandedOut != held || l.Delivered != free {
		t.Errorf("the books of the pod without a share: %+v", l)
	}
	if l := with.status().Ledger; !l.Balanced() || l.HandedIn != held || l.Delivered != held {
		t.Errorf("the books of the pod with one: %+v", l)
	}
	if got := len(sink.Messages()); got != held+free {
		t.Errorf("%d messages arrived, not %d", got, held+free)
	}
}

// TestExceedsUntilConnectionsEnd: a pod says that it keeps to a smaller share when no more connections are open, in use
// or idle, than that.
func TestExceedsUntilConnectionsEnd(t *testing.T) {
	hold := make(chan struct{})
	sink := newSink(t, smtptest.Options{Addr: "127.0.0.9:0", Data: func(smtptest.Message) reply.Reply { <-hold; return reply.Reply{} }})
	with, _ := newPods(t)
	with.routeTo(sink.Port())
	with.configure()
	limit := func(n int) {
		with.config.Relay.Policies = []config.RatePolicy{{
			Name: "test/few", Stage: config.StageDelivery, Key: config.KeySite, MaxConnections: 4, Shares: map[string]config.Share{"out-0": {MaxConnections: n}},
		}}
		with.configure()
		with.eventually("the shares to be in force", func() bool { return with.status().Generation == with.config.Generation })
	}
	limit(2)
	for i := range 3 {
		with.mustSend("a@sender.test", "b@nowhere.test", message("a@sender.test", fmt.Sprint(i)))
	}
	with.eventually("two connections", func() bool { open, _ := sink.Open(); return open == 2 })
	limit(1)
	time.Sleep(20 * time.Millisecond)
	if !with.status().Exceeds {
		t.Error("two connections are not more than one")
	}
	close(hold)
	with.eventually("it to keep to one", func() bool { return !with.status().Exceeds })
	with.eventually("the receiver to see no more", func() bool { open, _ := sink.Open(); return open <= 1 })
	with.drained()
}
