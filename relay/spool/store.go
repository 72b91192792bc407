// Package spool owns accepted mail: the octets of every message exactly as they go on the wire, one envelope
// per message and destination, the index of what is due when, and the books that say what became of every
// recipient. What Commit and Change answered with nil is on stable storage.
//
// It refuses to interpret mail, to decide when or where an entry is attempted, and to start goroutines of its own.
// Memory grows with the number of destinations, never with that of messages.
package spool

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
)

var (
	// ErrNotFound says that the spool holds no such entry or message, any more or at all.
	ErrNotFound = errors.New("not in the spool")
	// ErrDamaged says that what is stored does not match its checksum. Other messages are not affected.
	ErrDamaged = errors.New("damaged in the spool")
	// ErrHeld says that an admin holds the entry: it may not be attempted.
	ErrHeld = errors.New("held")
	// ErrFailed says that the store could not write. Nothing more is acknowledged; the process is ending.
	ErrFailed = errors.New("the spool failed and accepts nothing more")
	// ErrClosed says that Close was called.
	ErrClosed = errors.New("the spool is closed")
	// ErrRefused says that a spool is damaged and was not opened. Salvage reads what can be read of it.
	ErrRefused = errors.New("the spool is damaged")
)

// Options for Open. The zero value is right for production.
type Options struct {
	// FS holds the store; the machine's own when nil.
	FS vfs.FS
	// Now is the clock for ids and for entries that come without a time; time.Now when nil.
	Now func() time.Time
	// Logger takes the store's own reports; slog.Default when nil.
	Logger *slog.Logger
	// Fatal is called when the store cannot write, after the report is logged. It must end the process,
	// and does when nil. Should it return, every later write fails with ErrFailed.
	Fatal func(error)
	// OnEvent is told of trouble with the disk; it must not block. May be nil.
	OnEvent func(Event)
	// CacheBytes is the memory for blocks read from disk, memtables not included; 32 MiB when 0.
	CacheBytes int64
	// MemtableBytes is the size of one memtable, of which up to four exist; 16 MiB when 0.
	MemtableBytes uint64

	// VerifyBytes and VerifyTime are how many octets of tables, and for how long, Open reads at most to compare each
	// block with its checksum, the newest tables first; 1 GiB and 200 ms when 0. The others are left to Verify, and to
	// whoever reads them.
	VerifyBytes int64
	VerifyTime  time.Duration

	// Holder is whom the spool belongs to while it is open, other than any other process that may be given the same
	// directory: the uid of a pod. Empty where only processes of one machine can; the lock of the directory does then.
	Holder string
	// Token is compared with the highest that the spool was ever opened with: an older one is refused with ErrFenced. So
	// is a Holder after which there was another.
	Token int64

	// segmentBytes is from where on a segment is full; segmentSize when 0.
	segmentBytes int64
	// pause is the wait before a full disk is tried again; 100 ms when 0.
	pause time.Duration
	// patience is how long Close waits for running operations; 20 s when 0.
	patience time.Duration
	// fenceEvery is the constant of that name when 0.
	fenceEvery time.Duration
}

// Store is an open spool. Its methods may be called at the same time from many goroutines.
type Store struct {
	db     *pebble.DB
	lock   *pebble.Lock
	mark   *mark
	fence  *fence
	fs     vfs.FS
	dir    string
	now    func() time.Time
	logger *logger
	ids    ids
	locks  stripes
	books  books
	// searching is held while the oldest entry of a destination is looked for.
	searching sync.Mutex
	aside     aside
	fronts    [envelope.Classes]front // of the due index
	segments  segments
	// unverified are the tables that Open did not read.
	unverified []int64
	// unsynced are batches that are on their way to the disk.
	unsynced unsynced
	// buffers of Writers that ended, as *[]byte.
	buffers sync.Pool

	patience time.Duration
	// open is held for reading by every operation, for writing by Close.
	open   sync.RWMutex
	closed bool
}

// Free is how much of the disk is left for the spool, in octets.
func (s *Store) Free() (uint64, error) {
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", s.dir, err)
	}
	return usage.AvailBytes, nil
}

// enter admits an operation; leave ends it.
func (s *Store) enter() error {
	s.open.RLock()
	if s.closed {
		s.open.RUnlock()
		return ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.open.RUnlock() }

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Fatal == nil {
		o.Fatal = func(error) { os.Exit(1) }
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 32 << 20
	}
	if o.MemtableBytes == 0 {
		o.MemtableBytes = 16 << 20
	}
	if o.VerifyBytes == 0 {
		o.VerifyBytes = 1 << 30
	}
	if o.VerifyTime == 0 {
		o.VerifyTime = 200 * time.Millisecond
	}
	if o.segmentBytes == 0 {
		o.segmentBytes = segmentSize
	}
	if o.patience == 0 {
		o.patience = 20 * time.Second
	}
	if o.fenceEvery == 0 {
		o.fenceEvery = fenceEvery
	}
	if o.pause == 0 {
		o.pause = 100 * time.Millisecond
	}
	return o
}

// memtables is how many may wait to be flushed before writes stop.
const memtables = 4

// lowestLevel is the size of the level into which what was just flushed is compacted. Mail that is delivered at once
// leaves little but tombstones, and each compaction rewrites what of the level lies between them, the records of all
// that waits: beside a million messages 2,800 octets for each that passes at pebble's 64 MiB, 600 at 16 MiB. Mail that
// stays costs the same.
const lowestLevel = 16 << 20

// pebbleOptions leaves pebble's value separation off. It would halve what a backlog writes (measured: 569 MB to 271 MB
// for 60,000 messages of 4 KiB), but in v2.1.7 a full disk during a flush is then a nil pointer, and the process's end.
func pebbleOptions(o Options, l *logger, m *mark) *pebble.Options {
	p := &pebble.Options{
		FS:     disk{o.FS, l, m, o.pause},
		Logger: l,
		Merger: adder,
		// Pebble reserves its memtables from the cache.
		CacheSize:                   o.CacheBytes + memtables*int64(o.MemtableBytes),
		MemTableSize:                o.MemtableBytes,
		MemTableStopWritesThreshold: memtables,
		FormatMajorVersion:          pebble.FormatNewest,
		L0CompactionThreshold:       4,
		LBaseMaxBytes:               lowestLevel,
		WALBytesPerSync:             512 << 10,
		BytesPerSync:                512 << 10,
		MaxOpenFiles:                1000,
		EventListener:               l.listener(),
	}
	p.Experimental.SpanPolicyFunc = bodiesApart
	if o.FS == vfs.Default {
		p.WithFSDefaults() // tells of a slow disk
	}
	return p
}

// bodiesApart has the octets of messages stand in tables of their own. They come in the order of their keys, so that such
// tables hardly overlap and need not be merged; one with other keys behind it would overlap with all that come later.
func bodiesApart(start []byte) (pebble.SpanPolicy, []byte, error) {
	if behind := []byte{kindChunk + 1}; bytes.Compare(start, behind) < 0 {
		return pebble.SpanPolicy{}, behind, nil
	}
	return pebble.SpanPolicy{}, nil, nil
}

// stripes are locks for messages, by id.
type stripes [4096]sync.Mutex

// lock keeps others from changing a message until the returned function is called.
func (l *stripes) lock(id envelope.ID) (unlock func()) {
	m := &l[l.of(id)]
	m.Lock()
	return m.Unlock
}

func (l *stripes) of(id envelope.ID) uint32 {
	h := uint32(2166136261) // FNV-1a
	for i := range len(id) {
		h = (h ^ uint32(id[i])) * 16777619
	}
	return h % uint32(len(l))
}
