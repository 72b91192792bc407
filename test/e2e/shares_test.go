//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

const (
	sharedConnections = 6
	sharedPerSecond   = 150
	sharedBurst       = 15
	// receiverPort is where the receiver of this scenario listens on the node.
	receiverPort = 2626
)

var sharedLimit = fmt.Sprintf(`
apiVersion: postrider.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: per-site}
spec:
  targetRefs: [{kind: MailRelay, name: outbound}]
  stage: Delivery
  key: Site
  limits: {messages: %d, perSeconds: 1, burst: %d, maxConnections: %d}
  scope: Relay
`, sharedPerSecond, sharedBurst, sharedConnections)

// One pod becomes three and then two while mail comes in and goes out: the receiver never sees more connections, nor
// more messages over any time, than the limit that the pods share, and gets each message that was answered 250 once.
func TestSharedLimit(t *testing.T) {
	s := newSetup(t, "shares", options{trusted: []string{"10.213.0.0/24", "10.214.0.0/24"}})
	sink := s.receiver(t)
	apply(t, s.namespace, sharedLimit)
	eventually(t, 20*time.Second, "the limit is in force", func() error { return s.sharedBy(1) })

	ctx, stop := context.WithCancel(t.Context())
	l := &load{setup: s}
	ended := make(chan struct{})
	go func() { defer close(ended); l.run(ctx, 2) }()
	t.Cleanup(func() { stop(); <-ended })
	for i, replicas := range []int{1, 3, 2} {
		must(t)(kubectl("scale", "mailrelay", relayName, "-n", s.namespace, fmt.Sprintf("--replicas=%d", replicas)))
		eventually(t, 180*time.Second, fmt.Sprintf("%d pods share the limit", replicas), func() error { return s.sharedBy(replicas) })
		eventually(t, 60*time.Second, "mail flows", func() error {
			if n := sink.Accepted(); n < int64(i+1)*400 {
				return fmt.Errorf("%d messages have arrived", n)
			}
			return nil
		})
	}
	stop()
	<-ended
	now, most := sink.Open()
	t.Logf("%d connections open, %d at most, the limit is %d", now, most, sharedConnections)
	if most > sharedConnections {
		t.Errorf("%d connections at the same time, the limit is %d", most, sharedConnections)
	}
	checkPace(t, sink.Messages())

	must(t)(kubectl("delete", "rlp", "per-site", "-n", s.namespace))
	eventually(t, 5*time.Minute, "the queue is empty", func() error { return s.queued(0) })
	l.onceAt(t, sink)
}

// receiver is a sink that takes its time, and the relay's only next hop.
func (s setup) receiver(t *testing.T) *smtptest.Sink {
	t.Helper()
	sink, err := smtptest.NewSink(smtptest.Options{
		Addr: net.JoinHostPort(nodeIP, fmt.Sprint(receiverPort)),
		Data: func(smtptest.Message) reply.Reply { time.Sleep(50 * time.Millisecond); return reply.Reply{} },
	})
	if err == nil {
		err = world.dns.Set("receiver."+destination, "A "+nodeIP)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sink.Close)
	routes := fmt.Sprintf(`{"spec":{"routes":[{"name":"receiver","match":{},"smartHosts":[{"host":"receiver.%s","port":%d,"tls":"None"}]}]}}`, destination, receiverPort)
	must(t)(kubectl("patch", "mailrelay", relayName, "-n", s.namespace, "--type=merge", "-p", routes))
	return sink
}

// sharedBy checks that so many pods run, and that all of the limit is in force in them.
func (s setup) sharedBy(pods int) error {
	mr, err := s.relay()
	if err != nil {
		return err
	}
	if len(mr.Status.Pods) != pods {
		return fmt.Errorf("pods are %+v", mr.Status.Pods)
	}
	rlp, err := get[v1alpha1.RateLimitPolicy](s.namespace, "ratelimitpolicy", "per-site")
	if err != nil {
		return err
	}
	if len(rlp.Status.Targets) != 1 || rlp.Status.Targets[0].Effective == nil || rlp.Status.Targets[0].Effective.MaxConnections != sharedConnections {
		return fmt.Errorf("targets are %+v", rlp.Status.Targets)
	}
	return errors.Join(isTrue(mr.Status.Conditions, v1alpha1.ConditionReady), isTrue(rlp.Status.Conditions, v1alpha1.ConditionProgrammed))
}

// checkPace holds the times at which messages were taken against the limit, over every second and every five seconds. As
// many as there are connections may have been on their way.
func checkPace(t *testing.T, messages []smtptest.Message) {
	t.Helper()
	for _, window := range []time.Duration{time.Second, 5 * time.Second} {
		allowed, most, from := sharedBurst+sharedConnections+int(window/time.Second)*sharedPerSecond, 0, 0
		for to := range messages {
			for messages[to].At.Sub(messages[from].At) > window {
				from++
			}
			most = max(most, to-from+1)
		}
		t.Logf("%d messages within %v at most, %d are allowed", most, window, allowed)
		if most > allowed {
			t.Errorf("%d messages within %v, %d are allowed", most, window, allowed)
		}
	}
}

// onceAt holds what arrived at a sink against what was answered 250.
func (l *load) onceAt(t *testing.T, sink *smtptest.Sink) {
	t.Helper()
	arrived := map[string]int{}
	for _, m := range sink.Messages() {
		parsed, err := mail.ReadMessage(strings.NewReader(string(m.Data)))
		if err != nil {
			t.Fatal(err)
		}
		arrived[parsed.Header.Get("Message-Id")]++
	}
	lost, twice := 0, 0
	for _, id := range l.accepted {
		switch n := arrived[id]; {
		case n == 0:
			lost++
		case n > 1:
			twice++
		}
	}
	t.Logf("accepted %d, lost %d, duplicates %d, %d sessions broken", len(l.accepted), lost, twice, len(l.errors))
	if lost > 0 || twice > 0 {
		t.Errorf("%d messages are lost, %d arrived more than once", lost, twice)
	}
}
