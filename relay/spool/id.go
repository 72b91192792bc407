package spool

import (
	"crypto/rand"
	"encoding/binary"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/relay/envelope"
)

// alphabet is Crockford's base 32: no letter can be taken for a digit, and the order of the characters is that
// of their values.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// An id is 10 characters of milliseconds since 1970 and 10 of chance.
const (
	idHalf = 10
	idLen  = 2 * idHalf
)

// ids makes spool ids. Within a process they are distinct for certain; between pods by 50 bits of chance per
// millisecond.
type ids struct {
	mu    sync.Mutex
	milli uint64
	low   uint64
}

func (g *ids) next(now time.Time) envelope.ID {
	milli := uint64(now.UnixMilli())
	g.mu.Lock()
	defer g.mu.Unlock()
	if milli == g.milli {
		g.low++
	} else {
		g.milli, g.low = milli, chance()
	}
	b := make([]byte, idLen)
	base32(b[:idHalf], g.milli)
	base32(b[idHalf:], g.low)
	return envelope.ID(b)
}

// chance is 49 random bits: the fiftieth leaves room to count up.
func chance() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: the runtime ends the process instead
	return binary.LittleEndian.Uint64(b[:]) >> 15
}

func base32(b []byte, v uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = alphabet[v%32]
		v /= 32
	}
}

// AcceptedAt is the time in an id, to the millisecond; zero when it is not one of ours.
func AcceptedAt(id envelope.ID) time.Time {
	if len(id) != idLen {
		return time.Time{}
	}
	var milli int64
	for i := range idHalf {
		v := strings.IndexByte(alphabet, id[i])
		if v < 0 {
			return time.Time{}
		}
		milli = milli*32 + int64(v)
	}
	return time.UnixMilli(milli).UTC()
}
