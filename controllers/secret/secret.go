// Package secret owns how Secrets are read: one by one, by their exact names, never listed or watched, so that
// the operator needs no right to either. What was read is believed for a while, since polls are frequent.
package secret

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Options for New.
type Options struct {
	// Client reads Secrets without a cache.
	Client client.Reader
	// Keep is how long what was read is believed at most; each time is up to a quarter shorter, so that reads
	// spread out.
	Keep time.Duration
	Now  func() time.Time
}

// Reader reads Secrets. It may be used by many goroutines.
type Reader struct {
	o    Options
	mu   sync.Mutex
	kept map[client.ObjectKey]entry
	// swept is when what nobody asks for any more was last dropped.
	swept time.Time
}

type entry struct {
	data  map[string][]byte
	found bool
	until time.Time
}

// New returns a Reader.
func New(o Options) *Reader { return &Reader{o: o, kept: map[client.ObjectKey]entry{}} }

// Data returns what a Secret holds and whether there is one. The map must not be changed.
func (r *Reader) Data(ctx context.Context, namespace, name string) (data map[string][]byte, found bool, err error) {
	key := client.ObjectKey{Namespace: namespace, Name: name}
	if e, ok := r.recall(key); ok {
		return e.data, e.found, nil
	}
	return r.Fresh(ctx, namespace, name)
}

// Fresh is Data as it stands in the API server now.
func (r *Reader) Fresh(ctx context.Context, namespace, name string) (data map[string][]byte, found bool, err error) {
	key := client.ObjectKey{Namespace: namespace, Name: name}
	var s corev1.Secret
	err = r.o.Client.Get(ctx, key, &s)
	if client.IgnoreNotFound(err) != nil {
		return nil, false, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	r.keep(key, s.Data, !apierrors.IsNotFound(err))
	return s.Data, err == nil, nil
}

// Forget makes the next Data read anew: the Secret was written.
func (r *Reader) Forget(namespace, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.kept, client.ObjectKey{Namespace: namespace, Name: name})
}

func (r *Reader) recall(key client.ObjectKey) (entry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.kept[key]
	return e, ok && r.o.Now().Before(e.until)
}

// keep remembers.
func (r *Reader) keep(key client.ObjectKey, data map[string][]byte, found bool) {
	now := r.o.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(now)
	r.kept[key] = entry{data: data, found: found, until: now.Add(r.o.Keep - rand.N(r.o.Keep/4))}
}

// sweep drops what nobody has asked for in time. It goes through all, and so not at every turn.
func (r *Reader) sweep(now time.Time) {
	if now.Sub(r.swept) < r.o.Keep {
		return
	}
	r.swept = now
	for k, e := range r.kept {
		if now.After(e.until.Add(r.o.Keep)) {
			delete(r.kept, k)
		}
	}
}
