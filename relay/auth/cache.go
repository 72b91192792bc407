package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

// cacheSize bounds a cache; each entry is one secret that was right.
const cacheSize = 10_000

// cache remembers what was found out about secrets that were right, under a hash that is worth nothing outside this
// process.
type cache[V any] struct {
	secret  []byte
	mu      sync.Mutex
	entries map[digest]entry[V]
}

type digest [sha256.Size]byte

type entry[V any] struct {
	value   V
	expires time.Time
}

func newCache[V any]() cache[V] {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails
	return cache[V]{secret: secret, entries: make(map[digest]entry[V])}
}

// key stands for these parts in this order, and for no others.
func (c *cache[V]) key(parts ...string) (key digest) {
	mac := hmac.New(sha256.New, c.secret)
	var length [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	mac.Sum(key[:0])
	return key
}

func (c *cache[V]) get(key digest, now time.Time) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	return e.value, now.Before(e.expires)
}

func (c *cache[V]) add(key digest, value V, expires time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= cacheSize {
		clear(c.entries)
	}
	c.entries[key] = entry[V]{value, expires}
}
