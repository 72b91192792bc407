// Package auth decides whether a user name and a password belong together. It owns the users of a listener, read
// from an htpasswd file with bcrypt hashes, and bounds what checking them may cost. It knows no SASL mechanism and
// not what a user may do.
package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/postrider/postrider/relay/reply"
)

// The replies of Check (RFC 4954 §6). Being overloaded, or without users, says nothing about the password, so it is
// temporary.
var (
	ErrWrong = reply.Reply{Code: 535, Enhanced: "5.7.8", Text: "Authentication credentials invalid"}
	ErrBusy  = reply.Reply{Code: 454, Enhanced: "4.7.0", Text: "Temporary authentication failure"}
)

const (
	// cacheFor is how long a password that was right is not computed again.
	cacheFor = 5 * time.Minute
	// cacheSize bounds the cache; each entry is one pair of user and password that was right.
	cacheSize = 10_000
	// queuePerWorker is how many checks may wait for each one that runs: at 70 ms each, about 4 s.
	queuePerWorker = 64
)

// Users checks passwords. The zero value is not usable; see New. It is safe for concurrent use.
type Users struct {
	now   func() time.Time
	table atomic.Pointer[table]
	// workers holds a token per bcrypt computation that may run, waiting one per check that may wait besides.
	workers, waiting chan struct{}
	cache            cache
}

// New returns Users that cannot say anything before Load.
func New() *Users {
	n := runtime.NumCPU()
	u := &Users{
		now:     time.Now,
		workers: make(chan struct{}, n),
		waiting: make(chan struct{}, n*(queuePerWorker+1)),
		cache:   newCache(),
	}
	return u
}

// Check returns nil when password is user's. Otherwise its error is ErrWrong, or ErrBusy when the answer could not
// be had in time, when no users file has been read yet, or when the user's line in it cannot be used. A name that nobody has costs as much as a wrong password.
func (u *Users) Check(ctx context.Context, user, password string) error {
	t := u.table.Load()
	if t == nil || t.unusable(user) {
		return ErrBusy
	}
	hash, known := t.hashes[user]
	if !known {
		hash = t.decoy
	}
	if hash == nil {
		return ErrWrong // nobody is known: there is nothing to hide
	}
	key := u.cache.key(user, hash, password)
	if known && u.cache.has(key, u.now()) {
		return nil
	}
	right, err := u.compare(ctx, hash, password)
	switch {
	case err != nil:
		return ErrBusy
	case !right || !known:
		return ErrWrong
	}
	u.cache.add(key, u.now().Add(cacheFor))
	return nil
}

// compare computes one bcrypt hash when it is its turn.
func (u *Users) compare(ctx context.Context, hash []byte, password string) (bool, error) {
	select {
	case u.waiting <- struct{}{}:
		defer func() { <-u.waiting }()
	default:
		return false, ErrBusy
	}
	select {
	case u.workers <- struct{}{}:
		defer func() { <-u.workers }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil, nil
}

// cache remembers passwords that were right, under a hash that is worth nothing outside this process. The stored
// bcrypt hash is part of the key: a password that was changed is not in the cache.
type cache struct {
	secret  []byte
	mu      sync.Mutex
	expires map[[sha256.Size]byte]time.Time
}

func newCache() cache {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails
	return cache{secret: secret, expires: make(map[[sha256.Size]byte]time.Time)}
}

func (c *cache) key(user string, hash []byte, password string) (key [sha256.Size]byte) {
	mac := hmac.New(sha256.New, c.secret)
	mac.Write([]byte(user))
	mac.Write([]byte{0})
	mac.Write(hash)
	mac.Write([]byte{0})
	mac.Write([]byte(password))
	mac.Sum(key[:0])
	return key
}

func (c *cache) has(key [sha256.Size]byte, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Before(c.expires[key])
}

func (c *cache) add(key [sha256.Size]byte, expires time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.expires) >= cacheSize {
		clear(c.expires)
	}
	c.expires[key] = expires
}
