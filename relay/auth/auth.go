// Package auth decides who a client is: by a user name and a password that belong together, or by a token that the
// cluster signed. It owns the users of a listener, read from an htpasswd file with bcrypt hashes, and the keys and
// accounts that tokens are held against; it asks nobody, and bounds what a check may cost. It knows no SASL mechanism
// and not what a user may do.
package auth

import (
	"context"
	"runtime"
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
	// cacheFor is how long a password or a token that was right is not computed again.
	cacheFor = 5 * time.Minute
	// queuePerWorker is how many checks may wait for each one that runs: at 70 ms each, about 4 s.
	queuePerWorker = 64
)

// Users checks passwords. The zero value is not usable; see New. It is safe for concurrent use.
type Users struct {
	now   func() time.Time
	table atomic.Pointer[table]
	// workers holds a token per bcrypt computation that may run, waiting one per check that may wait besides.
	workers, waiting chan struct{}
	// cache holds the pairs of user and password that were right.
	cache cache[struct{}]
}

// New returns Users that cannot say anything before Load.
func New() *Users {
	n := runtime.NumCPU()
	u := &Users{
		now:     time.Now,
		workers: make(chan struct{}, n),
		waiting: make(chan struct{}, n*(queuePerWorker+1)),
		cache:   newCache[struct{}](),
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
	key := u.cache.key(user, string(hash), password) // with the hash: a password that was changed is not in the cache
	if _, right := u.cache.get(key, u.now()); known && right {
		return nil
	}
	right, err := u.compare(ctx, hash, password)
	switch {
	case err != nil:
		return ErrBusy
	case !right || !known:
		return ErrWrong
	}
	u.cache.add(key, struct{}{}, u.now().Add(cacheFor))
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
