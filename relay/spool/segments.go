package spool

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
)

const (
	// segmentSize is from where on a segment is full. The body that reaches it still stands in it whole.
	segmentSize = 64 << 20
	// maxIdle is how many segments stay open for the next bodies. Each body that comes in at the same time has its own.
	maxIdle = 64
)

// segments are the files with large bodies. Memory grows with their number, not with that of the messages.
type segments struct {
	fs  vfs.FS
	dir string
	now func() time.Time
	// size is from where on one is full.
	size int64

	mu     sync.Mutex
	closed bool
	last   int64 // the highest number
	all    map[int64]*segment
	idle   []*segment // open, and nobody writes to them; the one used last is taken first
}

// segment is one of the files. What is not said to be otherwise is under the lock of segments.
type segment struct {
	number int64
	// file and named, whether the file's name is on stable storage, belong to who writes to the segment. One that was
	// there when the spool was opened is never written to again: what a crash left at its end is not known.
	file  vfs.File
	named bool
	// end is where the next body begins, or the length of the file.
	end int64
	// live is what messages take up of it, since when that did not change.
	live   int64
	since  time.Time
	sealed bool
	// stuck: it holds what cannot be read, and so stays as it is.
	stuck bool
}

func (g *segments) path(number int64) string { return g.fs.PathJoin(g.dir, segmentName(number)) }

// load learns which segments there are, and what is live in them.
func (g *segments) load(r pebble.Reader) error {
	g.all = map[int64]*segment{}
	names, err := g.fs.List(g.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		kind, number := parseFile(name)
		if kind != segmentFile {
			continue
		}
		info, err := g.fs.Stat(g.path(number))
		if err != nil {
			return err
		}
		g.sealed(number).end = info.Size()
	}
	return scan(r, kindLive, func(key, value []byte) error {
		if len(key) != 9 || len(value) != 8 {
			return fmt.Errorf("key %q: %w", key, ErrDamaged)
		}
		g.sealed(int64(binary.BigEndian.Uint64(key[1:]))).live = int64(binary.BigEndian.Uint64(value))
		return nil
	})
}

// sealed is a segment that was there when the spool was opened.
func (g *segments) sealed(number int64) *segment {
	s := g.all[number]
	if s == nil {
		s = &segment{number: number, sealed: true, since: g.now()}
		g.all[number] = s
		g.last = max(g.last, number)
	}
	return s
}

// begin begins a body in a segment of its own for the time being.
func (g *segments) begin(id envelope.ID) (*stream, error) {
	s, err := g.take()
	if err != nil {
		return nil, fmt.Errorf("open a segment: %w", err)
	}
	return &stream{all: g, seg: s, id: id, bodyPlace: bodyPlace{segment: s.number, offset: s.end}}, nil
}

func (g *segments) take() (*segment, error) {
	g.mu.Lock()
	if n := len(g.idle); n > 0 {
		s := g.idle[n-1]
		g.idle = g.idle[:n-1]
		g.mu.Unlock()
		return s, nil
	}
	g.last++
	s := &segment{number: g.last, since: g.now()}
	g.mu.Unlock()
	var err error
	if s.file, err = g.fs.Create(g.path(s.number), vfs.WriteCategoryUnspecified); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all[s.number] = s
	return s, nil
}

// release gives a segment back, for the next body or, when it is full, to be sealed.
func (g *segments) release(s *segment) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || s.end >= g.size || len(g.idle) == maxIdle {
		s.seal()
		return
	}
	g.idle = append(g.idle, s)
}

// seal ends the writing to a segment. All of it that counts was synced, so that closing cannot lose anything.
func (s *segment) seal() {
	_ = s.file.Close()
	s.file, s.sealed = nil, true
}

// post changes what is live, after the batch was stored.
func (g *segments) post(shares []share) {
	if len(shares) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range shares {
		if s := g.all[c.segment]; s != nil {
			s.live += c.octets
			s.since = g.now()
		}
	}
}

// close seals what is open.
func (g *segments) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, s := range g.idle {
		s.seal()
	}
	g.idle = nil
}

// sparse: so little of a segment is live that copying it is worth the room.
func (s *segment) sparse() bool { return s.live*100 < s.end*30 }

const (
	// calm is how long a segment must have been left alone before it is rewritten: messages that are being delivered
	// leave it empty by themselves.
	calm = 10 * time.Second
	// maxDead is how much an open segment that is sparse may hold of what is dead.
	maxDead = 4 << 20
)

// retire seals the open segments that are sparse and waste room, or were not used for a while.
func (g *segments) retire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	g.idle = slices.DeleteFunc(g.idle, func(s *segment) bool {
		waste := s.sparse() && (s.end-s.live >= maxDead || now.Sub(s.since) >= calm)
		if waste {
			s.seal()
		}
		return waste
	})
}

// pick lists the sealed segments that f wants.
func (g *segments) pick(f func(*segment) bool) []int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	var numbers []int64
	for _, s := range g.all {
		if s.sealed && !s.stuck && f(s) {
			numbers = append(numbers, s.number)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// stick keeps a segment as it is, and says whether that is new.
func (g *segments) stick(number int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.all[number].stuck
	g.all[number].stuck = true
	return !was
}

func (g *segments) forget(number int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.all, number)
}

// survey reports the segments that are gone, with mail in them: each of those messages is damaged, and the others flow.
func (g *segments) survey(l *logger) {
	for _, n := range g.pick(func(s *segment) bool { return s.end == 0 && s.live > 0 }) {
		l.event(RecordDamaged, fmt.Sprintf("%s is gone, with %d octets of mail", segmentName(n), g.all[n].live))
	}
}
