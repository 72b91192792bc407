package door

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// relay serves handler on the socket of a relay in a data directory.
func relay(t *testing.T, name string, handler http.Handler) (dataDir string) {
	t.Helper()
	dataDir, err := os.MkdirTemp("", "door") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dataDir) })
	if err := os.Mkdir(filepath.Join(dataDir, name), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dataDir, name, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return dataDir
}

func TestLocal(t *testing.T) {
	dir := relay(t, "outbound", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var question map[string]string
		switch _ = json.NewDecoder(req.Body).Decode(&question); req.Method + " " + req.URL.Path {
		case "GET /status":
			_, _ = w.Write([]byte(`{"pod": "here"}`))
		case "POST /queue/hold":
			_ = json.NewEncoder(w).Encode(map[string]string{"got": question["id"]})
		case "GET /queue/X":
			http.Error(w, `{"error": "no such message"}`, http.StatusNotFound)
		case "GET /text":
			_, _ = w.Write([]byte("words"))
		default:
			http.Error(w, "wrong", http.StatusBadRequest)
		}
	}))
	doors, err := Local(dir, "")
	if err != nil || len(doors) != 1 || doors[0].Name != "outbound" {
		t.Fatalf("doors %+v, error %v", doors, err)
	}
	d := doors[0]
	var answer map[string]string
	if err := d.Get(t.Context(), "/status", &answer); err != nil || answer["pod"] != "here" {
		t.Errorf("status %v, error %v", answer, err)
	}
	if err := d.Post(t.Context(), "/queue/hold", map[string]string{"id": "A"}, &answer); err != nil || answer["got"] != "A" {
		t.Errorf("answer %v, error %v", answer, err)
	}
	if err := d.Get(t.Context(), "/queue/X", &answer); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "no such message") {
		t.Errorf("a missing message: %v", err)
	}
	if err := d.Get(t.Context(), "/text", &answer); err == nil || !strings.Contains(err.Error(), "JSON") {
		t.Errorf("text in place of JSON: %v", err)
	}
	if err := d.Get(t.Context(), "/else", &answer); err == nil || err.Error() != "outbound: wrong" {
		t.Errorf("a refusal: %v", err)
	}
}

func TestLocalWithoutRelay(t *testing.T) {
	if _, err := Local(t.TempDir(), "outbound"); err == nil || !strings.Contains(err.Error(), "postrider local -f PATH") {
		t.Errorf("an empty directory: %v", err)
	}
	dir := relay(t, "outbound", http.NotFoundHandler())
	if err := os.Remove(filepath.Join(dir, "outbound", SocketName)); err != nil {
		t.Fatal(err)
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "outbound", SocketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	doors, err := Local(dir, "outbound")
	if err != nil {
		t.Fatal(err)
	}
	if err := doors[0].Get(t.Context(), "/status", nil); err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("a socket that nobody serves: %v", err)
	}
}

func TestCtlErrorsSayWhatTheRelaySaid(t *testing.T) {
	failed := errors.New("command terminated with exit code 1")
	for _, c := range []struct {
		name, out, complaint, want string
		notFound                   bool
	}{
		{"missing", `{"error":"no such message in the queue: X"}`, "relay: GET /queue/X: 404 Not Found\n", "not found: no such message in the queue: X", true},
		{"refused", `{"error":"nothing is selected"}`, "relay: POST /queue/delete: 400 Bad Request\n", "nothing is selected", false},
		{"no socket", "", "relay: dial unix: no such file\n", "relay: dial unix: no such file", false},
		{"no exec", "", "", "command terminated with exit code 1", false},
	} {
		err := ctlError(failed, []byte(c.out), c.complaint)
		if err.Error() != c.want || errors.Is(err, ErrNotFound) != c.notFound {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
