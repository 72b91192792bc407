package spool

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"

	"github.com/postrider/postrider/relay/envelope"
)

// The first octet of a key says what it names. A domain never holds a zero octet, so that "domain\0id" sorts by
// domain, then by id, and splits without doubt.
const (
	kindChunk   = 'b' // b id n       → octets of a message and their checksum; all of a small one, the prefix of a large one
	kindCounter = 'c' // c name       → int64, merged by addition
	kindDue     = 'd' // d class due domain\0id → sender domain; see dueBound
	kindEntry   = 'e' // e domain\0id → envelope
	kindBody    = 'g' // g segment offset → id of the message whose body stands there
	kindLive    = 'l' // l segment    → int64, merged by addition: octets of it that messages take up
	kindMeta    = 'm' // m id         → what is stored of a message, and for which domains
	kindTally   = 'n' // n domain     → recipients queued, deferred and held, merged by addition
	kindStream  = 's' // s id         → in spools of versions up to 3: a large message whose chunks were being written
	kindTable   = 't' // t table\0key → a record that is no mail
)

func entryKey(k envelope.Key) []byte {
	return appendName(append(make([]byte, 0, 2+len(k.Domain)+len(k.ID)), kindEntry), k)
}

func metaKey(id envelope.ID) []byte { return append([]byte{kindMeta}, id...) }

func counterKey(name string) []byte { return append([]byte{kindCounter}, name...) }

func tallyKey(domain string) []byte { return append([]byte{kindTally}, domain...) }

func tableKey(table, key string) []byte {
	b := append(make([]byte, 0, 2+len(table)+len(key)), kindTable)
	return append(append(append(b, table...), 0), key...)
}

func chunkKey(id envelope.ID, n uint32) []byte {
	b := append(make([]byte, 0, 5+len(id)), kindChunk)
	return binary.BigEndian.AppendUint32(append(b, id...), n)
}

func dueKey(c envelope.Class, due int64, k envelope.Key) []byte {
	return appendName(appendDue(make([]byte, 0, 11+len(k.Domain)+len(k.ID)), c, due), k)
}

// dueBound is the smallest key of a class in the due index at or after due. The classes stand apart, so that few of
// one are found without a walk over many of another. That of Normal, with which the index began, is not written: the
// first octet of a time is below 0x80, those that stand for the others are above.
func dueBound(c envelope.Class, due int64) []byte { return appendDue(nil, c, due) }

func appendDue(b []byte, c envelope.Class, due int64) []byte {
	b = append(b, kindDue)
	if c != envelope.Normal {
		b = append(b, otherClass|byte(c))
	}
	return binary.BigEndian.AppendUint64(b, uint64(due))
}

// otherClass marks the octet of a class in a key of the due index.
const otherClass = 0xf0

func appendName(b []byte, k envelope.Key) []byte {
	return append(append(append(b, k.Domain...), 0), k.ID...)
}

func parseEntryKey(b []byte) (envelope.Key, bool) {
	if len(b) == 0 || b[0] != kindEntry {
		return envelope.Key{}, false
	}
	return parseName(b[1:])
}

// place is where an entry stands in the due index.
type place struct {
	class envelope.Class
	due   int64
	key   envelope.Key
}

func parseDueKey(b []byte) (p place, ok bool) {
	if len(b) < 2 || b[0] != kindDue {
		return p, false
	}
	p.class = envelope.Normal
	if b = b[1:]; b[0] >= otherClass {
		p.class = envelope.Class(b[0] &^ otherClass)
		b = b[1:]
		if p.class >= envelope.Classes || p.class == envelope.Normal {
			return p, false
		}
	}
	if len(b) < 8 {
		return p, false
	}
	p.due = int64(binary.BigEndian.Uint64(b))
	p.key, ok = parseName(b[8:])
	return p, ok
}

func parseName(b []byte) (envelope.Key, bool) {
	domain, id, ok := bytes.Cut(b, []byte{0})
	return envelope.Key{Domain: string(domain), ID: envelope.ID(id)}, ok
}

// nanos is a time as the due index orders it: nanoseconds since 1970, never negative.
func nanos(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, 0)):
		return 0
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// indexed is where an entry stands in the due index; a held one does not.
func indexed(e *envelope.Envelope) (due int64, ok bool) {
	if e == nil || e.Held != "" || len(e.Recipients) == 0 {
		return 0, false
	}
	return nanos(e.Due()), true
}
