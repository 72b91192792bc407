package tracing

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/relay/event"
)

// identity is what every pod knows of a message's trace: its id, and that of the span of its acceptance.
type identity struct {
	trace trace.TraceID
	root  trace.SpanID
}

// identityOf follows from the spool id alone.
func identityOf(spoolID string) identity {
	sum := sha256.Sum256([]byte("postrider trace " + spoolID))
	return identity{trace.TraceID(sum[:16]), trace.SpanID(sum[16:24])}
}

// rootKey is under which a context holds the identity of the span that begins a trace.
type rootKey struct{}

// derived gives a root span the ids that follow from the spool id, and any other span a random one.
type derived struct{}

// NewIDs implements sdk.IDGenerator.
func (d derived) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if i, ok := ctx.Value(rootKey{}).(identity); ok {
		return i.trace, i.root
	}
	var id trace.TraceID
	binary.BigEndian.PutUint64(id[:8], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], 1+rand.Uint64()>>1)
	return id, d.NewSpanID(ctx, id)
}

// NewSpanID implements sdk.IDGenerator.
func (derived) NewSpanID(context.Context, trace.TraceID) trace.SpanID {
	var id trace.SpanID
	binary.BigEndian.PutUint64(id[:], 1+rand.Uint64()>>1)
	return id
}

// place is the context in which the span of an event begins: that of the acceptance begins the trace, all others are its
// children. A DSN belongs to the trace of the message that it is about.
func place(e *event.Event) context.Context {
	i := identityOf(cmp.Or(e.About, e.SpoolID))
	if e.Type == event.Accepted && e.About == "" {
		return context.WithValue(context.Background(), rootKey{}, i)
	}
	return trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: i.trace, SpanID: i.root, TraceFlags: trace.FlagsSampled, Remote: true,
	}))
}

// nameOf is the name of an event's span; there are few.
func nameOf(e *event.Event) string {
	switch e.Type {
	case event.Accepted:
		return "accept"
	case event.HandedOut:
		return "hand out"
	case event.HandedIn:
		return "hand in"
	case event.Reported:
		return "report"
	default:
		if e.Attempt > 0 {
			return "attempt"
		}
		return strings.ToLower(string(e.Type))
	}
}

// kindOf is which side of a message's way a span stands on.
func kindOf(e *event.Event) trace.SpanKind {
	switch {
	case e.Type == event.Accepted && e.Listener != "":
		return trace.SpanKindServer
	case e.Attempt > 0:
		return trace.SpanKindClient
	case e.Type == event.HandedOut:
		return trace.SpanKindProducer
	case e.Type == event.HandedIn:
		return trace.SpanKindConsumer
	default:
		return trace.SpanKindInternal
	}
}

// tell makes the span of events that belong together.
func (p *pipeline) tell(events []event.Event) {
	e := &events[0]
	began, ended := e.At, e.At
	if !e.Began.IsZero() {
		began = e.Began
	}
	if e.Type == event.Accepted {
		ended = time.Now() // its time is that in Received
	}
	_, span := p.tracer.Start(place(e), nameOf(e), trace.WithTimestamp(began), trace.WithSpanKind(kindOf(e)))
	if span.IsRecording() {
		span.SetAttributes(attributes(e, len(events))...)
		if e.Attempt > 0 && e.Type != event.Delivered {
			span.SetStatus(codes.Error, replyOf(e))
			span.SetAttributes(semconv.ErrorTypeKey.String(replyOf(e)))
		}
	}
	span.End(trace.WithTimestamp(later(began, ended)))
}

// later is the end of what began: no span ends before it began, whatever the clock did meanwhile.
func later(began, ended time.Time) time.Time {
	if ended.Before(began) {
		return began
	}
	return ended
}

// attributes are what is known of the event, but for addresses: traces are read by others than mail is.
func attributes(e *event.Event, recipients int) []attribute.KeyValue {
	list := make([]attribute.KeyValue, 0, 16)
	list = append(list, semconv.MessagingSystemKey.String("smtp"), semconv.MessagingMessageID(e.SpoolID),
		attribute.Int("postrider.recipients", recipients), attribute.String("postrider.origin", e.Origin))
	if e.Size > 0 {
		list = append(list, semconv.MessagingMessageEnvelopeSize(int(e.Size)))
	}
	if e.Attempt > 0 {
		list = append(list, attribute.Int("postrider.attempt", e.Attempt), attribute.String("postrider.outcome", string(e.Type)),
			attribute.String("smtp.reply", replyOf(e)))
		list = appendServer(list, e.NextHop)
	}
	for _, optional := range [...]struct{ key, value string }{
		{"postrider.sending_domain", e.Tenant}, {"postrider.listener", e.Listener}, {"postrider.site", e.Site},
		{"postrider.peer", e.Peer}, {"postrider.tls", e.TLS}, {"postrider.about", e.About},
	} {
		if optional.value != "" {
			list = append(list, attribute.String(optional.key, optional.value))
		}
	}
	return list
}

// replyOf is the reply without its text, which may name people: "451 4.7.1".
func replyOf(e *event.Event) string {
	words := strings.SplitN(e.Reply, " ", 3)
	if len(words) > 1 && strings.Trim(words[1], "0123456789.") == "" {
		return words[0] + " " + words[1]
	}
	return words[0]
}

// appendServer adds the host and port of a next hop, "mx.example.com[192.0.2.1]:25".
func appendServer(list []attribute.KeyValue, nextHop string) []attribute.KeyValue {
	host, rest, _ := strings.Cut(nextHop, "[")
	if host == "" {
		return list
	}
	list = append(list, semconv.ServerAddress(host), semconv.NetworkProtocolName("smtp"))
	if _, port, err := net.SplitHostPort("[" + rest); err == nil {
		if n, err := strconv.Atoi(port); err == nil {
			list = append(list, semconv.ServerPort(n))
		}
	}
	return list
}
