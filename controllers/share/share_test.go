package share

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

const u = Unlimited

func TestDivide(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit Amount
		pods  int
		want  []Amount
	}{
		{"one pod has it all", Amount{600, 50, 20}, 1, []Amount{{600, 50, 20}}},
		{"the remainder by ordinal", Amount{600, 50, 20}, 3, []Amount{{200, 17, 7}, {200, 17, 7}, {200, 16, 6}}},
		{"what is not limited", Amount{u, u, 7}, 2, []Amount{{u, u, 4}, {u, u, 3}}},
		{"fewer connections than pods", Amount{600, u, 2}, 3, []Amount{{300, u, 1}, {300, u, 1}, {0, u, 0}}},
		{"one message at a time", Amount{600, 1, 20}, 3, []Amount{{600, 1, 20}, {0, 0, 0}, {0, 0, 0}}},
		{"no limit", Amount{u, u, u}, 2, []Amount{{u, u, u}, {u, u, u}}},
		{"no pods", Amount{1, 1, 1}, 0, []Amount{}},
	} {
		if got := Divide(c.limit, c.pods); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// pods are out-0 and so on, with the generations that they have in force.
func pods(inForce ...int64) []Pod {
	list := make([]Pod, len(inForce))
	for i, g := range inForce {
		list[i] = Pod{Name: fmt.Sprintf("out-%d", i), InForce: g}
	}
	return list
}

// connections are the connections that pods are told, by ordinal.
func connections(b Book, n int) []int64 {
	var told []int64
	for _, p := range pods(make([]int64, n)...) {
		told = append(told, b[p.Name].Told[Connections])
	}
	return told
}

// TestScale goes through the steps of one relay's life.
func TestScale(t *testing.T) {
	limit := Amount{u, u, 10}
	var b Book
	for _, step := range []struct {
		name       string
		pods       []Pod
		generation int64
		want       []int64
		final      bool
	}{
		{"a new limit binds at once", pods(0, 0), 5, []int64{5, 5}, true},
		{"a third pod waits for the others", pods(4, 4, 0), 6, []int64{4, 3, 0}, false},
		{"one of them is not enough if it still counts in full", pods(6, 4, 0), 7, []int64{4, 3, 0}, false},
		{"both keep to it", pods(6, 6, 0), 8, []int64{4, 3, 3}, true},
		{"a pod that does not answer keeps its share", pods(8, 0, 8), 9, []int64{4, 3, 3}, true},
		{"a fourth: what is free goes at once, what is not, later", pods(8, 8, 8, 0), 10, []int64{3, 3, 2, 0}, false},
		{"one by one", pods(10, 8, 8, 0), 11, []int64{3, 3, 2, 1}, false},
		{"to the end", pods(11, 11, 11, 0), 12, []int64{3, 3, 2, 2}, true},
		{"it has gone: the others grow", pods(12, 12, 12), 13, []int64{4, 3, 3}, true},
	} {
		b = b.Next(limit, step.pods, step.generation)
		if got := connections(b, len(step.pods)); !slices.Equal(got, step.want) {
			t.Fatalf("%s: %v, want %v; the book is %v", step.name, got, step.want, b)
		}
		if got := b.Final(limit, step.pods); got != step.final {
			t.Errorf("%s: final is %v", step.name, got)
		}
	}
}

func TestAnotherLimit(t *testing.T) {
	two := pods(0, 0)
	b := Book(nil).Next(Amount{u, u, 10}, two, 1)
	b = b.Next(Amount{u, u, 10}, pods(1, 1), 2)
	raised := b.Next(Amount{u, u, 20}, pods(1, 0), 2)
	if got := connections(raised, 2); !slices.Equal(got, []int64{10, 10}) {
		t.Errorf("raised: %v", got)
	}
	lowered := b.Next(Amount{u, u, 4}, pods(1, 1), 2)
	if got := connections(lowered, 2); !slices.Equal(got, []int64{2, 2}) {
		t.Errorf("lowered: %v", got)
	}
	other := b.Next(Amount{600, u, u}, pods(1, 1), 2)
	if got := other["out-1"].Told; got != (Amount{300, u, u}) {
		t.Errorf("messages in place of connections: %v", got)
	}
}

func TestPodsWithoutAShare(t *testing.T) {
	limit := Amount{600, u, 2}
	if got := Without(limit, pods(0, 0, 0)); !slices.Equal(got, []string{"out-2"}) {
		t.Errorf("without a share are %v", got)
	}
	b := Book(nil).Next(limit, pods(0, 0, 0), 1)
	if !b["out-2"].Told.Nothing() || b["out-1"].Told.Nothing() || !b.Final(limit, pods(0, 0, 0)) {
		t.Errorf("the book is %v", b)
	}
	if got := Sum(b.Told()); got != (Amount{600, u, 2}) {
		t.Errorf("the sum is %v", got)
	}
}

// world plays the pods of a relay: each has one of the configurations in force that there were since it began, in their
// order, and what it says may be old.
type world struct {
	r     *rand.Rand
	limit Amount
	book  Book
	// told are all configurations, by generation; told[0] is the one before there was any limit.
	told []map[string]Amount
	// inForce and said are by pod; a pod that is not in it is gone. said is 0 where nothing is known.
	inForce, said map[string]int
	want          int
}

func newWorld(seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 2))
	w := &world{r: r, told: []map[string]Amount{nil}, inForce: map[string]int{}, said: map[string]int{}, want: 1 + r.IntN(4)}
	w.limit = Amount{int64(1 + r.IntN(40)), int64(1 + r.IntN(8)), int64(1 + r.IntN(12))}
	for k := range w.limit {
		if r.IntN(4) == 0 {
			w.limit[k] = Unlimited
		}
	}
	return w
}

// pods are those that are there or shall be.
func (w *world) pods() []Pod {
	n := w.want
	for name := range w.inForce {
		var ordinal int
		_, _ = fmt.Sscanf(name, "out-%d", &ordinal)
		n = max(n, ordinal+1)
	}
	list := pods(make([]int64, n)...)
	for i := range list {
		list[i].InForce = int64(w.said[list[i].Name])
	}
	return list
}

// step lets one thing happen.
func (w *world) step(t *testing.T) {
	names := slices.Sorted(maps.Keys(w.inForce))
	one := ""
	if len(names) > 0 {
		one = names[w.r.IntN(len(names))]
	}
	switch w.r.IntN(10) {
	case 0:
		w.want = 1 + w.r.IntN(5)
	case 1, 2: // one comes, with the newest configuration or one that is about to be old
		name := fmt.Sprintf("out-%d", w.r.IntN(w.want))
		if _, there := w.inForce[name]; !there {
			w.inForce[name], w.said[name] = len(w.told)-1, 0
		}
	case 3: // the operator forgets, or the pod does not answer any more
		delete(w.said, one)
	case 4: // one that is to go has gone; only the last goes
		if last := fmt.Sprintf("out-%d", len(w.pods())-1); len(w.pods()) > w.want {
			delete(w.inForce, last)
			delete(w.said, last)
		}
	case 5, 6:
		if one != "" {
			w.said[one] = w.inForce[one]
		}
	case 7:
		if one != "" {
			w.inForce[one] += w.r.IntN(len(w.told) - w.inForce[one])
		}
	default:
		w.reconcile(t)
	}
}

// reconcile is the operator's pass. It remembers no more than what was encoded.
func (w *world) reconcile(t *testing.T) {
	generation := int64(len(w.told))
	next := w.book.Next(w.limit, w.pods(), generation)
	if again := next.Next(w.limit, w.pods(), generation+1); !maps.Equal(again, next) {
		t.Fatalf("%v becomes %v though nothing happened", next, again)
	}
	if w.book == nil || !maps.Equal(next.Told(), w.told[generation-1]) {
		w.told = append(w.told, next.Told())
	}
	text, err := json.Marshal(next)
	if err != nil {
		t.Fatal(err)
	}
	w.book = nil
	if err := json.Unmarshal(text, &w.book); err != nil {
		t.Fatal(err)
	}
}

// sum is what all pods let through together that know of the limit, and whether all do.
func (w *world) sum() (sum Amount, all bool) {
	all = true
	for name, g := range w.inForce {
		if g == 0 {
			all = false
			continue
		}
		if a := w.told[g][name]; !a.Nothing() {
			for k := range a {
				sum[k] += a[k]
			}
		}
	}
	return sum, all
}

// TestNeverMoreThanTheLimit: whatever happens in whatever order, from the moment that all pods know of a limit they keep
// to it together; and when things calm down all of it is used.
func TestNeverMoreThanTheLimit(t *testing.T) {
	for seed := range uint64(400) {
		w := newWorld(seed)
		bound := false
		for range 300 {
			w.step(t)
			sum, all := w.sum()
			bound = bound || all && w.book != nil && len(w.inForce) > 0
			for k := range sum {
				if bound && w.limit[k] < Unlimited && sum[k] > w.limit[k] {
					t.Fatalf("seed %d: %v of %v with %v in force, told %v", seed, sum, w.limit, w.inForce, w.told)
				}
			}
		}
		w.calm(t, seed)
	}
}

// calm lets everybody answer, and holds the outcome against the plan.
func (w *world) calm(t *testing.T, seed uint64) {
	for ordinal := w.want; ordinal < 5; ordinal++ {
		delete(w.inForce, fmt.Sprintf("out-%d", ordinal))
		delete(w.said, fmt.Sprintf("out-%d", ordinal))
	}
	for range 20 {
		w.reconcile(t)
		for ordinal := range w.want {
			name := fmt.Sprintf("out-%d", ordinal)
			w.inForce[name], w.said[name] = len(w.told)-1, len(w.told)-1
		}
	}
	if !w.book.Final(w.limit, w.pods()) {
		t.Fatalf("seed %d: in the end %v share %v as %v", seed, w.want, w.limit, w.book)
	}
}
