package relay

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/postrider/postrider/relay/bounce"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/spool"
)

// TestWhatASenderHears: what a sender asked for (RFC 3461 §4.1) × what became of the recipient.
func TestWhatASenderHears(t *testing.T) {
	const (
		never, success, failure, delay = envelope.NotifyNever, envelope.NotifySuccess, envelope.NotifyFailure, envelope.NotifyDelay
		f, d, r, v                     = "failed", "delayed", "relayed", "delivered"
	)
	last := func(h envelope.Handover) *envelope.Outcome { return &envelope.Outcome{Handover: h} }
	for name, became := range map[string]struct {
		recipient envelope.Recipient
		late      bool
		// want is what is told for each of: nothing said by a stranger, nothing said by a user, NEVER, SUCCESS, FAILURE,
		// DELAY, SUCCESS,FAILURE,DELAY
		want [7]string
	}{
		"failed":         {envelope.Recipient{State: envelope.Failed}, true, [7]string{f, f, "", "", f, "", f}},
		"late":           {envelope.Recipient{State: envelope.Queued, Attempts: 1}, true, [7]string{"", d, "", "", "", d, d}},
		"late, told":     {envelope.Recipient{State: envelope.Queued, Attempts: 1, DelayNotified: true}, true, [7]string{}},
		"late, untried":  {envelope.Recipient{State: envelope.Queued}, true, [7]string{}},
		"deferred":       {envelope.Recipient{State: envelope.Queued, Attempts: 1}, false, [7]string{}},
		"relayed":        {envelope.Recipient{State: envelope.Delivered, Last: last(envelope.HandoverRelayed)}, true, [7]string{"", "", "", r, "", "", r}},
		"delivered":      {envelope.Recipient{State: envelope.Delivered, Last: last(envelope.HandoverFinal)}, false, [7]string{"", "", "", v, "", "", v}},
		"passed on":      {envelope.Recipient{State: envelope.Delivered, Last: last(envelope.HandoverPassed)}, false, [7]string{}},
		"removed":        {envelope.Recipient{State: envelope.Removed}, true, [7]string{}},
		"suppressed":     {envelope.Recipient{State: envelope.Suppressed}, true, [7]string{}},
		"booked by hand": {envelope.Recipient{State: envelope.Delivered}, true, [7]string{}},
	} {
		for i, asked := range []struct {
			origin envelope.Origin
			notify envelope.Notify
		}{
			{envelope.Relayed, 0}, {envelope.Submitted, 0}, {envelope.Submitted, never}, {envelope.Trusted, success},
			{envelope.Relayed, failure}, {envelope.Relayed, delay}, {envelope.Relayed, success | failure | delay},
		} {
			became.recipient.Notify = asked.notify
			e := envelope.Envelope{ReversePath: "a@b.test", Origin: asked.origin, Recipients: []envelope.Recipient{became.recipient}}
			if got := actions(owed(&e, became.late)); got != became.want[i] {
				t.Errorf("%s, %s with NOTIFY %b: %q, want %q", name, asked.origin, asked.notify, got, became.want[i])
			}
			e.ReversePath = ""
			if got := owed(&e, became.late); got != nil {
				t.Errorf("%s, NOTIFY %b: <> is told %v", name, asked.notify, got)
			}
		}
	}
}

func actions(notices []notice) string {
	var all []string
	for _, n := range notices {
		all = append(all, string(n.action))
	}
	return strings.Join(all, " ")
}

// mixed is an entry whose recipients end in every way at once.
func mixed() envelope.Envelope {
	all := envelope.NotifySuccess | envelope.NotifyFailure | envelope.NotifyDelay
	e := envelope.Envelope{
		Domain: "example.net", ReversePath: "a@example.org", Origin: envelope.Submitted, Accepted: time.Now().Add(-time.Hour), Return: envelope.ReturnFull,
	}
	for _, local := range []string{"gone1", "gone2", "late1", "late2", "hand1", "hand2", "box1", "box2", "quiet"} {
		e.Recipients = append(e.Recipients, envelope.Recipient{
			Address: local + "@example.net", State: envelope.Queued, Attempts: 1, Notify: all, Due: time.Now(),
		})
	}
	e.Recipients[8].Notify = envelope.NotifyNever
	return e
}

// end is what an attempt makes of mixed.
func end(e *envelope.Envelope) {
	outcomes := map[string]envelope.Outcome{
		"gone": {Reply: reply.Reply{Code: 550}}, "late": {Reply: reply.Reply{Code: 450}}, "quie": {Reply: reply.Reply{Code: 550}},
		"hand": {Reply: reply.Reply{Code: 250}}, "box1": {Reply: reply.Reply{Code: 250}, Handover: envelope.HandoverFinal},
		"box2": {Reply: reply.Reply{Code: 250}, Handover: envelope.HandoverFinal},
	}
	for i, r := range e.Recipients {
		e.Recipients[i] = r.After(outcomes[r.Address[:4]], time.Now(), envelope.Retry{Initial: time.Hour, Max: time.Hour, Expires: time.Now().Add(time.Hour)})
	}
}

func dsnSettings() *settings {
	return &settings{config: &config.Config{Relay: config.Relay{
		Hostname: "out.relay.example", Postmaster: "ops@relay.example", Queue: config.Queue{DelayWarningSeconds: 60, MaxMessageAgeSeconds: 7200},
	}}}
}

// TestOneDSNForEachAction: with all its recipients, and a delay is told once.
func TestOneDSNForEachAction(t *testing.T) {
	s, e := dsnSettings(), mixed()
	end(&e)
	made := s.notices(&e, quote{octets: []byte("Subject: x\r\n\r\nbody\r\n"), whole: true}, time.Now())
	if got := actions(made); got != "failed delayed relayed delivered" {
		t.Fatalf("made %s", got)
	}
	for _, n := range made {
		text := string(n.draft.Content)
		if c := strings.Count(text, "Final-Recipient: "); c != 2 || strings.Contains(text, "quiet@") {
			t.Errorf("%s: %d recipients in\n%s", n.action, c, text)
		}
		if whole := strings.Contains(text, "\r\nbody\r\n"); whole != (n.action == bounce.Failed) {
			t.Errorf("%s returns the whole message: %v", n.action, whole)
		}
		own := n.draft.Entries[0]
		if own.ReversePath != "" || own.Origin != envelope.Internal || own.Domain != "example.org" || own.Recipients[0].Notify != envelope.NotifyNever {
			t.Errorf("%s goes out as %+v", n.action, own)
		}
	}
	e.Recipients = slices.DeleteFunc(e.Recipients, func(r envelope.Recipient) bool { return r.State != envelope.Queued })
	if again := s.notices(&e, quote{}, time.Now()); len(e.Recipients) != 2 || len(again) > 0 {
		t.Errorf("told again: %s", actions(again))
	}
}

// TestNoCrashRepeatsOrLosesADSN: a crash at any write leaves the entry as it was, and no DSN, or all DSNs and an entry
// that owes none.
func TestNoCrashRepeatsOrLosesADSN(t *testing.T) {
	s := dsnSettings()
	mem := vfs.NewCrashableMem()
	var mu sync.Mutex
	var left []*vfs.MemFS
	var armed bool
	before := errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if armed && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			for _, percent := range []int{0, 50, 100} {
				left = append(left, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, uint64(len(left))))}))
			}
		}
		return nil
	})
	store := openSpool(t, errorfs.Wrap(mem, before))
	key := accept(t, store, mixed())
	mu.Lock()
	armed = true
	mu.Unlock()
	if _, _, err := bounceIn(store, s, key); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	armed = false
	left = append(left, mem.CrashClone(vfs.CrashCloneCfg{}))
	mu.Unlock()
	states := map[string]int{}
	for i, fs := range left {
		states[afterCrash(t, i, fs, s, key)]++
	}
	if states["before"] == 0 || states["after"] == 0 || len(states) != 2 {
		t.Errorf("crashes left %v", states)
	}
}

// afterCrash looks at what a crash left, goes on, and wants the same end always.
func afterCrash(t *testing.T, n int, fs vfs.FS, s *settings, key envelope.Key) string {
	t.Helper()
	store := openSpool(t, fs)
	defer store.Close()
	state := "after"
	if dsns, rest := queueOfStore(t, store, key); dsns == 0 && rest == 9 {
		state = "before"
		if _, _, err := bounceIn(store, s, key); err != nil {
			t.Fatalf("crash %d: %v", n, err)
		}
	}
	if dsns, rest := queueOfStore(t, store, key); dsns != 4 || rest != 2 {
		t.Errorf("crash %d: %d DSNs and %d recipients that wait, want 4 and 2", n, dsns, rest)
	}
	if made, _, err := bounceIn(store, s, key); err != nil || len(made) > 0 {
		t.Errorf("crash %d: told again: %s, %v", n, actions(made), err)
	}
	if l := store.Ledger(); l.Failed != 3 || l.Delivered != 4 || l.Queued != 6 || l.Accepted != 13 {
		t.Errorf("crash %d: ledger %+v", n, l)
	}
	return state
}

func openSpool(t *testing.T, fs vfs.FS) *spool.Store {
	t.Helper()
	store, err := spool.Open("spool", spool.Options{FS: fs, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func accept(t *testing.T, store *spool.Store, e envelope.Envelope) envelope.Key {
	t.Helper()
	w := store.Create()
	if _, err := w.Write([]byte("Subject: x\r\n\r\nbody\r\n")); err != nil {
		t.Fatal(err)
	}
	created, err := w.Commit(nil, []envelope.Envelope{e})
	if err != nil {
		t.Fatal(err)
	}
	return created[0].Key()
}

// bounceIn stores what end makes of an entry, as an attempt does. Recipients that wait are left alone.
func bounceIn(store *spool.Store, s *settings, key envelope.Key) (made []notice, after envelope.Envelope, err error) {
	after, _, err = store.Change(key, func(e *envelope.Envelope) ([]spool.Draft, error) {
		end(e)
		made = s.notices(e, quote{}, time.Now())
		return drafts(made), nil
	})
	return made, after, err
}

// queueOfStore counts the DSNs in the queue and the recipients that an entry still has.
func queueOfStore(t *testing.T, store *spool.Store, key envelope.Key) (dsns, rest int) {
	t.Helper()
	entries, err := store.List(spool.Filter{}, envelope.Key{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Key() == key {
			rest = len(e.Recipients)
			continue
		}
		if e.Origin != envelope.Internal {
			t.Errorf("what is %+v?", e)
		}
		dsns++
	}
	return dsns, rest
}

// TestQuotes: a failure returns what RET asks for, without more in memory than the cap.
func TestQuotes(t *testing.T) {
	r := &Relay{spool: openSpool(t, vfs.NewMem()), log: slog.New(slog.DiscardHandler), quotes: make(chan struct{}, 1)}
	defer r.spool.Close()
	for _, tc := range []struct {
		size int
		ret  envelope.Return
		code int
		want int
	}{
		{bounce.MaxWhole, envelope.ReturnFull, 550, bounce.MaxWhole},
		{bounce.MaxWhole + 1, envelope.ReturnFull, 550, len("Subject: x\r\n")},
		{1000, envelope.ReturnHeaders, 550, len("Subject: x\r\n")},
		{1000, envelope.ReturnDefault, 550, len("Subject: x\r\n")},
		{1000, envelope.ReturnFull, 450, 0},
	} {
		t.Run(fmt.Sprint(tc), func(t *testing.T) {
			w := r.spool.Create()
			header := "Subject: x\r\n\r\n"
			_, _ = w.Write(append([]byte(header), bytes.Repeat([]byte("x"), tc.size-len(header))...))
			e := mixed()
			e.Return = tc.ret
			created, err := w.Commit(nil, []envelope.Envelope{e})
			if err != nil {
				t.Fatal(err)
			}
			q := r.quoteFor(&settings{config: &config.Config{}}, created[0], func(e *envelope.Envelope) {
				for i, to := range e.Recipients {
					o := envelope.Outcome{Reply: reply.Reply{Code: tc.code}}
					e.Recipients[i] = to.After(o, time.Now(), envelope.Retry{Expires: time.Now().Add(time.Hour)})
				}
			})
			defer q.done()
			if len(q.octets) != tc.want || q.whole != (tc.want > 1000) || len(r.quotes) == 1 != q.whole {
				t.Errorf("%d octets, whole %v, %d places taken; want %d octets", len(q.octets), q.whole, len(r.quotes), tc.want)
			}
			if created[0].Recipients[0].State != envelope.Queued {
				t.Error("looking ahead changed the entry itself")
			}
		})
	}
}
