// Package serviceaccount owns what a relay needs to know of a cluster in order to verify tokens of ServiceAccounts
// by itself: the keys that the API server signs them with, and which ServiceAccounts there are. It refuses to judge
// tokens and to make any, and it never reads more of a ServiceAccount than its metadata.
package serviceaccount

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/postrider/postrider/relay/config"
)

const (
	// keysFresh is how long keys are believed. An API server that begins to sign with another key has usually shown it
	// before.
	keysFresh = 5 * time.Minute
	// keysPause is how soon keys are fetched again at the earliest, when a relay wants them or it failed.
	keysPause = 10 * time.Second
	// keysTimeout bounds a fetch.
	keysTimeout = 5 * time.Second
	// keysMax is how many octets they may have.
	keysMax = 64 << 10
)

// Keys are those that the API server signs tokens with. They may be used by many goroutines.
type Keys struct {
	fetch func(ctx context.Context) ([]byte, error)
	now   func() time.Time

	mu sync.Mutex
	// encoded are the last ones that were fetched, err why there are no newer ones.
	encoded []byte
	err     error
	asked   time.Time
	wanted  bool
}

// NewKeys returns the keys of a manager's API server.
func NewKeys(mgr ctrl.Manager, now func() time.Time) (*Keys, error) {
	client, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("making a client for the API server's keys: %w", err)
	}
	return &Keys{now: now, fetch: func(ctx context.Context) ([]byte, error) { return fetch(ctx, client.RESTClient()) }}, nil
}

// Encoded returns the keys as a config.TokenKeys in JSON, as they were at most five minutes ago. Where the newest could
// not be had there is an error too, and the keys are older, or nil if none have ever been fetched.
func (k *Keys) Encoded(ctx context.Context) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := k.now().Sub(k.asked)
	if fresh := k.err == nil && !k.wanted; k.asked.IsZero() || age >= keysFresh || age >= keysPause && !fresh {
		ctx, cancel := context.WithTimeout(ctx, keysTimeout)
		defer cancel()
		k.asked, k.wanted = k.now(), false
		var encoded []byte
		if encoded, k.err = k.fetch(ctx); k.err == nil {
			k.encoded = encoded
		}
	}
	return k.encoded, k.err
}

// Want makes Encoded fetch the keys anew, and says whether the next call will: they are not fetched more often than
// every ten seconds, whatever relays are shown.
func (k *Keys) Want() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wanted = true
	return k.now().Sub(k.asked) >= keysPause
}

// fetch asks the API server who it is and what it signs with (OpenID Connect Discovery 1.0 §4). The keys are those
// that it serves itself, wherever it says that the world finds them.
func fetch(ctx context.Context, client rest.Interface) ([]byte, error) {
	discovered, err := client.Get().AbsPath("/.well-known/openid-configuration").Do(ctx).Raw()
	if err != nil {
		return nil, fmt.Errorf("asking the API server for its issuer: %w", err)
	}
	set, err := client.Get().AbsPath("/openid/v1/jwks").Do(ctx).Raw()
	if err != nil {
		return nil, fmt.Errorf("asking the API server for its keys: %w", err)
	}
	return encode(discovered, set)
}

// encode brings what was fetched into one form, so that the same keys are the same octets.
func encode(discovered, set []byte) ([]byte, error) {
	var found struct {
		Issuer string `json:"issuer"`
	}
	if len(discovered)+len(set) > keysMax {
		return nil, fmt.Errorf("the API server's keys have more than %d octets", keysMax)
	}
	if err := json.Unmarshal(discovered, &found); err != nil {
		return nil, fmt.Errorf("decoding the API server's issuer: %w", err)
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(set, &keys); err != nil {
		return nil, fmt.Errorf("decoding the API server's keys: %w", err)
	}
	keys.Keys = slices.DeleteFunc(keys.Keys, func(k jose.JSONWebKey) bool { return !public(k) })
	if found.Issuer == "" || len(keys.Keys) == 0 {
		return nil, errors.New("the API server names no issuer, or shows no RSA or EC key")
	}
	slices.SortFunc(keys.Keys, func(a, b jose.JSONWebKey) int { return cmp.Compare(a.KeyID, b.KeyID) })
	sorted, err := json.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("encoding the API server's keys: %w", err)
	}
	encoded, err := json.Marshal(config.TokenKeys{Issuer: found.Issuer, Keys: sorted})
	if err != nil {
		return nil, fmt.Errorf("encoding the API server's keys: %w", err)
	}
	return append(encoded, '\n'), nil
}

// public says whether a key may be shown around. What it is good for is for the relay to say.
func public(k jose.JSONWebKey) bool {
	switch k.Key.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
		return true
	default:
		return false
	}
}
