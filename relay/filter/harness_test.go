package filter

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/dns"
	"github.com/postrider/postrider/relay/smtptest"
)

// rig is a chain and its counters.
type rig struct {
	t        *testing.T
	registry *prometheus.Registry
	chain    *Chain
}

func newRig(t *testing.T, resolver Resolver, filters ...config.Filter) *rig {
	t.Helper()
	r := &rig{t: t, registry: prometheus.NewRegistry()}
	for i := range filters {
		if filters[i].TimeoutSeconds == 0 {
			filters[i].TimeoutSeconds = 15
		}
		if filters[i].OnFailure == "" {
			filters[i].OnFailure = config.FailDefer
		}
	}
	dir := t.TempDir()
	chain, err := New(Options{
		Filters: filters, Path: func(file string) string { return filepath.Join(dir, file) }, Resolver: resolver,
		Hostname: "mx1.example.net", Metrics: NewMetrics(r.registry), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.chain = chain
	return r
}

// counted says whether a verdict was counted so often.
func (r *rig) counted(line string) bool {
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return strings.Contains(w.Body.String(), "\npostrider_filter_verdicts_total"+line+"\n")
}

func newDNS(t *testing.T, records ...string) (*smtptest.DNS, *dns.Client) {
	t.Helper()
	server, err := smtptest.NewDNS(records...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server, dns.New(dns.Options{Servers: []string{server.Addr()}})
}

const (
	header = "From: <a@example.org>\r\nSubject: folded\r\n here\r\nX-Empty:\r\n\r\n"
	body   = "Hello.\r\n.a dot\r\n"
)

// sample is a message from 192.0.2.7.
func sample() *Message {
	return &Message{
		ID: "01ABC", From: "a@example.org", Recipients: []string{"b@example.net", "c@example.net"},
		Client: Client{Addr: netip.MustParseAddr("192.0.2.7"), Port: 4711, Helo: "client.example", User: "ada", TLSVersion: "TLS1.3", Cipher: "X"},
		Header: []byte(header), Body: func() io.Reader { return strings.NewReader(body) }, BodySize: int64(len(body)),
	}
}
