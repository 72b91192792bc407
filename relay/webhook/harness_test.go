package webhook

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/event"
)

// patience is how long anything may take that a test waits for.
const patience = 15 * time.Second

// receiver is a server that keeps what it is told and answers as it is told.
type receiver struct {
	t      *testing.T
	server *httptest.Server

	mu       sync.Mutex
	answer   func(n int, w http.ResponseWriter, r *http.Request) // n from 1
	requests []request
	// told are the events of requests that were answered 2xx.
	told []map[string]any
}

type request struct {
	header http.Header
	body   []byte
	events []map[string]any
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t}
	r.server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender gave up
	}
	var events []map[string]any
	if err := json.Unmarshal(body, &events); err != nil {
		r.t.Errorf("the body is no batch: %v: %s", err, body)
	}
	r.mu.Lock()
	r.requests = append(r.requests, request{req.Header.Clone(), body, events})
	n, answer := len(r.requests), r.answer
	r.mu.Unlock()
	status := &statusWriter{ResponseWriter: w, code: http.StatusOK}
	if answer != nil {
		answer(n, status, req)
	}
	if status.code < 300 {
		r.mu.Lock()
		r.told = append(r.told, events...)
		r.mu.Unlock()
	}
}

type statusWriter struct {
	http.ResponseWriter
	code int
}

func (w *statusWriter) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// answers makes the receiver answer so from now on; nil is 200.
func (r *receiver) answers(f func(n int, w http.ResponseWriter, req *http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func (r *receiver) seen() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// subjects are the spool ids of the events that were taken, in order.
func (r *receiver) subjects() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, e := range r.told {
		all = append(all, fmt.Sprint(e["subject"]))
	}
	return all
}

// rig is Hooks with a directory, a registry and a configuration.
type rig struct {
	t        *testing.T
	dir      string
	registry *prometheus.Registry
	options  Options
	config   config.Config
	hooks    *Hooks
}

func newRig(t *testing.T, hooks ...config.Webhook) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	r.config = config.Config{Dir: r.dir, Relay: config.Relay{Namespace: "mail", Name: "mx1", Webhooks: hooks}}
	r.options = Options{
		Dir: filepath.Join(r.dir, "events"), Pod: "mx1-0", Version: "test", Loopback: true,
		Log: slog.New(slog.DiscardHandler), backoff: time.Millisecond,
	}
	return r
}

func (r *rig) start() {
	r.t.Helper()
	r.registry = prometheus.NewRegistry()
	r.options.Metrics = r.registry
	r.hooks = New(r.options)
	r.configure()
	r.t.Cleanup(r.stop)
}

func (r *rig) configure() {
	r.t.Helper()
	if err := r.hooks.Configure(&r.config); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) stop() {
	if r.hooks != nil {
		r.hooks.Close()
		r.hooks = nil
	}
}

func (r *rig) secret(name, text string) string {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return name
}

// record records n events with the spool ids PREFIX-1 and so on.
func (r *rig) record(prefix string, n int) {
	for i := range n {
		r.hooks.Record(delivered(fmt.Sprintf("%s-%d", prefix, i+1)))
	}
}

func delivered(id string) event.Event {
	return event.Event{Type: event.Delivered, At: time.Unix(1_800_000_000, 0), SpoolID: id, Recipient: "ada@example.com", From: "news@example.org"}
}

// value is a metric of a webhook; -1 when it is not there.
func (r *rig) value(metric, hook string) float64 { return scrape(r.registry, metric, hook) }

// scrape reads a metric as a scraper does.
func scrape(g prometheus.Gatherer, metric, hook string) float64 {
	w := httptest.NewRecorder()
	promhttp.HandlerFor(g, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		text, ok := strings.CutPrefix(line, fmt.Sprintf("%s{webhook=%q} ", metric, hook))
		if value, err := strconv.ParseFloat(strings.TrimSpace(text), 64); ok && err == nil {
			return value
		}
	}
	return -1
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// want are the subjects PREFIX-1 to PREFIX-n.
func want(prefix string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%s-%d", prefix, i+1))
	}
	return all
}

func whsec(key string) string { return "whsec_" + base64.StdEncoding.EncodeToString([]byte(key)) }

// octets is how much the files of a queue have on disk.
func (r *rig) octets(hook string) int64 {
	r.t.Helper()
	total := int64(0)
	entries, _ := os.ReadDir(filepath.Join(r.options.Dir, "hook-"+hook))
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), ".jsonl") {
			total += info.Size()
		}
	}
	return total
}
