package relay_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

// span is what a collector was sent.
type span struct {
	*trace.Span
	pod string
}

// otlp takes traces over HTTP, as a collector does.
type otlp struct {
	*httptest.Server
	mu    sync.Mutex
	spans []span
}

func newOTLP(t *testing.T) *otlp {
	o := &otlp{}
	o.Server = httptest.NewServer(http.HandlerFunc(o.take))
	t.Cleanup(o.Close)
	return o
}

func (o *otlp) take(w http.ResponseWriter, req *http.Request) {
	var request collector.ExportTraceServiceRequest
	body, err := gzip.NewReader(req.Body)
	if err == nil {
		var text []byte
		if text, err = io.ReadAll(body); err == nil {
			err = proto.Unmarshal(text, &request)
		}
	}
	if err != nil || req.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(req.URL, err), http.StatusBadRequest)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, from := range request.ResourceSpans {
		pod := valueOf(from.Resource.Attributes, "service.instance.id")
		for _, scope := range from.ScopeSpans {
			for _, s := range scope.Spans {
				o.spans = append(o.spans, span{s, pod})
			}
		}
	}
}

func valueOf(attributes []*common.KeyValue, key string) string {
	for _, a := range attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// of are the spans of a trace, in the order in which they began.
func (o *otlp) of(traceID []byte) []span {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []span
	for _, s := range o.spans {
		if bytes.Equal(s.TraceId, traceID) {
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, func(a, b span) int { return int(a.StartTimeUnixNano) - int(b.StartTimeUnixNano) })
	return list
}

// accepted is the span in which a message was accepted.
func (o *otlp) accepted(id envelope.ID) *trace.Span {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.spans {
		if s.Name == "accept" && valueOf(s.Attributes, "messaging.message.id") == string(id) {
			return s.Span
		}
	}
	return nil
}

// TestTraceAcrossPods: the life of a message that is deferred, handed to another pod and refused there, and of the DSN
// about it, is one trace, told by both pods, in which no address stands.
func TestTraceAcrossPods(t *testing.T) {
	otlp := newOTLP(t)
	refusal := reply.Reply{Code: 550, Enhanced: "5.1.1", Text: "no b@nowhere.test here"}
	greylist := newSink(t, smtptest.Options{Addr: "127.0.0.9:0", Replies: map[string]reply.Reply{"@nowhere.test": {Code: 451, Enhanced: "4.7.1", Text: "later"}}})
	final := newSink(t, smtptest.Options{Addr: "127.0.0.9:0", Replies: map[string]reply.Reply{"@nowhere.test": refusal}})
	stays, goes := newPods(t)
	for _, pod := range []*rig{stays, goes} {
		pod.domain("sender.test", "127.0.0.9")
		pod.config.Relay.Traces = &config.Traces{Endpoint: otlp.URL, SamplingPercent: 100}
	}
	stays.routeTo(final.Port())
	goes.routeTo(greylist.Port())
	for _, pod := range []*rig{stays, goes} {
		pod.configure()
		pod.eventually("the configuration to be in force", func() bool { return pod.status().Generation == pod.config.Generation })
	}
	goes.mustSend("a@sender.test", "b@nowhere.test,c@nowhere.test", message("a@sender.test", "traced"))
	var id envelope.ID
	goes.eventually("a first attempt", func() bool {
		entries := goes.page("domain=nowhere.test").Entries
		if len(entries) == 1 {
			id = entries[0].ID
		}
		return len(entries) == 1 && entries[0].Recipients[0].Last != nil
	})
	handOver(goes, config.Peer{Pod: "out-0", Address: "127.0.0.2", Host: "out-0.invalid"})
	goes.drained()
	stays.act(admin.Flush, `{"all": true}`)
	stays.drained()

	names := []string{"out-1 accept", "out-1 attempt", "out-1 hand out", "out-0 hand in", "out-0 flushed", "out-0 attempt", "out-0 report", "out-0 accept", "out-0 attempt"}
	var root *trace.Span
	var spans []span
	stays.eventually("the whole trace", func() bool {
		if root = otlp.accepted(id); root == nil {
			return false
		}
		spans = otlp.of(root.TraceId)
		return len(spans) >= len(names)
	})
	var got []string
	for _, s := range spans {
		got = append(got, s.pod+" "+s.Name)
		isRoot := bytes.Equal(s.SpanId, root.SpanId)
		if isRoot != (len(s.ParentSpanId) == 0) || !isRoot && !bytes.Equal(s.ParentSpanId, root.SpanId) {
			t.Errorf("%s has the parent %s, the root is %s", s.Name, hex.EncodeToString(s.ParentSpanId), hex.EncodeToString(root.SpanId))
		}
		if s.EndTimeUnixNano < s.StartTimeUnixNano || strings.Contains(fmt.Sprint(s.Name, s.Attributes, s.Events, s.Status), "@") { // ids are random octets
			t.Errorf("a span is %v", s.Span)
		}
	}
	slices.Sort(got)
	slices.Sort(names)
	if !slices.Equal(got, names) {
		t.Errorf("the trace is %q, want %q", got, names)
	}
	if a := spans[1]; a.Name != "attempt" || a.Status.GetCode() != trace.Status_STATUS_CODE_ERROR ||
		valueOf(a.Attributes, "smtp.reply") != "451 4.7.1" || valueOf(a.Attributes, "postrider.outcome") != "Deferred" {
		t.Errorf("the first attempt is told as %v", a.Span)
	}
}
