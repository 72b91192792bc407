package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// store is the messages that are not delivered yet.
type store struct {
	db   *pebble.DB
	last atomic.Uint64
	// queue is of the keys that are to be delivered; nil where nothing is.
	queue chan uint64
}

// queueLength is how many keys may wait: 8 octets each. Then accepting waits for delivery.
const queueLength = 1 << 20

// Sizes as the relay's spool has them, so that both have the same memory to work with.
const (
	memtableBytes, memtables = 16 << 20, 4
	cacheBytes               = 32 << 20
)

func openStore(dir string) (*store, error) {
	if dir == "" {
		return nil, errors.New("-dir is needed")
	}
	db, err := pebble.Open(dir, &pebble.Options{
		CacheSize:                   cacheBytes + memtables*memtableBytes,
		MemTableSize:                memtableBytes,
		MemTableStopWritesThreshold: memtables,
		FormatMajorVersion:          pebble.FormatNewest,
		L0CompactionThreshold:       4,
		WALBytesPerSync:             512 << 10,
		BytesPerSync:                512 << 10,
		MaxOpenFiles:                1000,
		ErrorIfExists:               true,
		Logger:                      quiet{},
	})
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	return &store{db: db}, nil
}

// put returns when a message is on stable storage.
func (s *store) put(record []byte) error {
	id := s.last.Add(1)
	if err := s.db.Set(key(id), record, pebble.Sync); err != nil {
		return err
	}
	if s.queue != nil {
		s.queue <- id
	}
	return nil
}

// remove is not synced: after a crash a message may come twice. That is the cheapest which loses none.
func (s *store) remove(id uint64) error { return s.db.Delete(key(id), pebble.NoSync) }

func key(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// letter is a message with its envelope. In the store it is the reverse path and the recipients, a line each, an empty
// line, and the message.
type letter struct {
	from string
	to   []string
	body []byte
}

// begin appends what is before the message.
func (l letter) begin(b *bytes.Buffer) {
	b.WriteString(l.from)
	for _, to := range l.to {
		b.WriteByte('\n')
		b.WriteString(to)
	}
	b.WriteString("\n\n")
}

func parse(record []byte) letter {
	envelope, body, _ := bytes.Cut(record, []byte("\n\n"))
	lines := strings.Split(string(envelope), "\n")
	return letter{from: lines[0], to: lines[1:], body: body}
}

// quiet is a log for what goes wrong only.
type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(format string, a ...any) { pebble.DefaultLogger.Errorf(format, a...) }
func (quiet) Fatalf(format string, a ...any) { pebble.DefaultLogger.Fatalf(format, a...) }
