package handoff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
	"github.com/postrider/postrider/relay/suppress"
)

var quiet = slog.New(slog.DiscardHandler)

// pod is one side: a spool, what receives into it and what sends from it.
type pod struct {
	name     string
	store    *spool.Store
	receiver *Receiver
	sender   *Sender
	full     bool
	lists    Lists // what came
	own      Lists // what it knows
	busy     map[envelope.ID]bool
	kept     atomic.Int32
}

// network carries requests between pods of a test; fate says what becomes of one.
type network struct {
	mu   sync.Mutex
	pods map[string]*pod
	// at are the pods that have addresses; without one, a name leads to its pod.
	at map[string]string
	// fate runs deliver, or doesn't, and says whether the answer arrives; nil delivers all.
	fate func(path string, deliver func()) bool
}

func (n *network) client(to config.Peer) *http.Client {
	return &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
		body, err := readBody(req)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		fate := n.fate
		n.mu.Unlock()
		answer := httptest.NewRecorder()
		deliver := func() {
			n.mu.Lock()
			p := n.pods[cmp.Or(n.at[to.Address], to.Pod)]
			n.mu.Unlock()
			if p == nil {
				answer.Code = http.StatusBadGateway
				return
			}
			arrived := httptest.NewRequest(req.Method, req.URL.Path, strings.NewReader(body))
			arrived.Header = req.Header.Clone()
			p.receiver.ServeHTTP(answer, arrived)
		}
		if fate == nil {
			deliver()
		} else if !fate(req.URL.Path, deliver) {
			return nil, errors.New("connection reset")
		}
		return answer.Result(), nil
	})}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func readBody(req *http.Request) (string, error) {
	if req.Body == nil {
		return "", nil
	}
	text, err := io.ReadAll(req.Body)
	return string(text), err
}

func openSpool(t testing.TB, fs vfs.FS) *spool.Store {
	t.Helper()
	s, err := spool.Open("spool", spool.Options{FS: fs, Logger: quiet, CacheBytes: 1 << 20, MemtableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// add brings up a pod on a spool.
func (n *network) add(t testing.TB, name string, store *spool.Store) *pod {
	t.Helper()
	p := &pod{name: name, store: store, busy: map[envelope.ID]bool{}}
	p.receiver = NewReceiver(ReceiverOptions{Store: store, Pod: name, Log: quiet,
		Free: func() (uint64, error) { return 1 << 30, nil },
		Refusal: func(int64) string {
			if p.full {
				return "full"
			}
			return ""
		},
		Took: func(string, []envelope.Envelope) {},
		Merge: func(l Lists) error {
			p.lists.Directives = append(p.lists.Directives, l.Directives...)
			p.lists.Suppressions = append(p.lists.Suppressions, l.Suppressions...)
			return nil
		}})
	n.restart(t, p)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pods == nil {
		n.pods = map[string]*pod{}
	}
	n.pods[name] = p
	return p
}

// restart makes a pod's sender anew, as after the process has ended.
func (n *network) restart(t testing.TB, p *pod) {
	t.Helper()
	var err error
	p.sender, err = NewSender(SenderOptions{Store: p.store, Pod: p.name, Client: n.client, Log: quiet,
		InFlight: func(keys []envelope.Key) bool { return p.busy[keys[0].ID] },
		Gave:     func(string, []envelope.Envelope) {},
		Kept:     func(envelope.ID) { p.kept.Add(1) },
		Lists: func(suppressions bool, pass func(Lists) error) error {
			if !suppressions {
				return pass(Lists{Directives: p.own.Directives})
			}
			return pass(p.own)
		}})
	if err != nil {
		t.Fatal(err)
	}
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

func accept(t testing.TB, s *spool.Store, size int, to ...string) envelope.ID {
	t.Helper()
	w := s.Create()
	defer w.Abort()
	if _, err := w.Write([]byte(strings.Repeat("0123456789abcdef", size/16))); err != nil {
		t.Fatal(err)
	}
	var entries []envelope.Envelope
	for _, a := range to {
		entries = append(entries, envelope.Envelope{ReversePath: "s@sender.test", Domain: envelope.DomainOf(a),
			Recipients: []envelope.Recipient{{Address: a, Due: epoch}}})
	}
	if _, err := w.Commit([]byte("Received: here\r\n"), entries); err != nil {
		t.Fatal(err)
	}
	return w.ID()
}

// planFor has a pod hand over to others.
func planFor(from string, to ...string) *config.Handoff {
	h := &config.Handoff{From: from}
	for _, name := range to {
		h.Peers = append(h.Peers, config.Peer{Pod: name, Host: name})
	}
	return h
}

// finish steps until the hand-off is done.
func (p *pod) finish(t testing.TB, plan *config.Handoff) {
	t.Helper()
	p.sender.Follow(plan, nil)
	for range 20 {
		p.sender.Step(context.Background())
		if p.sender.Progress().Phase == Done {
			return
		}
	}
	t.Fatalf("not done: %+v, %+v", p.sender.Progress(), p.store.Ledger())
}

// whereabouts counts how often each recipient is in the books of pods: queued or delivered.
func whereabouts(t testing.TB, delivered map[string]int, pods ...*pod) map[string]int {
	t.Helper()
	found := maps.Clone(delivered)
	if found == nil {
		found = map[string]int{}
	}
	for _, p := range pods {
		entries, err := p.store.List(spool.Filter{}, envelope.Key{}, 1000)
		if err = errors.Join(err, p.store.Check()); err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		for _, e := range entries {
			for _, r := range e.Recipients {
				found[r.Address]++
			}
		}
	}
	return found
}

func expectOnce(t testing.TB, what string, found map[string]int, want ...string) {
	t.Helper()
	for _, a := range want {
		if found[a] != 1 {
			t.Fatalf("%s: %s is there %d times: %v", what, a, found[a], found)
		}
	}
	if len(found) != len(want) {
		t.Fatalf("%s: found %v, want %v", what, found, want)
	}
}

// deliverAll ends all that a pod has.
func deliverAll(t testing.TB, p *pod, delivered map[string]int) {
	t.Helper()
	entries, err := p.store.List(spool.Filter{}, envelope.Key{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		_, _, err := p.store.Change(e.Key(), func(e *envelope.Envelope) ([]spool.Draft, error) {
			for i := range e.Recipients {
				e.Recipients[i].State = envelope.Delivered
				delivered[e.Recipients[i].Address]++
			}
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAPodIsEmptied(t *testing.T) {
	var n network
	from := n.add(t, "out-2", openSpool(t, vfs.NewMem()))
	zero, one := n.add(t, "out-0", openSpool(t, vfs.NewMem())), n.add(t, "out-1", openSpool(t, vfs.NewMem()))
	from.own = Lists{Directives: []directive.Directive{{ID: "d"}}, Suppressions: []suppress.Entry{{Address: "gone@x.test"}}}
	var all []string
	for i := range 40 {
		a, b := fmt.Sprintf("a%d@one.test", i), fmt.Sprintf("b%d@two.test", i)
		all = append(all, a, b)
		accept(t, from.store, 100<<(i%12), a, b)
	}
	from.finish(t, planFor("out-2", "out-0", "out-1"))
	expectOnce(t, "all", whereabouts(t, nil, from, zero, one), all...)
	if l := from.store.Ledger(); l.HandedOut != 80 || l.Queued != 0 {
		t.Errorf("left behind: %+v", l)
	}
	for _, p := range []*pod{zero, one} {
		if len(p.lists.Directives) != 1 || len(p.lists.Suppressions) == 0 {
			t.Errorf("%s was told %+v", p.name, p.lists)
		}
		if p.store.Ledger().HandedIn == 0 {
			t.Errorf("%s got nothing", p.name)
		}
	}
	// What is settled is remembered nowhere.
	from.sender.Step(t.Context())
	for p, table := range map[*pod]string{from: outTable, zero: inTable, one: inTable} {
		if rows, err := p.store.Rows(table, "", 10); err != nil || len(rows) > 0 {
			t.Errorf("%s remembers %d, %v", p.name, len(rows), err)
		}
	}
}

func TestPeersThatTakeNothingArePassedOver(t *testing.T) {
	var n network
	from := n.add(t, "out-2", openSpool(t, vfs.NewMem()))
	zero, one := n.add(t, "out-0", openSpool(t, vfs.NewMem())), n.add(t, "out-1", openSpool(t, vfs.NewMem()))
	accept(t, from.store, 100, "a@one.test")
	zero.full, one.full = true, true
	from.sender.Follow(planFor("out-2", "out-0", "out-1"), nil)
	from.sender.Step(t.Context())
	if p := from.sender.Progress(); p.Phase != Waiting || !strings.Contains(p.Problem, "full") {
		t.Errorf("all are full: %+v", p)
	}
	one.full = false
	from.finish(t, planFor("out-2", "gone", "out-0", "out-1"))
	if one.store.Ledger().HandedIn != 1 {
		t.Error("the one with room did not get it")
	}
}

func TestOneThatFillsUpKeepsNobodyElseWaiting(t *testing.T) {
	var n network
	from, zero := n.add(t, "out-2", openSpool(t, vfs.NewMem())), n.add(t, "out-0", openSpool(t, vfs.NewMem()))
	large := accept(t, from.store, 200<<10, "large@one.test")
	accept(t, from.store, 100, "small@one.test")
	zero.receiver.o.Refusal = func(size int64) string {
		if size > 100<<10 {
			return "too large"
		}
		return ""
	}
	from.sender.Follow(planFor("out-2", "out-0"), nil)
	from.sender.Step(t.Context())
	if l := from.store.Ledger(); l.HandedOut != 1 || from.kept.Load() != 1 || from.sender.Leaving(large) {
		t.Errorf("the small one went, the large one stays: %+v, kept %d", l, from.kept.Load())
	}
	if p := from.sender.Progress(); p.Phase != HandingOff || !strings.Contains(p.Problem, "too large") {
		t.Errorf("it says %+v", p)
	}
}

func TestNothingInFlightLeaves(t *testing.T) {
	var n network
	from := n.add(t, "out-2", openSpool(t, vfs.NewMem()))
	n.add(t, "out-0", openSpool(t, vfs.NewMem()))
	id := accept(t, from.store, 100, "a@one.test")
	from.busy[id] = true
	from.sender.Follow(planFor("out-2", "out-0"), nil)
	if more := from.sender.Step(t.Context()); !more || from.store.Ledger().HandedOut != 0 || from.sender.Leaving(id) {
		t.Error("it left")
	}
	delete(from.busy, id)
	from.finish(t, planFor("out-2", "out-0"))
}

func TestOthersPlansAreNotOurs(t *testing.T) {
	var n network
	from := n.add(t, "out-2", openSpool(t, vfs.NewMem()))
	n.add(t, "out-0", openSpool(t, vfs.NewMem()))
	accept(t, from.store, 100, "a@one.test")
	from.sender.Follow(planFor("out-3", "out-0", "out-2"), nil)
	if from.sender.Step(t.Context()); from.sender.Progress().Phase != "" || from.store.Ledger().HandedOut != 0 {
		t.Errorf("it follows %+v", from.sender.Progress())
	}
	request := httptest.NewRequest(http.MethodGet, pathOffer, nil)
	request.Header.Set(headerTo, "out-9")
	answer := httptest.NewRecorder()
	if n.pods["out-0"].receiver.ServeHTTP(answer, request); answer.Code != http.StatusMisdirectedRequest {
		t.Errorf("a request for another pod is answered %d", answer.Code)
	}
}

func TestAMessageIsBoundUntilItsFateIsKnown(t *testing.T) {
	var n network
	from := n.add(t, "out-2", openSpool(t, vfs.NewMem()))
	zero, one := n.add(t, "out-0", openSpool(t, vfs.NewMem())), n.add(t, "out-1", openSpool(t, vfs.NewMem()))
	one.full = true
	id := accept(t, from.store, 100, "a@one.test")
	reached := false
	n.fate = func(path string, deliver func()) bool { // it arrives, and then the peer is silent
		if path == pathMessage && !reached {
			reached = true
			deliver()
		}
		if reached {
			return false
		}
		deliver()
		return true
	}
	from.sender.Follow(planFor("out-2", "out-0", "out-1"), nil)
	from.sender.Step(t.Context())
	if !from.sender.Leaving(id) {
		t.Fatal("nobody knows whether it has arrived, and it is free to be delivered")
	}
	n.restart(t, from)
	one.full, n.fate = false, func(path string, deliver func()) bool { // only the other one answers
		return false
	}
	from.sender.Follow(nil, nil)
	if more := from.sender.Step(t.Context()); !more || !from.sender.Leaving(id) {
		t.Fatal("after a restart, without a plan, it is free")
	}
	n.fate = func(path string, deliver func()) bool { // the peer takes mail, and does not say what became of this
		deliver()
		return path != pathCancel
	}
	from.sender.Follow(planFor("out-2", "out-1"), nil)
	from.sender.Step(t.Context())
	if p := from.sender.Progress(); p.Phase != HandingOff || !strings.Contains(p.Problem, string(id)+" is not known yet") {
		t.Errorf("what is in the way is not said: %+v", p)
	}
	n.fate = nil
	from.sender.Step(t.Context())
	expectOnce(t, "in the end", whereabouts(t, nil, from, zero, one), "a@one.test")
	if from.sender.Leaving(id) || zero.store.Ledger().HandedIn != 1 {
		t.Error("it is not settled")
	}
}

func TestOldNotesAreForgotten(t *testing.T) {
	var n network
	zero := n.add(t, "out-0", openSpool(t, vfs.NewMem()))
	if _, err := zero.receiver.cancel(cancel{Key: "k", ID: "I"}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, tc := range []struct {
		after time.Duration
		left  int
	}{{askedFor, 1}, {remembered + time.Hour, 0}} {
		zero.receiver.o.Now = func() time.Time { return now.Add(tc.after) }
		if err := zero.receiver.Sweep(); err != nil {
			t.Fatal(err)
		}
		if rows, err := zero.store.Rows(inTable, "", 10); err != nil || len(rows) != tc.left {
			t.Errorf("after %v: %d notes, %v", tc.after, len(rows), err)
		}
	}
}

// TestNoNetworkLosesOrDoubles lets requests, answers and processes get lost, and requests arrive late.
func TestNoNetworkLosesOrDoubles(t *testing.T) {
	lost, late := 0, 0
	for seed := range uint64(40) {
		dice := rand.New(rand.NewPCG(seed, 1))
		var n network
		from := n.add(t, "out-2", openSpool(t, vfs.NewMem()))
		peers := []*pod{n.add(t, "out-0", openSpool(t, vfs.NewMem())), n.add(t, "out-1", openSpool(t, vfs.NewMem()))}
		var all []string
		for i := range 6 {
			a, b := fmt.Sprintf("a%d@one.test", i), fmt.Sprintf("b%d@two.test", i)
			all = append(all, a, b)
			accept(t, from.store, 40<<(i*2), a, b)
		}
		var mu sync.Mutex
		var delayed []func()
		n.fate = func(_ string, deliver func()) bool {
			mu.Lock()
			chance := dice.IntN(10)
			mu.Unlock()
			switch chance {
			case 0:
				mu.Lock()
				lost++
				mu.Unlock()
				return false
			case 1:
				deliver()
				return false
			case 2:
				mu.Lock()
				delayed = append(delayed, deliver)
				late++
				mu.Unlock()
				return false
			}
			deliver()
			return true
		}
		delivered := map[string]int{}
		for range 12 {
			plan := planFor("out-2", "out-0", "out-1")
			if dice.IntN(4) == 0 {
				plan = nil
			}
			from.sender.Follow(plan, nil)
			from.sender.Step(t.Context())
			if dice.IntN(3) == 0 {
				n.restart(t, from)
			}
			for _, p := range peers {
				if dice.IntN(4) == 0 {
					deliverAll(t, p, delivered)
				}
			}
			delayed = slices.DeleteFunc(delayed, func(f func()) bool {
				arrives := dice.IntN(2) == 0
				if arrives {
					f()
				}
				return arrives
			})
		}
		n.fate = nil
		from.finish(t, planFor("out-2", "out-0", "out-1"))
		for _, f := range delayed {
			f()
		}
		expectOnce(t, fmt.Sprint("seed ", seed), whereabouts(t, delivered, append(peers, from)...), all...)
	}
	t.Logf("%d requests lost, %d late", lost, late)
}
