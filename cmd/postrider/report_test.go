package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/test/unpack"
)

// The bundle holds what helps, from a real API server, and no secret that was planted there.
func TestReport(t *testing.T) {
	c := newInCluster(t)
	file := filepath.Join(t.TempDir(), "report.tar.gz")
	relay := c.mailRelay()
	relay.Annotations = map[string]string{"note": "login: password=hunter2", "kubectl.kubernetes.io/last-applied-configuration": `{"x":"hunter2"}`}
	c.must(server.Client.Update(t.Context(), relay))
	code, out, complaint := c.cli(server.KubeConfig(t), "report", "outbound", "-f", file)
	if code != 0 || strings.TrimSpace(out) != file {
		t.Fatalf("exit code %d, %s%s", code, out, complaint)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	files := contents(t, file)
	for _, want := range []string{
		"postrider.yaml", "objects/mailrelay-outbound.yaml", "objects/sendingdomain-shop.yaml", "objects/ratelimitpolicy-gentle.yaml", "objects/pod.yaml",
		"pods/outbound-0/status.yaml", "pods/outbound-0/queue.yaml", "pods/outbound-0/metrics.txt", "pods/outbound-1/relay.log", "pods/outbound-1/relay.log.before", "events.yaml",
	} {
		if _, there := files[want]; !there {
			t.Errorf("%s is missing; missing.txt: %s", want, files["missing.txt"])
		}
	}
	for name, text := range files {
		for _, secret := range []string{"hunter2", "ada@inbox"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %s:\n%s", name, secret, text)
			}
		}
	}
	if log := files["pods/outbound-0/relay.log"]; !strings.Contains(log, "@inbox.example") || !strings.Contains(log, "user=") {
		t.Errorf("the log has become %q", log)
	}
	if code, _, _ = c.cli(server.KubeConfig(t), "report", "outbound", "-f", file); code != 1 {
		t.Error("a file that is there is written over")
	}
}

// contents reads an archive: its files by their names in its directory.
func contents(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	archive, err := unpack.TarGz(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for name, entry := range archive {
		_, name, _ = strings.Cut(name, "/")
		files[name] = entry.Text
	}
	return files
}
