package spool

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
)

// harm changes one octet of a stored record, as a memory that errs does before the store computes its own checksum.
func harm(t *testing.T, s *Store, key []byte) {
	t.Helper()
	value, err := get(s.db, key)
	must(t, err)
	value[len(value)/2] ^= 4
	must(t, s.db.Set(key, value, nil))
}

// A record of ours that is damaged is kept aside, visible, and everything else flows: found while the store is open,
// and found when it is opened.
func TestDamagedRecordsAreKeptAside(t *testing.T) {
	for _, again := range []bool{false, true} {
		fs := vfs.NewMem()
		var told []Event
		o := small(fs)
		o.OnEvent = func(e Event) { told = append(told, e) }
		s := open(t, o)
		bad, good := put(t, s, to("a@one.test", "b@one.test"))[0], put(t, s, to("c@one.test"))[0]
		meta := put(t, s, to("d@two.test"))[0]
		harm(t, s, entryKey(bad))
		harm(t, s, metaKey(meta.ID))
		if again {
			must(t, s.Close())
			s = open(t, o)
		}
		if _, err := s.Begin(bad, epoch); !errors.Is(err, ErrDamaged) {
			t.Errorf("begun: %v", err)
		}
		page, err := s.List(Filter{}, envelope.Key{}, 10)
		if err != nil || len(page) != 2 || page[0].Key() != good {
			t.Errorf("listed: %v, %v", page, err)
		}
		if items := due(t, s, epoch, 10); len(items) != 2 {
			t.Errorf("due: %v", items)
		}
		if _, err := s.Message(meta.ID); !errors.Is(err, ErrDamaged) {
			t.Errorf("message: %v", err)
		}
		for k, a := range map[envelope.Key]string{good: "c@one.test", meta: "d@two.test"} {
			must(t, end(s, k, map[string]envelope.Disposition{a: envelope.Delivered}))
		}
		l, d := s.Ledger(), s.Destinations()
		if l != (Ledger{Accepted: 4, Delivered: 2, Queued: 2}) || s.Totals().Damaged != 1 || s.Totals().Queued != 2 {
			t.Errorf("%+v %+v", l, s.Totals())
		}
		if len(d) != 1 || d[0].Damaged != 1 {
			t.Errorf("%+v", d)
		}
		if len(told) != 2 || told[0].Kind != RecordDamaged {
			t.Errorf("told: %+v", told)
		}
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), string(bad.ID)) {
			t.Errorf("check: %v", err)
		}
		must(t, s.Close())
	}
}

func TestDueIndexIsMended(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, small(fs))
	lost, held := put(t, s, to("a@one.test"))[0], put(t, s, to("b@one.test"))[0]
	must(t, hold(s, held, "why not"))
	odd := append(dueBound(nanos(epoch)), "no zero octet"...)
	must(t, errors.Join(s.db.Delete(dueKey(nanos(epoch), lost), nil), s.db.Set(odd, nil, nil)))
	if items := due(t, s, epoch.Add(time.Hour), 10); len(items) != 0 {
		t.Fatalf("due: %v", items)
	}
	must(t, s.Close())
	s = open(t, small(fs))
	defer s.Close()
	if items := due(t, s, epoch, 10); len(items) != 1 || items[0].Key != lost || items[0].SenderDomain != "sender.test" {
		t.Errorf("due: %v", items)
	}
	must(t, s.Check())
}
