package relay

import (
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/journal"
	"github.com/postrider/postrider/relay/listener"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/schedule"
	"github.com/postrider/postrider/relay/tracing"
)

// kept is a sink that keeps what it is told.
type kept struct{ events []event.Event }

func (k *kept) Record(e event.Event) { k.events = append(k.events, e) }

// recording is a relay that only records, and where it writes.
func recording(tb testing.TB, log io.Writer) (*Relay, *kept) {
	r := &Relay{
		log:     slog.New(slog.NewJSONHandler(log, nil)),
		journal: journal.New(journal.Options{Dir: tb.TempDir()}),
		tracer:  tracing.New(tracing.Options{}),
	}
	r.metrics = newMetrics(r)
	k := &kept{}
	r.sinks = []sink{r.journal, k}
	return r, k
}

func session() *listener.Session {
	return &listener.Session{
		Listener: config.Listener{Name: "smtp"}, Remote: netip.MustParseAddrPort("192.0.2.7:4711"), Helo: "client.example.org",
	}
}

func entry(id envelope.ID, domain string, users ...string) envelope.Envelope {
	e := envelope.Envelope{ID: id, Domain: domain, ReversePath: "a@example.org", Origin: envelope.Trusted, Size: 1234, Accepted: time.Now()}
	for _, u := range users {
		e.Recipients = append(e.Recipients, envelope.Recipient{Address: u + "@" + domain, State: envelope.Queued, Attempts: 1})
	}
	return e
}

func TestOneLineForAnAcceptedMessageAndOneEventForEachRecipient(t *testing.T) {
	var log strings.Builder
	r, told := recording(t, &log)
	r.record(accepted(session(), []envelope.Envelope{entry("A", "x.test", "b", "c"), entry("A", "y.test", "d")})...)
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), `"recipients":3`) {
		t.Errorf("log:\n%s", &log)
	}
	for _, key := range []string{"spool_id", "listener", "client", "helo", "from", "recipients", "size", "origin"} {
		if !strings.Contains(log.String(), `"`+key+`":`) {
			t.Errorf("the line lacks %s: %s", key, &log)
		}
	}
	to := []string{}
	for _, e := range told.events {
		to = append(to, e.Recipient)
	}
	if !slices.Equal(to, []string{"b@x.test", "c@x.test", "d@y.test"}) {
		t.Errorf("told of %q", to)
	}
	if found, err := r.journal.Find("A"); err != nil || len(found) != 3 {
		t.Errorf("the journal has %v, %v", found, err)
	}
}

func TestWhatAnAttemptDidToEachRecipient(t *testing.T) {
	tried := entry("A", "x.test", "delivered", "deferred", "failed", "expired", "removed")
	outcome := func(code int) envelope.Outcome {
		return envelope.Outcome{Reply: reply.Reply{Code: code}, At: time.Now()}
	}
	outcomes := []envelope.Outcome{outcome(250), outcome(450), outcome(550), outcome(450), outcome(450)}
	stored := slices.Clone(tried.Recipients)[:4]
	stored[0].State, stored[2].State, stored[3].State = envelope.Delivered, envelope.Failed, envelope.Failed
	stored[1].Due = time.Now().Add(time.Hour)
	events := attempted(&schedule.Job{Site: "mx.x.test"}, &tried, outcomes, stored)
	want := []event.Type{event.Delivered, event.Deferred, event.Bounced, event.Bounced, event.Deferred}
	for i, e := range events {
		if e.Type != want[i] || (e.Due != nil) != (i == 1) {
			t.Errorf("%s: %s, due %v; want %s", e.Recipient, e.Type, e.Due, want[i])
		}
	}
}

// BenchmarkRecord is the cost of telling of one message with one recipient: its acceptance and its delivery.
func BenchmarkRecord(b *testing.B) {
	r, _ := recording(b, io.Discard)
	r.sinks = r.sinks[:1]
	go r.journal.Run(b.Context())
	c, entries := session(), []envelope.Envelope{entry("01M83K1R6SB9GKN4DS06", "x.test", "b")}
	job := &schedule.Job{Site: "mx.x.test"}
	outcomes := []envelope.Outcome{{
		Reply: reply.Reply{Code: 250, Enhanced: "2.0.0", Text: "Ok: queued as 4711"}, NextHop: "mx.x.test[192.0.2.1]:25", At: time.Now(),
	}}
	b.ReportAllocs()
	for b.Loop() {
		r.record(accepted(c, entries)...)
		r.record(attempted(job, &entries[0], outcomes, entries[0].Recipients)...)
	}
}
