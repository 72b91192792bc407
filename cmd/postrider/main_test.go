package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/cmd/postrider/door"
)

// cli runs the program and returns its exit code and what it printed.
func cli(t *testing.T, args ...string) (code int, out, complaint string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), append([]string{"postrider"}, args...), streams{strings.NewReader(""), &stdout, &stderr})
	return code, stdout.String(), stderr.String()
}

// fakeRelay answers on the socket of a relay "outbound" in a data directory, and remembers what it was asked.
type fakeRelay struct {
	data string

	mu    sync.Mutex
	asked []string
}

const entry = `{"id": "01ABC", "domain": "gmail.com", "from": "a@shop.example", "origin": "Trusted", "size": 1264,
 "accepted": "2020-01-01T00:00:00Z", "tenant": "shop.example", "recipients": [{"address": "b@gmail.com", "state": "Queued",
 "attempts": 2, "due": "2020-01-01T01:00:00Z", "last": {"reply": {"code": 451, "enhanced": "4.7.1", "text": "later\u001b[31m"},
 "nextHop": "mx.gmail.com[192.0.2.1]:25", "at": "2020-01-01T00:30:00Z"}}]}`

// someAges and someStatus are of a queue that has waited since long ago.
const (
	someAges = `{"bounds": [60, 3600, 172800], "queue": {"queued": 5, "deferred": 4, "held": 0, "oldest": "2020-01-01T00:00:00Z"},
 "destinations": [{"domain": "gmail.com", "queued": 5, "deferred": 4, "held": 0, "oldest": "2020-01-01T00:00:00Z", "reason": "Deferred",
 "since": "2020-01-01T00:30:00Z", "reply": "451 4.7.1 later\u001b[31m", "messages": [0, 1, 0, 3]}]}`
	someStatus = `{"pod": "outbound-0", "version": "v1", "generation": 7, "queue": {"queued": 5, "deferred": 4, "held": 0, "oldest": "2020-01-01T00:00:00Z"},
 "slowest": [{"domain": "gmail.com", "queued": 5, "deferred": 4, "held": 0, "oldest": "2020-01-01T00:00:00Z", "reason": "Deferred",
 "since": "2020-01-01T00:30:00Z", "reply": "451 4.7.1 later\u001b[31m"}], "listeners": [{"name": "smtp", "address": "", "error": "no certificate"}]}`
)

func newFakeRelay(t *testing.T) *fakeRelay {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f := &fakeRelay{data: dir}
	if err := os.Mkdir(filepath.Join(dir, "outbound"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "outbound", door.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return f
}

func (f *fakeRelay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	f.mu.Lock()
	f.asked = append(f.asked, strings.TrimSpace(req.Method+" "+req.URL.String()+" "+string(body)))
	f.mu.Unlock()
	answer := `{"entries": 1, "recipients": 2}`
	switch {
	case strings.HasPrefix(req.URL.Path, "/directives"), req.URL.Path == "/explain", strings.HasPrefix(req.URL.Path, "/trace/"):
		answer = whereabouts(w, req)
	case strings.HasPrefix(req.URL.Path, "/suppressions"):
		answer = suppressionAnswer(req)
	case req.Method == http.MethodPost:
	case req.URL.Path == "/queue/ages":
		answer = someAges
	case req.URL.Path == "/status":
		answer = someStatus
	case req.URL.Path == "/metrics":
		answer = "postrider_queue_recipients 5\n"
	case req.URL.Path == "/queue" && req.URL.Query().Get("domain") == "empty.example":
		answer = `{"entries": []}`
	case req.URL.Path == "/queue" && req.URL.Query().Get("sender") == "rare.example" && req.URL.Query().Get("after") == "":
		answer = `{"entries": [], "next": "gmail.com/00"}`
	case req.URL.Path == "/queue" && req.URL.Query().Get("limit") == "1":
		answer = `{"entries": [` + entry + `], "next": "gmail.com/01ABC"}`
	case req.URL.Path == "/queue":
		answer = `{"entries": [` + entry + `]}`
	case req.URL.Path == "/queue/01ABC":
		answer = `{"entries": [` + entry + `], "header": "Subject: hello\r\n"}`
	default:
		w.WriteHeader(http.StatusNotFound)
		answer = `{"error": "no such message in the queue"}`
	}
	_, _ = w.Write([]byte(answer))
}

func (f *fakeRelay) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) == 0 {
		return ""
	}
	return f.asked[len(f.asked)-1]
}

func TestQueue(t *testing.T) {
	f := newFakeRelay(t)
	for _, c := range []struct {
		name  string
		args  []string
		code  int
		asked string
		out   []string
		err   string
	}{
		{"list", []string{"ls"}, 0, "GET /queue?limit=100", []string{"01ABC", "gmail.com", "<a@shop.example>", "451 4.7.1 later?[31m"}, ""},
		{"list, a page", []string{"ls", "--limit", "1"}, 0, "GET /queue?limit=1", []string{"01ABC"}, "--after gmail.com/01ABC"},
		{"list, what is rare", []string{"ls", "--sender", "rare.example"}, 0, "GET /queue?after=gmail.com%2F00&limit=100&sender=rare.example", []string{"01ABC"}, ""},
		{"list, selected", []string{"ls", "outbound", "--domain", "x.example", "--held", "true", "--limit", "5"}, 0, "GET /queue?domain=x.example&held=true&limit=5", nil, ""},
		{"list, empty", []string{"ls", "--domain", "empty.example"}, 0, "GET /queue?domain=empty.example&limit=100", nil, "The queue is empty"},
		{"list, bad limit", []string{"ls", "--limit", "0"}, 2, "", nil, "--limit must be from 1 to 1000"},
		{"top", []string{"top", "--once"}, 0, "GET /queue/ages?limit=20", []string{"DESTINATION", "<1m", "<1h", "<2d", "2d+", "gmail.com", "Deferred", "451 4.7.1 later?[31m"}, ""},
		{"top without a terminal", []string{"top", "--limit", "5"}, 0, "GET /queue/ages?limit=5", []string{"gmail.com"}, ""},
		{"top, bad limit", []string{"top", "--limit", "0"}, 2, "", nil, "--limit must be from 1 to 100"},
		{"show", []string{"show", "01ABC"}, 0, "GET /queue/01ABC", []string{"signed for shop.example", "mx.gmail.com[192.0.2.1]:25", "Subject: hello"}, ""},
		{"show, missing", []string{"show", "01XYZ"}, 1, "GET /queue/01XYZ", nil, "message 01XYZ is not in the queue"},
		{"show nothing", []string{"show", "outbound"}, 2, "", nil, "name one message by its spool id"},
		{"flush all", []string{"flush", "--all"}, 0, `POST /queue/flush {"all":true}`, []string{"outbound: 2 recipients in 1 entries to be attempted now"}, ""},
		{"hold", []string{"hold", "01ABC", "--reason", "audit"}, 0, `POST /queue/hold {"id":"01ABC","reason":"audit"}`, []string{"held"}, ""},
		{"release", []string{"release", "--sender", "shop.example"}, 0, `POST /queue/release {"sender":"shop.example"}`, []string{"released"}, ""},
		{"delete", []string{"delete", "outbound", "01ABC", "--yes"}, 0, `POST /queue/delete {"id":"01ABC"}`, []string{"deleted"}, ""},
		{"bounce", []string{"bounce", "--domain", "gmail.com", "--yes"}, 0, `POST /queue/bounce {"domain":"gmail.com"}`, []string{"bounced"}, ""},
		{"delete without a terminal", []string{"delete", "01ABC"}, 2, "", nil, "look with --dry-run, then say --yes"},
		{"delete, looked at", []string{"delete", "01ABC", "--dry-run"}, 0, `POST /queue/delete {"id":"01ABC","dryRun":true}`, []string{"2 recipients in 1 entries would be deleted"}, ""},
		{"flush, looked at", []string{"flush", "--all", "--dry-run"}, 0, `POST /queue/flush {"all":true,"dryRun":true}`, []string{"would be attempted now"}, ""},
		{"hold for a time, looked at", []string{"hold", "--all", "--for", "1h", "--dry-run"}, 0, `POST /queue/hold {"all":true,"dryRun":true}`, []string{"would be held"}, ""},
		{"bounce nothing", []string{"bounce"}, 2, "", nil, "nothing is selected"},
		{"bounce two", []string{"bounce", "A", "B"}, 2, "", nil, "name at most one message"},
		{"unknown format", []string{"ls", "-o", "xml"}, 2, "", nil, "table, wide, json or yaml"},
		{"unknown flag", []string{"ls", "--colour"}, 2, "", nil, "postrider queue ls --help"},
		{"too many arguments", []string{"ls", "a", "b"}, 2, "", nil, "accepts at most 1 arg"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := f.last()
			code, out, complaint := cli(t, append(append([]string{"queue"}, c.args...), "--data", f.data)...)
			if code != c.code || !strings.Contains(complaint, c.err) {
				t.Errorf("exit code %d, want %d; said %q, want %q", code, c.code, complaint, c.err)
			}
			want := c.asked
			if want == "" {
				want = before
			}
			if got := f.last(); got != want {
				t.Errorf("the relay was asked %q, want %q", got, want)
			}
			for _, want := range c.out {
				if !strings.Contains(out, want) {
					t.Errorf("it printed\n%s\nwithout %q", out, want)
				}
			}
			if strings.Contains(out, "\x1b") {
				t.Error("a stranger's escape sequence reaches the terminal")
			}
		})
	}
}

func TestQueueAsJSON(t *testing.T) {
	f := newFakeRelay(t)
	for _, args := range [][]string{{"ls"}, {"show", "01ABC"}, {"hold", "01ABC"}} {
		code, out, complaint := cli(t, append(append([]string{"queue"}, args...), "--data", f.data, "-o", "json")...)
		if code != 0 || !json.Valid([]byte(out)) || !strings.Contains(out, `"relay": "outbound"`) {
			t.Errorf("%v: exit code %d, %s%s", args, code, out, complaint)
		}
	}
}

func TestWrongUse(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("apiVersion: postrider.dev/v1alpha1\nkind: MailRelay\nmetadata: {name: x}\nspec: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "absent"))
	t.Setenv("HOME", t.TempDir())
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"local"}, 2, "-f PATH is required\n--data DIR is required"},
		{[]string{"local", "-f", bad, "--data", t.TempDir(), "--bind", "everywhere"}, 2, `--bind "everywhere" is not an IP address`},
		{[]string{"local", "-f", bad, "--data", t.TempDir(), "--resolver", "dns"}, 2, "--resolver must be the address and port"},
		{[]string{"local", "-f", bad, "--data", t.TempDir()}, 2, "document 1: MailRelay default/x: spec.hostname: Required value"},
		{[]string{"status"}, 2, "name a MailRelay (-n NAMESPACE NAME), or a local one's directory (--data DIR)"},
		{[]string{"status", "outbound"}, 1, "no cluster to ask (and no --data DIR for a local relay)"},
		{[]string{"status", "--data", t.TempDir()}, 1, "start it with postrider local"},
		{[]string{"queue", "ls", "--data", t.TempDir()}, 1, "no relay runs in"},
		{[]string{"dns", "spf", "--ip", "nowhere", "--from", "a@b.example"}, 2, "--ip"},
		{[]string{"dns", "spf", "--ip", "192.0.2.1"}, 2, "--from or --helo is required"},
		{[]string{"fly"}, 2, `unknown command "fly"`},
		{[]string{"queue", "fly"}, 2, `unknown command "fly"`},
	} {
		code, _, complaint := cli(t, c.args...)
		if code != c.code || !strings.Contains(complaint, c.want) {
			t.Errorf("%v: exit code %d, want %d; said %q, want %q", c.args, code, c.code, complaint, c.want)
		}
	}
}

func TestKubectlPlugin(t *testing.T) {
	var out bytes.Buffer
	code := run(t.Context(), []string{"/usr/local/bin/kubectl-postrider", "queue", "--help"}, streams{nil, &out, io.Discard})
	if code != 0 || !strings.Contains(out.String(), "kubectl postrider queue [command]") {
		t.Errorf("exit code %d, help:\n%s", code, &out)
	}
}
