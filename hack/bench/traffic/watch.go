package traffic

import (
	"bytes"
	"context"
	"math"
	"slices"
	"strconv"
	"time"
)

// Watch is when the messages of a domain arrived, from the call of Sink.Watch on.
type Watch struct {
	tally
	latencies Latencies
}

// Arrived is what there was of the domain: of a message to recipients of more than one, all of it.
func (w *Watch) Arrived() Arrived { return w.get() }

// Wait returns when so many messages of the domain have arrived.
func (w *Watch) Wait(ctx context.Context, messages int) error { return w.wait(ctx, messages) }

// Latencies are the times from when messages of Send were due until they had arrived, a pause of the domain not
// included. Other messages have none.
func (w *Watch) Latencies() Latencies {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := slices.Clone(w.latencies)
	slices.Sort(l)
	return l
}

// add notes a message with this head. The latency is there before Wait returns.
func (w *Watch) add(a Arrived, head []byte, now time.Time) {
	if at, ok := stamp(head); ok {
		w.mu.Lock()
		w.latencies = append(w.latencies, now.Sub(at))
		w.mu.Unlock()
	}
	w.tally.add(a)
}

// stamp is the time in the field that Send writes.
func stamp(head []byte) (at time.Time, ok bool) {
	_, value, found := bytes.Cut(head, []byte(crlf+stampField))
	value, _, ended := bytes.Cut(value, []byte(crlf))
	nanoseconds, err := strconv.ParseInt(string(value), 10, 64)
	return time.Unix(0, nanoseconds), found && ended && err == nil
}

// Latencies are times in ascending order.
type Latencies []time.Duration

// Quantile is the time within which a share q of them lies: 0.5 for the median, 1 for the longest; 0 where there is none.
func (l Latencies) Quantile(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(l)))) // of the nearest, counted from one
	return l[min(max(rank, 1), len(l))-1]
}
