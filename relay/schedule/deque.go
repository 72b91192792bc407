package schedule

// deque is a queue that can also be pushed at the front. The zero deque is empty and ready for use.
type deque[T any] struct {
	ring  []T
	head  int
	count int
}

const smallestRing = 4

func (d *deque[T]) len() int { return d.count }

func (d *deque[T]) pushBack(v T) {
	d.resize()
	d.ring[(d.head+d.count)%len(d.ring)] = v
	d.count++
}

func (d *deque[T]) pushFront(v T) {
	d.resize()
	d.head = (d.head + len(d.ring) - 1) % len(d.ring)
	d.ring[d.head] = v
	d.count++
}

// front is the first element; there must be one.
func (d *deque[T]) front() T { return d.ring[d.head] }

// pop takes the first element; the zero value when there is none.
func (d *deque[T]) pop() T {
	var none T
	if d.count == 0 {
		return none
	}
	v := d.ring[d.head]
	d.ring[d.head] = none
	d.head = (d.head + 1) % len(d.ring)
	d.count--
	if d.count == 0 {
		d.ring, d.head = nil, 0 // an idle queue keeps no memory
	}
	return v
}

// resize makes room for one more.
func (d *deque[T]) resize() {
	if d.count < len(d.ring) {
		return
	}
	ring := make([]T, max(smallestRing, 2*len(d.ring)))
	n := copy(ring, d.ring[d.head:])
	copy(ring[n:], d.ring[:d.head])
	d.ring, d.head = ring, 0
}
