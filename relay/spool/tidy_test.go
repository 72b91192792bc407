package spool

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
)

// A reader goes on when its message ends or moves and the segment is removed; one that comes then finds what is true.
func TestReadersOfSegmentsThatGo(t *testing.T) {
	s := fresh(t)
	all := large(t, s, 300<<10, 5)
	stays, goes := all[0].ID, all[1].ID
	begin := func(id envelope.ID) (m *Message, want string) {
		want = content(s, id)
		m, err := s.Message(id)
		must(t, err)
		_, err = io.CopyN(io.Discard, m, 20)
		must(t, err)
		return m, want
	}
	one, _ := begin(stays)
	two, _ := begin(goes)
	deliver(t, s, all[1:]...)
	tidied(t, s, stays, func(tidy func() error) { must(t, tidy()) })
	for _, m := range []*Message{one, two} {
		if rest, err := io.ReadAll(m); err != nil || int64(len(rest)) != m.Size-20 {
			t.Errorf("read %d of %d: %v", len(rest), m.Size, err)
		}
		must(t, m.Close())
	}
	if _, err := s.Message(goes); !errors.Is(err, ErrNotFound) {
		t.Errorf("delivered: %v", err)
	}
}

// What changes or ends while its body is copied stays as it was changed: it does not come back.
func TestRewritingMeetsChanges(t *testing.T) {
	order := &syncOrder{FS: vfs.NewMem(), returned: func(string) {}}
	s := open(t, small(order))
	defer s.Close()
	both, err := accept(s, 200<<10, to("stays@one.test"), to("goes@two.test"))
	must(t, err)
	all := append(both[1:], large(t, s, 200<<10, 8)...)
	deliver(t, s, all[2:]...)
	wait(s, calm)
	order.returned = func(name string) {
		if name == "spool/000002.seg" { // the first copy was synced
			order.returned = func(string) {}
			deliver(t, s, all[:2]...)
		}
	}
	must(t, s.Tidy(t.Context()))
	if l := s.Ledger(); l.Queued != 1 || l.Delivered != 9 {
		t.Errorf("%+v", l)
	}
	if got := content(s, both[0].ID); !strings.HasSuffix(got, "<nil>") || bodyOf(t, s, both[0].ID).segment == 1 {
		t.Errorf("%s at %+v", got, bodyOf(t, s, both[0].ID))
	}
	must(t, s.Check())
}
