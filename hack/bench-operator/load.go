package main

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/dkimkey"
)

// makers is how many objects are made at the same time.
const makers = 16

// load makes the objects, and the Secrets with DKIM keys, as a restored backup would hold them.
func (b *bench) load(ctx context.Context) error {
	for i := range b.options.namespaces {
		if err := b.cluster.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace(i)}}); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(makers)
	for i := range b.options.relays {
		group.Go(func() error { return b.cluster.client.Create(ctx, b.relay(i)) })
	}
	for i := range b.options.domains {
		group.Go(func() error {
			if err := b.cluster.client.Create(ctx, b.keySecret(i)); err != nil {
				return err
			}
			return b.cluster.client.Create(ctx, b.domain(i))
		})
	}
	return group.Wait()
}

func namespace(i int) string { return fmt.Sprintf("tenant-%02d", i) }

// relayKey names a relay; domainKey a domain, which is in the namespace of its relay.
func (b *bench) relayKey(i int) client.ObjectKey {
	return client.ObjectKey{Namespace: namespace(i % b.options.namespaces), Name: fmt.Sprintf("relay-%04d", i)}
}

func (b *bench) domainKey(i int) client.ObjectKey {
	return client.ObjectKey{Namespace: b.relayKey(i % b.options.relays).Namespace, Name: fmt.Sprintf("domain-%05d", i)}
}

func named(key client.ObjectKey) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}
}

func (b *bench) relay(i int) *v1alpha1.MailRelay {
	return &v1alpha1.MailRelay{
		ObjectMeta: named(b.relayKey(i)),
		Spec: v1alpha1.MailRelaySpec{
			Replicas: 1, Hostname: "mx.example", Postmaster: "ops@example.com",
			Listeners: []v1alpha1.Listener{{Name: "smtp", Port: 25, Mode: v1alpha1.ListenerRelay}},
			Queue:     v1alpha1.Queue{Storage: v1alpha1.Storage{Size: resource.MustParse("1Gi")}},
			DNS:       v1alpha1.DNS{Resolvers: []v1alpha1.Resolver{v1alpha1.Resolver(b.dns.address())}},
		},
	}
}

func (b *bench) domain(i int) *v1alpha1.SendingDomain {
	return &v1alpha1.SendingDomain{
		ObjectMeta: named(b.domainKey(i)),
		Spec: v1alpha1.SendingDomainSpec{
			Domain:   v1alpha1.DomainName(fmt.Sprintf("domain-%05d.example", i)),
			RelayRef: v1alpha1.RelayReference{Name: v1alpha1.ObjectName(b.relayKey(i % b.options.relays).Name)},
		},
	}
}

func (b *bench) keySecret(i int) *corev1.Secret {
	key := b.domainKey(i)
	return &corev1.Secret{ObjectMeta: named(client.ObjectKey{Namespace: key.Namespace, Name: dkimkey.SecretName(key.Name)}), Data: b.keys.Encode()}
}
