package directive

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
)

var now = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)

// in makes a directive that began a minute ago.
func in(id string, act Act, scope Scope, holds time.Duration) Directive {
	return Directive{ID: id, Act: act, Scope: scope, Reason: "why", Since: now.Add(-time.Minute), Until: now.Add(holds)}
}

func TestDecide(t *testing.T) {
	ended := in("ended", Hold, Scope{All: true}, time.Hour)
	ended.Ended = &now
	toNet, fromOrg := Scope{Domain: "example.net"}, Scope{Sender: "example.org"}
	mail := envelope.Envelope{Domain: "example.net", ReversePath: "a@example.org", Tenant: "shop.example"}
	released := mail
	released.Released = true
	dsn := envelope.Envelope{Domain: "example.org"} // of another relay
	notice := envelope.Envelope{Domain: "example.org", Origin: envelope.Internal}
	for _, c := range []struct {
		name  string
		entry envelope.Envelope
		set   []Directive
		want  string
	}{
		{"none", mail, nil, ""},
		{"its destination", mail, []Directive{in("a", Suspend, toNet, time.Hour)}, "a"},
		{"another destination", mail, []Directive{in("a", Suspend, Scope{Domain: "net"}, time.Hour)}, ""},
		{"its reverse path", mail, []Directive{in("a", Hold, Scope{Sender: "A@Example.org"}, time.Hour)}, "a"},
		{"another reverse path", mail, []Directive{in("a", Hold, Scope{Sender: "aa@example.org"}, time.Hour)}, ""},
		{"the domain of its reverse path", mail, []Directive{in("a", Hold, fromOrg, time.Hour)}, "a"},
		{"its SendingDomain", mail, []Directive{in("a", Hold, Scope{Sender: "Shop.example"}, time.Hour)}, "a"},
		{"both must match", mail, []Directive{in("a", Hold, Scope{Domain: "example.net", Sender: "b@example.org"}, time.Hour)}, ""},
		{"both match", mail, []Directive{in("a", Hold, Scope{Domain: "example.net", Sender: "example.org"}, time.Hour)}, "a"},
		{"all", dsn, []Directive{in("a", Bounce, Scope{All: true}, time.Hour)}, "a"},
		{"a DSN is not bounced", notice, []Directive{in("a", Bounce, Scope{All: true}, time.Hour)}, ""},
		{"a DSN is held", notice, []Directive{in("a", Hold, Scope{All: true}, time.Hour)}, "a"},
		{"<> is from nobody", dsn, []Directive{in("a", Bounce, fromOrg, time.Hour)}, ""},
		{"its time is over", mail, []Directive{in("a", Hold, toNet, 0)}, ""},
		{"ended early", mail, []Directive{ended}, ""},
		{"a hold before a bounce", mail, []Directive{in("a", Bounce, toNet, 2*time.Hour), in("b", Hold, fromOrg, time.Hour)}, "b"},
		{"a hold before a suspension", mail, []Directive{in("a", Hold, toNet, time.Hour), in("b", Suspend, fromOrg, 2*time.Hour)}, "a"},
		{"a suspension before a bounce", mail, []Directive{in("a", Bounce, toNet, 2*time.Hour), in("b", Suspend, fromOrg, time.Hour)}, "b"},
		{"of equals the longest", mail, []Directive{in("a", Suspend, toNet, time.Hour), in("b", Suspend, fromOrg, 2*time.Hour), in("c", Suspend, toNet, time.Minute)}, "b"},
		{"released from a hold", released, []Directive{in("a", Hold, toNet, time.Hour)}, ""},
		{"released, and suspended", released, []Directive{in("a", Hold, toNet, time.Hour), in("b", Suspend, toNet, time.Hour)}, "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if d := (&Set{c.set}).Decide(&c.entry, now); d != nil {
				got = d.ID
			}
			if got != c.want {
				t.Errorf("directive %q counts, want %q", got, c.want)
			}
		})
	}
	var none *Set
	if none.Decide(&mail, now) != nil || !none.Empty() {
		t.Error("the nil set decides")
	}
}

func TestOrdersThatAreRefused(t *testing.T) {
	good := Order{Act: Hold, Scope: Scope{Domain: "Example.NET."}, Reason: " migration ", Seconds: 60}
	if err := good.Check(); err != nil || good.Domain != "example.net" || good.Reason != "migration" {
		t.Fatalf("%+v: %v", good, err)
	}
	for _, c := range []struct {
		name   string
		change func(*Order)
		want   string
	}{
		{"no act", func(o *Order) { o.Act = "" }, "act must be"},
		{"no scope", func(o *Order) { o.Domain = "" }, "no mail is named"},
		{"all and some", func(o *Order) { o.All = true }, "all stands alone"},
		{"no reason", func(o *Order) { o.Reason = " " }, "a reason is required"},
		{"no time", func(o *Order) { o.Seconds = 0 }, "a second to 30 days"},
		{"negative", func(o *Order) { o.Seconds = -1 }, "a second to 30 days"},
		{"too long", func(o *Order) { o.Seconds = 30*86400 + 1 }, "a second to 30 days"},
		{"beyond what a Duration holds", func(o *Order) { o.Seconds = 1 << 62 }, "a second to 30 days"},
		{"a second line", func(o *Order) { o.Reason = "a\r\n250 ok" }, "several lines"},
		{"a long reason", func(o *Order) { o.Reason = strings.Repeat("x", 501) }, "longer than 500"},
	} {
		o := good
		c.change(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// shelf is a store in memory that can fail.
type shelf struct {
	rows map[string][]byte
	err  error
}

func (s *shelf) Put(_, key string, value []byte) error {
	if s.err == nil {
		s.rows[key] = value
	}
	return s.err
}

func (s *shelf) Drop(_, key string) error {
	if s.err == nil {
		delete(s.rows, key)
	}
	return s.err
}

func (s *shelf) Rows(string, string, int) ([]spool.Row, error) {
	var rows []spool.Row
	for key, value := range s.rows {
		rows = append(rows, spool.Row{Key: key, Value: value})
	}
	return rows, s.err
}

func open(t *testing.T, s Store) *Book {
	t.Helper()
	b, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestABookIsTheSameAfterARestart(t *testing.T) {
	store := &shelf{rows: map[string][]byte{}}
	b := open(t, store)
	order := Order{Act: Hold, Scope: Scope{Domain: "example.net"}, Reason: "migration", Seconds: 60, By: "ops"}
	first, err := b.Add(order, now)
	if err != nil {
		t.Fatal(err)
	}
	order.Act = Suspend
	second, err := b.Add(order, now.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if ended, err := b.End(second.ID, now.Add(2*time.Second)); err != nil || !ended.Over(now.Add(2*time.Second)) {
		t.Fatalf("%+v, %v", ended, err)
	}
	b = open(t, store)
	all := b.Current().List()
	if len(all) != 2 || all[0] != first || all[1].Ended == nil || !all[1].Until.Equal(second.Until) {
		t.Errorf("after a restart: %+v", all)
	}
	if err := b.Drop(second.ID); err != nil || len(open(t, store).Current().List()) != 1 {
		t.Errorf("after it was dropped: %+v, %v", b.Current().List(), err)
	}
	if _, err := b.End("nothing", now); !errors.Is(err, ErrNotFound) {
		t.Errorf("ended nothing: %v", err)
	}
}

// TestWhatIsNotStoredIsNotInForce: an admin who was told of a failure finds nothing changed.
func TestWhatIsNotStoredIsNotInForce(t *testing.T) {
	store := &shelf{rows: map[string][]byte{}}
	b := open(t, store)
	order := Order{Act: Bounce, Scope: Scope{All: true}, Reason: "attack", Seconds: 60}
	d, err := b.Add(order, now)
	if err != nil {
		t.Fatal(err)
	}
	store.err = errors.New("disk full")
	if _, err := b.Add(order, now); !errors.Is(err, store.err) {
		t.Errorf("add: %v", err)
	}
	if _, err := b.End(d.ID, now); !errors.Is(err, store.err) {
		t.Errorf("end: %v", err)
	}
	if all := b.Current().List(); len(all) != 1 || all[0].Over(now) {
		t.Errorf("in force: %+v", all)
	}
}

func TestThereAreNotTooMany(t *testing.T) {
	b := open(t, &shelf{rows: map[string][]byte{}})
	order := Order{Act: Hold, Scope: Scope{All: true}, Reason: "why", Seconds: 60}
	for range Most {
		if _, err := b.Add(order, now); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Add(order, now); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
}

func TestKnowsWhatItHeld(t *testing.T) {
	d, other := in("a", Hold, Scope{}, 0), in("ab", Hold, Scope{}, 0)
	e := envelope.Envelope{Held: d.HeldText()}
	if !d.Holds(&e) || other.Holds(&e) || d.Holds(&envelope.Envelope{Held: "why"}) || d.Holds(&envelope.Envelope{}) {
		t.Errorf("held: %q", e.Held)
	}
}

func BenchmarkDecideAmongMany(b *testing.B) {
	s := &Set{}
	for range Most {
		s.all = append(s.all, in("a", Suspend, Scope{Domain: "example.com"}, time.Hour))
	}
	mail := envelope.Envelope{Domain: "example.net", ReversePath: "a@example.org"}
	for b.Loop() {
		if s.Decide(&mail, now) != nil {
			b.Fatal("decided")
		}
	}
}

func TestMerge(t *testing.T) {
	ended := in("ended", Hold, Scope{All: true}, time.Hour)
	ended.Ended = &now
	for _, c := range []struct {
		name string
		d    Directive
		want int
	}{
		{"of another pod", in("a", Suspend, Scope{All: true}, time.Hour), 1},
		{"known already", in("a", Suspend, Scope{Domain: "other.example"}, 2*time.Hour), 1},
		{"over, with nothing to undo", in("b", Bounce, Scope{All: true}, -time.Minute), 1},
		{"over, and what it held comes along", ended, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &shelf{rows: map[string][]byte{}}
			b := open(t, s)
			for _, d := range []Directive{in("a", Suspend, Scope{All: true}, time.Hour), c.d} {
				if err := b.Merge(d, now); err != nil {
					t.Fatal(err)
				}
			}
			again := open(t, s).Current().List()
			if all := b.Current().List(); len(all) != c.want || len(again) != c.want || !all[0].All {
				t.Errorf("%d are in force, %d after a restart: %+v", len(all), len(again), all)
			}
		})
	}
}
