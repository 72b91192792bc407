package relay_test

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
	"github.com/postrider/postrider/test/metricdoc"
)

// TestMetricsAreServed: every number has a value once mail was taken, refused, delivered and put off.
func TestMetricsAreServed(t *testing.T) {
	sink := newSink(t, smtptest.Options{Replies: map[string]reply.Reply{"@later.example": {Code: 450, Enhanced: "4.2.1", Text: "later"}}})
	down, _ := closedPort(t)
	r := newRig(t, func(r *rig) {
		r.config.Relay.Queue.RetryInitialSeconds, r.config.Relay.Queue.RetryMaxSeconds = 3600, 3600
		r.routeTo(sink.Port())
		r.config.Relay.Routes = append(r.config.Relay.Routes, config.Route{
			Name: "provider", Match: config.Match{RecipientDomains: []string{"unused.example"}},
			SmartHosts: []config.SmartHost{{Host: "127.0.0.1", Port: down, TLS: config.HopOpportunistic}},
		})
	})
	for _, domain := range []string{"now.example", "later.example"} {
		r.domain(domain, "127.0.0.1")
	}
	r.mustSend("a@now.example", "b@now.example,b@later.example", message("a@now.example", "one"))
	if err := r.send("a@now.example", "nobody@", message("a@now.example", "two")); err == nil {
		t.Error("a recipient without a domain was taken")
	}
	r.eventually("one delivered and one deferred", func() bool {
		s := r.status()
		return s.Ledger.Delivered == 1 && s.Queue.Deferred == 1
	})
	served := r.metrics()
	names := metricdoc.Conventional(t, served)
	for _, want := range []string{
		`postrider_accepted_recipients_total{listener="smtp",sending_domain=""} 2`,
		`postrider_attempted_recipients_total{class="Success",site="other"} 1`,
		`postrider_attempted_recipients_total{class="Transient",site="other"} 1`,
		`postrider_queue_recipients 1`,
		`postrider_queue_deferred_recipients 1`,
		`postrider_queue_deliverable_recipients 0`,
		`postrider_destination_queue_recipients{destination="later.example"} 1`,
		`postrider_destination_queue_recipients{destination="other"} 0`,
		`postrider_ledger_accepted_recipients_total 2`,
		`postrider_ledger_settled_recipients_total{disposition="delivered"} 1`,
		`postrider_ledger_difference_recipients 0`,
		`postrider_config_generation 1`,
		`postrider_config_rejected 0`,
		`postrider_listener_up{listener="smtp"} 1`,
		`postrider_attempts_in_flight 0`,
		`postrider_memory_short 0`,
		`postrider_connections_limit 1000`,
		`postrider_directives{act="suspend"} 0`,
	} {
		if !strings.Contains(served, "\n"+want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	if len(names) < 25 || t.Failed() {
		t.Errorf("%d metrics have a value:\n%s", len(names), served)
	}
}
