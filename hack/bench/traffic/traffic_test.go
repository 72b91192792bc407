package traffic

import (
	"context"
	"testing"
	"time"
)

// within is a generous bound for what a test waits for.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func newSink(t *testing.T, o SinkOptions) *Sink {
	t.Helper()
	s, err := NewSink(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSendIntoSink(t *testing.T) {
	s := newSink(t, SinkOptions{})
	w := s.Watch("probe.example")
	sent, err := Send(within(t), Load{Address: s.Address(), Sessions: 5, Messages: 103, Octets: 4096, Recipients: 3, From: "a@load.example", Domain: "probe.example", Timed: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(within(t), 103); err != nil {
		t.Fatal(err)
	}
	want := Arrived{Messages: 103, Recipients: 309, Octets: 103 * 4096}
	if got := s.Arrived(); got != want {
		t.Errorf("arrived %+v, want %+v", got, want)
	}
	if sent.Accepted != 103 || len(sent.Latencies) != 103 || len(w.Latencies()) != 103 {
		t.Errorf("sent %+v, %d latencies", sent, len(w.Latencies()))
	}
}
