package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/postrider/postrider/cmd/postrider/life"
	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
)

// followEvery is how often the trace of a message is read while it is followed.
const followEvery = 500 * time.Millisecond

// errNotDelivered says that a test message did not arrive.
var errNotDelivered = errors.New("the message is not delivered")

// followUp reads the trace of the message until its fate is known, and says what is new in it.
func (t *testSend) followUp(ctx context.Context, done *sent, say func(string, ...any)) error {
	deadline := time.Now().Add(time.Duration(t.follow))
	told := map[string]bool{}
	for {
		traces, err := askAll(ctx, &t.target, "/trace/"+url.PathEscape(done.ID), func(name string, trace admin.Trace) relayTrace {
			return relayTrace{name, trace}
		})
		if err != nil {
			return fmt.Errorf("following message %s: %w", done.ID, err)
		}
		done.Traces = traces
		sayNew(traces, told, say)
		if done.Result = fate(traces); done.Result != string(envelope.Queued) {
			return verdict(done)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: it is still queued after %v; postrider explain %s says why", errNotDelivered, time.Duration(t.follow), done.ID)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followEvery):
		}
	}
}

// sayNew says the events that were not told yet.
func sayNew(traces []relayTrace, told map[string]bool, say func(string, ...any)) {
	for _, t := range traces {
		for i := range t.Events {
			e := &t.Events[i]
			line := fmt.Sprintf("%s %s on %s: %s", e.At.UTC().Format("15:04:05.000Z"), e.Type, t.Relay, life.Detail(e, true))
			if !told[line] {
				told[line] = true
				say("%s", strings.TrimSuffix(line, ": "))
			}
		}
	}
}

// fate is what has become of the only recipient: its disposition, or Deferred once an attempt was put off.
func fate(traces []relayTrace) string {
	deferred := false
	for _, t := range traces {
		for _, f := range t.Recipients {
			if f.State != envelope.Queued && f.State != "" {
				return string(f.State)
			}
		}
		for i := range t.Events {
			deferred = deferred || t.Events[i].Type == event.Deferred
		}
	}
	if deferred {
		return string(event.Deferred)
	}
	return string(envelope.Queued)
}

// verdict is nil for a message that was delivered, and else says why not.
func verdict(done *sent) error {
	if done.Result == string(envelope.Delivered) {
		return nil
	}
	why := strings.ToLower(done.Result)
	for _, t := range done.Traces {
		for _, w := range t.Waiting {
			return fmt.Errorf("%w but %s: %s", errNotDelivered, why, w.Sentence)
		}
		for _, f := range t.Recipients {
			if f.Reply != "" {
				return fmt.Errorf("%w but %s: %s", errNotDelivered, why, printable(f.Reply))
			}
		}
	}
	return fmt.Errorf("%w but %s", errNotDelivered, why)
}
