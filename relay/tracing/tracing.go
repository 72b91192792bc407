// Package tracing tells of mail as OpenTelemetry traces: one for each message, from its acceptance over attempts and
// hand-offs to the DSNs about it. Trace and root span follow from the spool id, so that every pod that has the message
// tells of the same trace, and nothing about traces is stored or sent along with mail.
//
// It owns the spans and their way to a collector (OTLP over HTTP). No address goes into a span. It never makes mail wait:
// what there is no room for, or no collector for, is dropped.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/event"
)

const (
	// sendEvery is how long a span waits for others at most.
	sendEvery = time.Second
	// sendTime is how long a collector may take for a batch.
	sendTime = 10 * time.Second
	// closeTime is how long the last spans may take.
	closeTime = 2 * time.Second
	// signal is what OTLP over HTTP wants behind the endpoint.
	signal = "/v1/traces"
)

// Options say whose spans they are.
type Options struct {
	Pod, Version string
	Log          *slog.Logger
}

// Tracer makes spans of events. Without a collector to send them to it does nothing. It may be used by many goroutines.
type Tracer struct {
	o       Options
	current atomic.Pointer[pipeline]
	// closing counts the pipelines of former configurations that still send their last spans.
	closing sync.WaitGroup
}

// pipeline is what a configuration asks for.
type pipeline struct {
	settings config.Traces
	relay    string
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// New makes a Tracer that does nothing before Configure.
func New(o Options) *Tracer { return &Tracer{o: o} }

// Configure sends spans from now on where c says. It is not called by two at a time.
func (t *Tracer) Configure(c *config.Relay) error {
	before := t.current.Load()
	relay := c.Namespace + "/" + c.Name
	switch {
	case c.Traces == nil:
		t.become(nil)
		return nil
	case before != nil && before.settings == *c.Traces && before.relay == relay:
		return nil
	}
	p, err := t.newPipeline(c)
	if err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	p.relay = relay
	t.become(p)
	return nil
}

func (t *Tracer) become(p *pipeline) {
	if before := t.current.Swap(p); before != nil {
		t.closing.Go(before.close)
	}
}

// Close sends what there is, for a moment at most.
func (t *Tracer) Close() {
	t.become(nil)
	t.closing.Wait()
}

func (p *pipeline) close() {
	ctx, stop := context.WithTimeout(context.Background(), closeTime)
	defer stop()
	_ = p.provider.Shutdown(ctx) // what was not taken in time is dropped
}

func (t *Tracer) newPipeline(c *config.Relay) (*pipeline, error) {
	ctx := context.Background() // nothing is sent yet
	exporter, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(strings.TrimRight(c.Traces.Endpoint, "/")+signal),
		otlptracehttp.WithTimeout(sendTime), otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	if err != nil {
		return nil, err
	}
	about, err := t.resource(ctx, c)
	if err != nil {
		return nil, err
	}
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(&reporting{SpanExporter: exporter, log: t.o.Log}, sdk.WithBatchTimeout(sendEvery), sdk.WithExportTimeout(sendTime)),
		sdk.WithResource(about), sdk.WithIDGenerator(derived{}),
		sdk.WithSampler(sdk.TraceIDRatioBased(float64(c.Traces.SamplingPercent)/100)),
	)
	return &pipeline{settings: *c.Traces, provider: provider, tracer: provider.Tracer("postrider.dev/relay")}, nil
}

// resource is who tells. The environment variable OTEL_RESOURCE_ATTRIBUTES adds to it.
func (t *Tracer) resource(ctx context.Context, c *config.Relay) (*resource.Resource, error) {
	about, err := resource.New(ctx, resource.WithFromEnv(), resource.WithAttributes(
		semconv.ServiceName(c.Name), semconv.ServiceNamespace(c.Namespace), semconv.ServiceInstanceID(t.o.Pod),
		semconv.ServiceVersion(t.o.Version), semconv.K8SNamespaceName(c.Namespace), semconv.K8SPodName(t.o.Pod),
	))
	if errors.Is(err, resource.ErrPartialResource) {
		return about, nil
	}
	return about, err
}

// reporting says in the log when a collector takes nothing, once until it does again.
type reporting struct {
	sdk.SpanExporter
	log    *slog.Logger
	failed bool
}

// ExportSpans implements sdk.SpanExporter; it is not called by two at a time. Its trouble goes nowhere else: by default
// it would be written to the process's standard error.
func (r *reporting) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !r.failed:
		r.log.Warn("the collector takes no traces; they are dropped", "spans", len(spans), "error", err)
	case err == nil && r.failed:
		r.log.Info("the collector takes traces again")
	}
	r.failed = err != nil
	return nil
}

// Tell makes spans of what happened to mail: one of each run of events that happened at once to recipients of a message.
func (t *Tracer) Tell(events []event.Event) {
	p := t.current.Load()
	if p == nil {
		return
	}
	for len(events) > 0 {
		n := together(events)
		p.tell(events[:n])
		events = events[n:]
	}
}

// together is how many events, from the first on, are one span.
func together(events []event.Event) int {
	first, n := &events[0], 1
	for n < len(events) && events[n].SpoolID == first.SpoolID && nameOf(&events[n]) == nameOf(first) && events[n].Reply == first.Reply {
		n++
	}
	return n
}
