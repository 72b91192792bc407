package operator_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestEventsTellTransitions: each change of a condition is an event of its own, also where two conditions change for the same
// reason. That nothing is told at rest shows TestAtRestNothingIsWritten.
func TestEventsTellTransitions(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 1)
	f.node.set(func(n *node) { n.silent["outbound-0"] = true })
	f.expectRelay(relay, map[string]string{"QueueHealthy": "Unknown/StatusUnavailable"})
	f.eventually("an event for each change", func() error {
		told, err := f.transitions()
		if err != nil {
			return err
		}
		for _, want := range []string{
			"Normal Serving Ready is True", "Normal Healthy QueueHealthy is True",
			"Warning StatusUnavailable QueueHealthy is Unknown", "Warning StatusUnavailable ConfigCurrent is Unknown",
		} {
			if !slices.Contains(told, want) {
				return fmt.Errorf("no %q: %q", want, told)
			}
		}
		return nil
	})
}

// transitions are the events about MailRelays: type, reason and the beginning of what they say.
func (f *fixture) transitions() ([]string, error) {
	var events eventsv1.EventList
	if err := server.Client.List(context.Background(), &events, client.InNamespace(f.namespace)); err != nil {
		return nil, err
	}
	var told []string
	for _, e := range events.Items {
		if e.Regarding.Kind == "MailRelay" {
			note, _, _ := strings.Cut(e.Note, ":")
			told = append(told, strings.Join([]string{e.Type, e.Reason, note}, " "))
		}
	}
	return told, nil
}
