package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
)

// TestSalvage runs the command on a healthy spool and on one whose log is cut short: only the first ends well.
func TestSalvage(t *testing.T) {
	dir := t.TempDir()
	s, err := spool.Open(filepath.Join(dir, "spool"), spool.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w := s.Create()
		if _, err := w.Commit([]byte("Subject: a\r\n\r\n"), []envelope.Envelope{{
			Domain: "one.test", Recipients: []envelope.Recipient{{Address: "a@one.test", State: envelope.Queued}},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"salvage", "--data-dir", dir, "--out", t.TempDir()}); err != nil {
		t.Errorf("a healthy spool: %v", err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "spool", "*.log"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	if err := os.Truncate(logs[0], 400); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"salvage", "--data-dir", dir, "--out", t.TempDir()}); err == nil {
		t.Error("nothing was missed")
	}
	if err := run([]string{"salvage", "--data-dir", dir}); err == nil {
		t.Error("no place to salvage into, and no error")
	}
}
