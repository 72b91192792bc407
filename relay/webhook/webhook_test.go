package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/event"
)

func TestEventIsACloudEvent(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, config.Webhook{Name: "crm", URL: to.server.URL + "/hook?token=x"})
	r.start()
	e := delivered("01ABC")
	e.Recipient, e.Reply = "a\"; rm -rf /\r\n@example.com", "250 2.0.0 \xff ok"
	r.hooks.Record(e)
	r.eventually("the event", func() bool { return len(to.subjects()) == 1 })

	got := to.seen()[0]
	if ct := got.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/cloudevents-batch+json") {
		t.Errorf("Content-Type %q", ct)
	}
	if got.header.Get("webhook-signature") != "" || got.header.Get("webhook-id") == "" {
		t.Errorf("headers %v", got.header)
	}
	ce := got.events[0]
	for name, want := range map[string]string{
		"specversion": "1.0", "source": "/namespaces/mail/mailrelays/mx1/pods/mx1-0", "subject": "01ABC",
		"type": "dev.postrider.mail.delivered", "time": "2027-01-15T08:00:00Z", "datacontenttype": "application/json",
	} {
		if ce[name] != want {
			t.Errorf("%s is %v, want %s", name, ce[name], want)
		}
	}
	data := ce["data"].(map[string]any)
	if data["recipient"] != e.Recipient || data["type"] != "Delivered" || ce["id"] == "" {
		t.Errorf("event %v", ce)
	}
}

// TestSignature verifies as a receiver does, by the text of the Standard Webhooks specification.
func TestSignature(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t)
	file := r.secret("hook", whsec("first key of some length")+"\nanother key as it is\n")
	r.config.Relay.Webhooks = []config.Webhook{{Name: "crm", URL: to.server.URL, SecretFile: file}}
	r.start()
	r.record("a", 1)
	r.eventually("the event", func() bool { return len(to.subjects()) == 1 })

	got := to.seen()[0]
	signatures := strings.Split(got.header.Get("webhook-signature"), " ")
	for i, key := range []string{"first key of some length", "another key as it is"} {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(got.header.Get("webhook-id") + "." + got.header.Get("webhook-timestamp") + "."))
		mac.Write(got.body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); len(signatures) != 2 || signatures[i] != want {
			t.Errorf("signatures %q, want %q at %d", signatures, want, i)
		}
	}
	var sent int64
	if _, err := fmt.Sscan(got.header.Get("webhook-timestamp"), &sent); err != nil || time.Since(time.Unix(sent, 0)) > time.Minute {
		t.Errorf("webhook-timestamp %q", got.header.Get("webhook-timestamp"))
	}
}

func TestNeverUnsigned(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t)
	r.config.Relay.Webhooks = []config.Webhook{{Name: "crm", URL: to.server.URL, SecretFile: "hook"}}
	r.options.Metrics = nil
	r.hooks = New(r.options)
	t.Cleanup(r.stop)
	if err := r.hooks.Configure(&r.config); err == nil {
		t.Error("a key that is not there is no error")
	}
	r.record("a", 3)
	r.eventually("the events on disk", func() bool { return r.octets("crm") > 0 })
	if len(to.seen()) > 0 {
		t.Fatal("events were sent without the signature that the configuration wants")
	}
	r.secret("hook", "key")
	r.configure()
	r.eventually("the events, once there is a key", func() bool { return slices.Equal(to.subjects(), want("a", 3)) })
	r.secret("hook", "whsec_%%%")
	if err := r.hooks.Configure(&r.config); err == nil {
		t.Error("a key that is no base64 is no error")
	}
	r.record("b", 1)
	r.eventually("an event signed with the key before", func() bool { return len(to.subjects()) == 4 })
	for _, got := range to.seen() {
		if got.header.Get("webhook-signature") == "" {
			t.Error("a request without signature")
		}
	}
}

func TestTypes(t *testing.T) {
	named, all := newReceiver(t), newReceiver(t)
	r := newRig(t, config.Webhook{Name: "named", URL: named.server.URL, Types: []string{"Bounced", "Removed"}},
		config.Webhook{Name: "all", URL: all.server.URL})
	r.start()
	for _, what := range []event.Type{
		event.Accepted, event.Held, event.Deferred, event.Removed, event.Reported, event.Delivered, event.Bounced,
		event.Flushed, event.Released, event.Suppressed,
	} {
		e := delivered(string(what))
		e.Type = what
		r.hooks.Record(e)
	}
	r.eventually("the events that are named", func() bool { return slices.Equal(named.subjects(), []string{"Removed", "Bounced"}) })
	r.eventually("what becomes of mail", func() bool {
		return slices.Equal(all.subjects(), []string{"Accepted", "Deferred", "Delivered", "Bounced", "Suppressed"})
	})
}

// TestKilled takes up a queue as it stands on disk while its process still runs.
func TestKilled(t *testing.T) {
	to := newReceiver(t)
	to.answers(func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	r := newRig(t, config.Webhook{Name: "crm", URL: to.server.URL})
	r.start()
	r.record("a", 500)
	r.eventually("the events on disk", func() bool { return r.value("postrider_webhook_events_queued", "crm") == 500 })
	clone := newRig(t, config.Webhook{Name: "crm", URL: to.server.URL})
	if err := os.CopyFS(clone.options.Dir, os.DirFS(r.options.Dir)); err != nil {
		t.Fatal(err)
	}
	r.stop()
	to.answers(nil)
	clone.start()
	r.eventually("all events", func() bool { return slices.Equal(to.subjects(), want("a", 500)) })
}

func TestBatches(t *testing.T) {
	to := newReceiver(t)
	release := make(chan struct{})
	to.answers(func(n int, _ http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			<-release
		}
	})
	r := newRig(t, config.Webhook{Name: "crm", URL: to.server.URL})
	r.start()
	r.record("a", 1)
	r.eventually("the first request", func() bool { return len(to.seen()) == 1 })
	r.record("b", 600)
	r.eventually("the queue", func() bool { return r.value("postrider_webhook_events_queued", "crm") == 601 })
	close(release)
	r.eventually("all events", func() bool { return len(to.subjects()) == 601 })
	if got := to.subjects(); !slices.Equal(got, append([]string{"a-1"}, want("b", 600)...)) {
		t.Errorf("in another order: %v", got)
	}
	if n := len(to.seen()); n != 1+3 {
		t.Errorf("%d requests; 256 events fit into each", n)
	}
	r.eventually("an empty queue", func() bool {
		return r.value("postrider_webhook_events_queued", "crm") == 0 && r.value("postrider_webhook_events_sent_total", "crm") == 601
	})
}

func TestRetry(t *testing.T) {
	for _, code := range []int{500, 503, 429, 408, 302} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			to := newReceiver(t)
			to.answers(func(n int, w http.ResponseWriter, _ *http.Request) {
				if n <= 2 {
					w.Header().Set("Location", to.server.URL+"/elsewhere")
					w.WriteHeader(code)
				}
			})
			r := newRig(t, config.Webhook{Name: "crm", URL: to.server.URL})
			r.start()
			r.record("a", 1)
			r.eventually("the event", func() bool { return slices.Equal(to.subjects(), want("a", 1)) })
			all := to.seen()
			if len(all) != 3 {
				t.Fatalf("%d requests", len(all))
			}
			if all[0].header.Get("webhook-id") != all[2].header.Get("webhook-id") || string(all[0].body) != string(all[2].body) {
				t.Error("a request that is repeated is another")
			}
			if n := r.value("postrider_webhook_requests_failed_total", "crm"); n != 2 {
				t.Errorf("%v failures counted", n)
			}
		})
	}
}

func TestRefusedBatchIsDropped(t *testing.T) {
	for _, code := range []int{410, 400, 404} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			to := newReceiver(t)
			to.answers(func(n int, w http.ResponseWriter, _ *http.Request) {
				if n == 1 {
					w.WriteHeader(code)
				}
			})
			r := newRig(t, config.Webhook{Name: "crm", URL: to.server.URL})
			r.start()
			r.record("gone", 1)
			r.eventually("the drop", func() bool { return r.value("postrider_webhook_events_dropped_total", "crm") == 1 })
			r.record("a", 1)
			r.eventually("the next event", func() bool { return slices.Equal(to.subjects(), want("a", 1)) })
			if n := len(to.seen()); n != 2 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestQuota(t *testing.T) {
	to := newReceiver(t)
	to.answers(func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	r := newRig(t, config.Webhook{Name: "crm", URL: to.server.URL})
	r.options.Quota = 64 << 10
	r.options.backoff = time.Hour
	r.start()
	const n = 2000
	for i := range n { // about 600 KB
		r.hooks.Record(delivered(fmt.Sprintf("e-%d", i)))
		if i%500 == 0 {
			r.eventually("room", func() bool { return len(r.hooks.running["crm"].incoming) == 0 })
		}
	}
	var queued, dropped float64
	r.eventually("all events counted", func() bool {
		queued, dropped = r.value("postrider_webhook_events_queued", "crm"), r.value("postrider_webhook_events_dropped_total", "crm")
		return queued+dropped >= n
	})
	if got := r.octets("crm"); got > r.options.Quota+4<<10 || got < r.options.Quota/2 {
		t.Errorf("%d octets on disk, the quota is %d", got, r.options.Quota)
	}
	to.answers(nil)
	r.configure() // what waits is tried at once
	r.eventually("what is left", func() bool { return r.value("postrider_webhook_events_queued", "crm") == 0 })
	got := to.subjects()
	if last := got[len(got)-1]; last != fmt.Sprintf("e-%d", n-1) {
		t.Errorf("the newest event is gone; the last is %s", last)
	}
	if sum := len(got) + int(r.value("postrider_webhook_events_dropped_total", "crm")); sum != n {
		t.Errorf("%d events told or counted as dropped, of %d", sum, n)
	}
}

func TestRestart(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, config.Webhook{Name: "crm", URL: to.server.URL})
	r.start()
	r.record("a", 3)
	r.eventually("the first events", func() bool { return r.value("postrider_webhook_events_sent_total", "crm") == 3 })
	to.answers(func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	r.record("b", 300)
	r.stop()
	to.answers(nil)
	r.start()
	r.record("c", 2)
	all := slices.Concat(want("a", 3), want("b", 300), want("c", 2))
	r.eventually("all events", func() bool { return len(to.subjects()) >= len(all) })
	if got := to.subjects(); !slices.Equal(got, all) {
		t.Errorf("after a restart in another order, or again: %v", got)
	}
	ids := map[any]bool{}
	for _, e := range to.told {
		ids[e["id"]] = true
	}
	if len(ids) != len(all) {
		t.Errorf("%d ids for %d events", len(ids), len(all))
	}
}

// TestCrash opens a queue as a crash leaves it: an event written in part, no position, and a line that was never
// written though the file is as long as if it had been.
func TestCrash(t *testing.T) {
	to := newReceiver(t)
	to.answers(func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	r := newRig(t, config.Webhook{Name: "crm", URL: to.server.URL})
	r.start()
	r.record("a", 3)
	r.eventually("the events on disk", func() bool { return r.value("postrider_webhook_events_queued", "crm") == 3 })
	r.stop()
	dir := filepath.Join(r.options.Dir, "hook-crm")
	files, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if len(files) != 1 {
		t.Fatalf("files %v", files)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(data), "\n")
	lines[1] = strings.Repeat("\x00", len(lines[1])-1) + "\n"
	torn := strings.Join(lines, "") + lines[0][:40]
	if err := os.WriteFile(files[0], []byte(torn), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, positionFile), []byte("1 "), 0o600); err != nil {
		t.Fatal(err)
	}
	to.answers(nil)
	r.start()
	r.record("b", 1)
	r.eventually("the events", func() bool { return slices.Equal(to.subjects(), []string{"a-1", "a-3", "b-1"}) })
	if n := r.value("postrider_webhook_events_dropped_total", "crm"); n != 1 {
		t.Errorf("%v events counted as dropped", n)
	}
}

func TestSlowReceiverDelaysNobody(t *testing.T) {
	slow, quick := newReceiver(t), newReceiver(t)
	hang := make(chan struct{})
	slow.answers(func(_ int, _ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	defer close(hang)
	r := newRig(t, config.Webhook{Name: "slow", URL: slow.server.URL}, config.Webhook{Name: "quick", URL: quick.server.URL})
	r.start()
	const n = 3000
	began := time.Now()
	r.record("a", n)
	if took := time.Since(began); took > patience/3 {
		t.Errorf("Record took %v for %d events", took, n)
	}
	r.eventually("all events at the quick one", func() bool { return len(quick.subjects()) == n })
	r.eventually("all events in the queue of the slow one", func() bool { return r.value("postrider_webhook_events_queued", "slow") == n })
}

// TestRecordNeverWaits has nobody take the events: they are dropped, and counted.
func TestRecordNeverWaits(t *testing.T) {
	r := newRig(t)
	r.registry = prometheus.NewRegistry()
	r.options.Metrics = r.registry
	h := New(r.options)
	k := newHook(h, "stuck")
	k.use(&settings{})
	h.activate([]*hook{k})
	began := time.Now()
	for range waiting + 10 {
		h.Record(delivered("x"))
	}
	if took := time.Since(began); took > patience/3 {
		t.Errorf("Record took %v", took)
	}
	if len(k.incoming) != waiting {
		t.Errorf("%d events wait", len(k.incoming))
	}
	if n := r.value("postrider_webhook_events_dropped_total", "stuck"); n != 10 {
		t.Errorf("%v events counted as dropped, want 10", n)
	}
}

// TestDiskReserve: below the reserve nothing is written, and what waits gives way to mail.
func TestDiskReserve(t *testing.T) {
	to := newReceiver(t)
	to.answers(func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	r := newRig(t, config.Webhook{Name: "crm", URL: to.server.URL})
	var low atomic.Bool
	r.options.Low, r.options.Quota, r.options.backoff = low.Load, 64<<10, time.Hour
	r.start()
	r.record("a", 100)
	r.eventually("the events on disk", func() bool { return r.value("postrider_webhook_events_queued", "crm") == 100 })
	before := r.octets("crm")
	low.Store(true)
	for i := range 200 {
		r.record("b", 1)
		r.eventually("the drop", func() bool { return r.value("postrider_webhook_events_dropped_total", "crm") > float64(i) })
	}
	if after := r.octets("crm"); after > 64<<10/segmentShare || before < 10*after {
		t.Errorf("%d octets became %d", before, after)
	}
	low.Store(false)
	to.answers(nil)
	r.record("c", 1)
	r.configure()
	r.eventually("what is left", func() bool { return slices.Contains(to.subjects(), "c-1") })
	r.eventually("the books to balance", func() bool {
		return r.value("postrider_webhook_events_dropped_total", "crm")+r.value("postrider_webhook_events_sent_total", "crm") == 301
	})
}

func TestReload(t *testing.T) {
	first, second := newReceiver(t), newReceiver(t)
	first.answers(func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	r := newRig(t, config.Webhook{Name: "crm", URL: first.server.URL}, config.Webhook{Name: "gone", URL: first.server.URL})
	r.options.backoff = time.Hour
	r.start()
	r.record("a", 2)
	r.eventually("both queues", func() bool { return r.octets("crm") > 0 && r.octets("gone") > 0 })
	for _, metric := range []string{"postrider_webhook_events_sent_total", "postrider_webhook_events_dropped_total", "postrider_webhook_requests_failed_total"} {
		if n := r.value(metric, "gone"); n < 0 {
			t.Errorf("%s does not know a webhook before it counts", metric)
		}
	}
	r.config.Relay.Webhooks = []config.Webhook{{Name: "crm", URL: second.server.URL}}
	r.configure()
	r.eventually("the queue at the new URL", func() bool { return slices.Equal(second.subjects(), want("a", 2)) })
	if _, err := os.Stat(filepath.Join(r.options.Dir, "hook-gone")); !os.IsNotExist(err) {
		t.Errorf("the queue of a webhook that is gone is still there: %v", err)
	}
	if n := r.value("postrider_webhook_events_queued", "gone"); n != -1 {
		t.Errorf("a webhook that is gone is still in the metrics: %v", n)
	}

	// One that went while no process ran goes, too; and what is not ours stays.
	r.stop()
	for _, dir := range []string{"hook-old", "other"} {
		if err := os.MkdirAll(filepath.Join(r.options.Dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	entries, _ := os.ReadDir(r.options.Dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, []string{"hook-crm", "other"}) && !slices.Equal(names, []string{"other"}) {
		t.Errorf("directories %v", names)
	}
}

func TestBadWebhookDoesNotStopOthers(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, config.Webhook{Name: "crm", URL: to.server.URL},
		config.Webhook{Name: "ftp", URL: "ftp://user:hunter2@example.com/"}, config.Webhook{Name: "bad", URL: "http://user:hunter2@[::1"},
		config.Webhook{Name: "crm", URL: to.server.URL}, config.Webhook{Name: "../../up", URL: to.server.URL})
	r.hooks = New(r.options)
	t.Cleanup(r.stop)
	err := r.hooks.Configure(&r.config)
	for _, name := range []string{"ftp", "bad", "crm"} {
		if err == nil || !strings.Contains(err.Error(), "webhook "+name) {
			t.Errorf("no word about %s: %v", name, err)
		}
	}
	if err != nil && strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a password in an error: %v", err)
	}
	r.record("a", 1)
	r.eventually("the event, at two", func() bool { return len(to.subjects()) == 2 })
	entries, _ := os.ReadDir(r.dir)
	if len(entries) != 1 || entries[0].Name() != "events" {
		t.Errorf("files outside of the directory: %v", entries)
	}
}

func TestEventJSONHoldsWhatHappened(t *testing.T) {
	due := time.Unix(1_800_000_300, 0)
	o := &occurrence{id: "x-1", Event: event.Event{
		Type: event.Deferred, At: time.Unix(1_800_000_000, 0), SpoolID: "01A", Recipient: "a@example.com",
		NextHop: "mx[192.0.2.1]:25", Reply: "451 4.7.1 later", Attempt: 2, Due: &due,
	}}
	line, err := o.line("/x")
	if err != nil || !strings.HasSuffix(string(line), "}\n") || strings.Count(string(line), "\n") != 1 {
		t.Fatalf("%q, %v", line, err)
	}
	var back struct{ Data event.Event }
	if err := json.Unmarshal(line, &back); err != nil || back.Data.Reply != o.Reply || !back.Data.Due.Equal(due) {
		t.Errorf("%+v, %v", back, err)
	}
}
