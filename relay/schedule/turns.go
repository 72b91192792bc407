package schedule

import (
	"container/heap"

	"github.com/postrider/postrider/relay/envelope"
)

// turns are lanes in the order in which they may go. Tenants share by weight: each launch costs a tenant the inverse of
// its weight in a time of the turns' own, and who has spent least goes next. Within a tenant the class decides, and
// within a class the lanes take turns. The zero turns is empty and ready for use.
type turns struct {
	shares byTurn
	known  map[string]*share
	// now is the turn of who went last: a tenant that comes begins there, so that none saves up turns, nor gets more by
	// coming and going.
	now    uint64
	pushed uint64
}

// share is the lanes of a tenant among turns.
type share struct {
	tenant string
	// stride is what a launch costs.
	stride  uint64
	turn    uint64
	order   uint64 // among equal turns
	index   int    // in the heap
	classes [envelope.Classes]struct {
		lanes deque[*lane]
		// passed counts the launches of higher classes since it might have gone.
		passed int
	}
}

const (
	// strideOfOne is the stride of weight 1. It is divided by the weight.
	strideOfOne = 1 << 32
	// patience is how many launches of higher classes of the same tenant a class is passed over for: then it is its
	// turn, so that it does not starve.
	patience = 8
)

// push adds a lane at the end of its class; weight is that of its tenant.
func (t *turns) push(l *lane, weight int) {
	name := l.queue.tenant
	h := t.known[name]
	if h == nil {
		h = &share{tenant: name, stride: strideOfOne / uint64(weight), order: t.pushed}
		h.turn = t.now + h.stride
		t.pushed++
		if t.known == nil {
			t.known = map[string]*share{}
		}
		t.known[name] = h
		heap.Push(&t.shares, h)
	}
	h.classes[l.queue.class].lanes.pushBack(l)
}

func (t *turns) empty() bool { return len(t.shares) == 0 }

// place is where the lane stands whose turn it is.
type place struct {
	share *share
	class envelope.Class
}

func (p place) lane() *lane { return p.share.classes[p.class].lanes.front() }

// first is whose turn it is. There must be one.
func (t *turns) first() place {
	h := t.shares[0]
	return place{h, h.class()}
}

// class is the highest that has a lane, but for one that was passed over too often.
func (h *share) class() envelope.Class {
	highest := envelope.Class(envelope.Classes)
	for c := envelope.Bulk; ; c-- {
		if h.classes[c].lanes.len() > 0 {
			if highest = c; h.classes[c].passed >= patience {
				return c
			}
		}
		if c == 0 {
			return highest
		}
	}
}

// remove takes the lane at a place out, which goes elsewhere. It costs no turn.
func (t *turns) remove(p place) {
	p.share.classes[p.class].lanes.pop()
	t.settle(p.share)
}

// launched counts the turn of the lane at a place, which stays, behind the others of its class, if it has more.
func (t *turns) launched(p place) {
	h := p.share
	of := &h.classes[p.class]
	if l := of.lanes.pop(); l.entries.len() > 0 {
		of.lanes.pushBack(l)
	}
	of.passed = 0
	for c := p.class + 1; int(c) < len(h.classes); c++ {
		if h.classes[c].lanes.len() > 0 {
			h.classes[c].passed++
		}
	}
	t.now = h.turn
	h.turn += h.stride
	h.order = t.pushed
	t.pushed++
	t.settle(h)
}

// settle puts a share to its place in the order; one without lanes leaves.
func (t *turns) settle(h *share) {
	for c := range h.classes {
		if h.classes[c].lanes.len() > 0 {
			heap.Fix(&t.shares, h.index)
			return
		}
	}
	heap.Remove(&t.shares, h.index)
	delete(t.known, h.tenant)
}

// byTurn is a heap: the share that goes next is at the top.
type byTurn []*share

func (b byTurn) Len() int { return len(b) }

func (b byTurn) Less(i, j int) bool {
	if b[i].turn != b[j].turn {
		return b[i].turn < b[j].turn
	}
	return b[i].order < b[j].order
}

func (b byTurn) Swap(i, j int) {
	b[i], b[j] = b[j], b[i]
	b[i].index, b[j].index = i, j
}

func (b *byTurn) Push(h any) {
	h.(*share).index = len(*b)
	*b = append(*b, h.(*share))
}

func (b *byTurn) Pop() any {
	last := len(*b) - 1
	h := (*b)[last]
	(*b)[last] = nil
	*b = (*b)[:last]
	return h
}
