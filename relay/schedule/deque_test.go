package schedule

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestDeque compares random operations with a slice.
func TestDeque(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var d deque[int]
	var model []int
	for i := range 10_000 {
		switch r.IntN(5) {
		case 0, 1:
			d.pushBack(i)
			model = append(model, i)
		case 2:
			d.pushFront(i)
			model = slices.Insert(model, 0, i)
		default:
			want := 0
			if len(model) > 0 {
				want, model = model[0], model[1:]
			}
			if got := d.pop(); got != want {
				t.Fatalf("step %d: popped %d, want %d", i, got, want)
			}
		}
		if d.len() != len(model) {
			t.Fatalf("step %d: length %d, want %d", i, d.len(), len(model))
		}
	}
}
