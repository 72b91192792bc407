//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Applying each sample a second time changes nothing, and makes the operator write nothing.
func TestSamplesTwice(t *testing.T) {
	samples, err := filepath.Glob(filepath.Join(root, "config/samples/*.yaml"))
	if err != nil || len(samples) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, sample := range samples {
		name := strings.TrimSuffix(filepath.Base(sample), ".yaml")
		if name == "kustomization" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t, "samples-"+name)
			must(t)(kubectl("apply", "-n", ns, "-f", sample))
			time.Sleep(5 * time.Second) // long enough for a reconcile to have begun
			eventually(t, 60*time.Second, "the operator is done", func() error { return quiet(ns, 5*time.Second) })
			second := must(t)(kubectl("apply", "-n", ns, "-f", sample))
			for line := range strings.Lines(second) {
				if !strings.HasSuffix(line, " unchanged\n") {
					t.Errorf("a second apply: %s", line)
				}
			}
			time.Sleep(5 * time.Second)
			if err := quiet(ns, 5*time.Second); err != nil {
				t.Error(err)
			}
			begin := time.Now()
			must(t)(kubectl("delete", "-n", ns, "-f", sample, "--timeout=60s"))
			t.Logf("deleted after %.1f s", time.Since(begin).Seconds())
		})
	}
}

// write is an entry of the API server's audit log.
type write struct {
	Verb, RequestURI         string
	User                     struct{ Username string }
	StageTimestamp           time.Time
	RequestReceivedTimestamp time.Time
}

// quiet checks that the operator has written nothing in a namespace for a while. Status counts are written when mail
// moves; here none does.
func quiet(namespace string, period time.Duration) error {
	log, err := os.Open(filepath.Join(world.cluster, "log", "audit.json"))
	if err != nil {
		return err
	}
	defer log.Close()
	since := time.Now().Add(-period)
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var w write
		if err := json.Unmarshal(lines.Bytes(), &w); err != nil {
			return err
		}
		operator := strings.HasPrefix(w.User.Username, "system:serviceaccount:"+operatorNamespace+":")
		here := strings.Contains(w.RequestURI, "/namespaces/"+namespace+"/")
		if operator && here && w.RequestReceivedTimestamp.After(since) {
			return &stillWriting{w}
		}
	}
	return lines.Err()
}

// stillWriting says what the operator wrote.
type stillWriting struct{ write }

func (s *stillWriting) Error() string {
	return "the operator wrote: " + s.Verb + " " + s.RequestURI
}
