package mailrelay

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/controllers/pki"
	"github.com/postrider/postrider/controllers/probe"
)

const (
	// authoritySecret holds the authority, in the operator's namespace.
	authoritySecret = "postrider-ca"
	authorityCerts  = "ca.crt"
	authorityKeys   = "ca.key"
	// identityFresh is how long the authority is believed to be as it was read.
	identityFresh = 10 * time.Minute
)

// Identity is who the operator is to its relays: an authority that is kept in a Secret, and a client
// certificate that is kept in memory, since any that the authority signs will do.
type Identity struct {
	// Client reads Secrets without a cache, and writes.
	Client    client.Client
	Namespace string
	Now       func() time.Time

	mu        sync.Mutex
	authority *pki.Authority
	read      time.Time
	leaf      pki.Leaf
	shown     probe.Credentials
}

// Authority returns the authority, made or renewed if that is due.
func (i *Identity) Authority(ctx context.Context) (*pki.Authority, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.Now()
	if i.authority != nil && now.Sub(i.read) < identityFresh {
		return i.authority, nil
	}
	authority, err := i.load(ctx, now)
	if err != nil {
		return nil, fmt.Errorf("the operator's authority: %w", err)
	}
	leaf, _, err := authority.Ensure(i.leaf, pki.OperatorRequest(), now)
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(leaf.Certificate, leaf.Key)
	if err != nil {
		return nil, err
	}
	i.authority, i.read, i.leaf = authority, now, leaf
	i.shown = probe.Credentials{Certificate: certificate, Roots: authority.Pool()}
	return authority, nil
}

// Credentials are for asking relays; empty before the first call of Authority.
func (i *Identity) Credentials() probe.Credentials {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.shown
}

// load reads the authority and stores it again if it has changed. Two operators at the same time are told apart
// by the resource version: one fails and reads again.
func (i *Identity) load(ctx context.Context, now time.Time) (*pki.Authority, error) {
	s := &corev1.Secret{}
	err := i.Client.Get(ctx, client.ObjectKey{Namespace: i.Namespace, Name: authoritySecret}, s)
	if client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	var old *pki.Authority
	if err == nil {
		if old, err = pki.ParseAuthority(s.Data[authorityCerts], s.Data[authorityKeys]); err != nil {
			return nil, fmt.Errorf("secret %s/%s: %w; delete it to have another made", i.Namespace, authoritySecret, err)
		}
	}
	next, changed, err := pki.Renew(old, now)
	if err != nil || !changed {
		return next, err
	}
	return next, i.store(ctx, s, next)
}

func (i *Identity) store(ctx context.Context, s *corev1.Secret, authority *pki.Authority) error {
	certs, keys, err := authority.Encode()
	if err != nil {
		return err
	}
	s.Data = map[string][]byte{authorityCerts: certs, authorityKeys: keys}
	if s.ResourceVersion != "" {
		return i.Client.Update(ctx, s)
	}
	s.ObjectMeta = metav1.ObjectMeta{Namespace: i.Namespace, Name: authoritySecret, Labels: map[string]string{"app.kubernetes.io/managed-by": "postrider"}}
	return i.Client.Create(ctx, s)
}
