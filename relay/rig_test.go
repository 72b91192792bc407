package relay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/relay"
	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/smtptest"
	"github.com/postrider/postrider/relay/status"
)

// rig is a relay that runs in the test's process, between a DNS server and sinks, all over real sockets.
type rig struct {
	t       *testing.T
	dns     *smtptest.DNS
	config  config.Config
	files   map[string][]byte // besides those that config makes
	dir     string
	stopped chan error
	stop    context.CancelFunc
	// pod and bind are the name and the address of the process.
	pod, bind string
	// uid is the pod's; empty as without a cluster.
	uid string
	// health is where probes ask; empty for nowhere. drain is relay.Options.DrainEndpoints.
	health string
	drain  func()
}

// patience is how long anything may take that a test waits for.
const patience = 15 * time.Second

// newRig prepares a relay with one listener that trusts loopback and routes by MX. change adapts it.
func newRig(t *testing.T, change func(*rig)) *rig {
	t.Helper()
	dns, err := smtptest.NewDNS()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Close)
	r := &rig{t: t, dns: dns, dir: t.TempDir(), files: map[string][]byte{}, pod: "outbound-0", bind: "127.0.0.1"}
	r.config = config.Config{Relay: config.Relay{
		Name: "outbound", Namespace: "test", Hostname: "out.relay.example", Postmaster: "ops@relay.example",
		Listeners: []config.Listener{{Name: "smtp", Mode: config.ModeRelay, TLS: config.TLSNone}},
		Access:    config.Access{TrustedCIDRs: []string{"127.0.0.0/8"}, UndeclaredSenders: config.SendersAccept},
		Queue: config.Queue{
			RetryInitialSeconds: 1, RetryMaxSeconds: 1, MaxMessageAgeSeconds: 3600, MaxMessageBytes: 10 << 20,
		},
		DNS: config.DNS{Resolvers: []string{dns.Addr()}},
	}}
	if change != nil {
		change(r)
	}
	r.configure()
	r.start()
	t.Cleanup(r.halt)
	return r
}

// routeTo makes the rig's MX port that of the sink.
func (r *rig) routeTo(port int) {
	r.config.Relay.Routes = []config.Route{{Name: "internet", MX: &config.MX{Port: port, AllowCIDRs: []string{"127.0.0.0/8"}}}}
}

// domain points a domain at sinks on loopback addresses, in order of preference.
func (r *rig) domain(name string, addresses ...string) {
	r.t.Helper()
	for i, address := range addresses {
		host := fmt.Sprintf("mx%d.%s", i+1, name)
		if err := r.dns.Add(fmt.Sprintf("%s. MX %d %s.", name, i+1, host), fmt.Sprintf("%s. A %s", host, address)); err != nil {
			r.t.Fatal(err)
		}
	}
}

// configure writes the configuration as its next generation.
func (r *rig) configure() {
	r.t.Helper()
	r.config.Generation++
	files := map[string][]byte{config.RelayFile: r.json(r.config.Relay)}
	if len(r.config.Domains) > 0 {
		files[fmt.Sprintf(config.DomainsFile, 0)] = r.json(r.config.Domains)
	}
	for name, data := range r.files {
		files[name] = data
	}
	index := config.Index{Format: config.Format, Generation: r.config.Generation, Files: map[string]string{}}
	for name, data := range files {
		index.Files[name] = config.Digest(data)
		r.write(name, data)
	}
	r.write(config.IndexFile, r.json(index))
}

// index is the one that is written.
func (r *rig) index() []byte {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.configDir(), config.IndexFile))
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

func (r *rig) configDir() string { return filepath.Join(r.dir, "config") }

func (r *rig) write(name string, data []byte) {
	r.t.Helper()
	if err := os.MkdirAll(r.configDir(), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.configDir(), name), data, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) json(v any) []byte {
	r.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

func (r *rig) socket() string { return filepath.Join(r.dir, "admin.sock") }

func (r *rig) start() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.stopped = cancel, make(chan error, 1)
	log := slog.New(slog.NewJSONHandler(testWriter{r.t}, nil))
	go func() {
		r.stopped <- relay.Run(ctx, relay.Options{
			ConfigDir: r.configDir(), DataDir: r.dir, AdminSocket: r.socket(), Bind: r.bind, Pod: r.pod, Local: true, Log: log,
			PodUID: r.uid, HealthAddress: r.health, DrainEndpoints: r.drain,
		})
	}()
	r.eventually("the configuration to be in force", func() bool {
		s, err := r.tryStatus()
		return err == nil && s.Generation == r.config.Generation
	})
}

// halt stops the relay as SIGTERM does.
func (r *rig) halt() {
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	select {
	case err := <-r.stopped:
		if err != nil {
			r.t.Errorf("the relay ended with %v", err)
		}
	case <-time.After(patience):
		r.t.Error("the relay did not stop")
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s; status %s", what, r.json(r.statusOrNothing()))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (r *rig) statusOrNothing() status.Status {
	s, _ := r.tryStatus()
	return s
}

func (r *rig) status() status.Status {
	r.t.Helper()
	s, err := r.tryStatus()
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) tryStatus() (status.Status, error) {
	var s status.Status
	err := r.ask(http.MethodGet, "/status", "", &s)
	return s, err
}

// ask asks the admin socket for JSON.
func (r *rig) ask(method, path, body string, answer any) error {
	data, err := r.fetch(method, path, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, answer)
}

func (r *rig) metrics() string {
	r.t.Helper()
	data, err := r.fetch(http.MethodGet, "/metrics", "")
	if err != nil {
		r.t.Fatal(err)
	}
	return string(data)
}

// fetch speaks to the admin socket.
func (r *rig) fetch(method, path, body string) ([]byte, error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", r.socket())
		},
	}}
	req, err := http.NewRequest(method, "http://relay"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s %s", method, path, response.Status, data)
	}
	return data, nil
}

func (r *rig) act(act admin.Act, selection string) admin.Result {
	r.t.Helper()
	var result admin.Result
	if err := r.ask(http.MethodPost, "/queue/"+string(act), selection, &result); err != nil {
		r.t.Fatal(err)
	}
	return result
}

// page is a page of the queue.
func (r *rig) page(query string) admin.Page {
	r.t.Helper()
	var page admin.Page
	if err := r.ask(http.MethodGet, "/queue?"+query, "", &page); err != nil {
		r.t.Fatal(err)
	}
	return page
}

// address is where a listener listens.
func (r *rig) address(listener string) string {
	r.t.Helper()
	r.eventually("listener "+listener+" to listen", func() bool {
		return slices.ContainsFunc(r.status().Listeners, func(l status.Listener) bool {
			return l.Name == listener && l.Address != ""
		})
	})
	for _, l := range r.status().Listeners {
		if l.Name == listener {
			if _, err := netip.ParseAddrPort(l.Address); err != nil || l.Error != "" {
				r.t.Fatalf("listener %s does not listen: %+v", listener, l)
			}
			return l.Address
		}
	}
	r.t.Fatalf("no listener %s", listener)
	return ""
}

// send sends a message through the smtp listener; text is header, blank line and body with "\n".
func (r *rig) send(from, to, text string) error {
	r.t.Helper()
	c, err := smtp.Dial(r.address("smtp"))
	if err != nil {
		return err
	}
	defer c.Close()
	return c.SendMail(from, strings.Split(to, ","), strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n")))
}

func (r *rig) mustSend(from, to, text string) {
	r.t.Helper()
	if err := r.send(from, to, text); err != nil {
		r.t.Fatalf("send from %s to %s: %v", from, to, err)
	}
}

// message is a small one.
func message(from, subject string) string {
	return fmt.Sprintf("From: <%s>\nTo: <someone@example.net>\nSubject: %s\nDate: Mon, 2 Nov 2026 10:00:00 +0000\n"+
		"Message-ID: <%s@test>\n\nHello.\n.dots are kept\n", from, subject, subject)
}

// drained waits until the queue is empty, and fails the test unless the books are right.
func (r *rig) drained() {
	r.t.Helper()
	r.eventually("an empty queue", func() bool { return r.status().Queue.Queued == 0 })
	if l := r.status().Ledger; !l.Balanced() {
		r.t.Errorf("the ledger does not balance: %+v", l)
	}
}

func newSink(t *testing.T, o smtptest.Options) *smtptest.Sink {
	t.Helper()
	s, err := smtptest.NewSink(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
