package spool

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
)

func TestLifeOfAMessage(t *testing.T) {
	for _, size := range []int{0, 10, smallSize, smallSize + 1, chunkSize, 3*chunkSize + 7} {
		fs := vfs.NewMem()
		s, err := Open("spool", Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		w := s.Create()
		body := strings.Repeat("x", size)
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		e := envelope.Envelope{Domain: "a.test", Recipients: []envelope.Recipient{{Address: "u@a.test", Due: now}}}
		f := e
		f.Domain = "b.test"
		created, err := w.Commit([]byte("prefix"), []envelope.Envelope{e, f})
		if err != nil || len(created) != 2 {
			t.Fatal(created, err)
		}
		m, err := s.Message(w.ID())
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(m)
		if err != nil || string(got) != "prefix"+body || m.Size != int64(len(got)) {
			t.Fatalf("%d octets, %v", len(got), err)
		}
		items, cursor, err := s.Due(Cursor{}, now, 10)
		if err != nil || len(items) != 2 {
			t.Fatal(items, cursor, err)
		}
		for _, k := range items {
			if _, err := s.Begin(k.Key, now); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.Change(k.Key, func(e *envelope.Envelope) ([]Draft, error) {
				e.Recipients[0].State = envelope.Delivered
				return nil, nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if l := s.Ledger(); l != (Ledger{Accepted: 2, Delivered: 2}) {
			t.Fatal(l)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
