package main

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// terminal is a person at a terminal, who gives an answer.
type terminal struct{ io.Reader }

func (terminal) Stat() (fs.FileInfo, error) { return os.Stat("/dev/tty") }

// What cannot be taken back is done when somebody says so, and not at all otherwise.
func TestConsent(t *testing.T) {
	f := newFakeRelay(t)
	for answer, done := range map[string]bool{"y\n": true, "YES\n": true, "\n": false, "": false, "n\n": false, "yesterday\n": false} {
		var out, complaint bytes.Buffer
		code := run(t.Context(), []string{"postrider", "queue", "delete", "--all", "--data", f.data}, streams{terminal{strings.NewReader(answer)}, &out, &complaint})
		asked := f.last()
		if !strings.Contains(complaint.String(), "2 recipients in 1 message on 1 relay process would be deleted, for good. Go on? [y/N]") {
			t.Errorf("it asks %q", complaint.String())
		}
		if done != (code == exitOK) || done != (asked == `POST /queue/delete {"all":true}`) {
			t.Errorf("after %q: exit code %d, the relay was asked %q", answer, code, asked)
		}
		if !done && !strings.Contains(complaint.String(), "nothing was done") {
			t.Errorf("after %q it says %q", answer, complaint.String())
		}
	}
}
