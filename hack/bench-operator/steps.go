package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/dkimkey"
	"github.com/postrider/postrider/controllers/programmed"
)

const (
	// patience is how long anything may take that is waited for; slow is how long all objects together may.
	patience, slow = time.Minute, time.Hour
	// settles is how long the operator is left alone before it counts as at rest: twice the time in which it looks at
	// everything once.
	settles = 40 * time.Second
	// stays is how long everything must be as it should, to count.
	stays = 2 * time.Second
	// apart is the time between two changes.
	apart = 50 * time.Millisecond
)

// reconcileAll starts the operator, as one that starts anew beside all that there is, and waits until status says that
// every domain is verified and every relay has everything in force.
func (b *bench) reconcileAll(ctx context.Context) error {
	began := time.Now()
	if err := b.startOperator(); err != nil {
		return err
	}
	if b.options.profile != "" {
		b.ending.Go(func() { _ = b.operator.profile(ctx, "profile?seconds=30", b.options.profile, "reconcile-cpu") })
	}
	done, err := b.allDone(ctx, began)
	if err != nil {
		return err
	}
	b.results.ReconciledSeconds = done.Sub(began).Seconds()
	used, err := b.operator.processor()
	if err != nil {
		return err
	}
	b.results.ReconciledCPUSeconds = used.Seconds()
	counts, err := b.cluster.audit(began, time.Now())
	b.results.ReconciledRequests = counts
	return errors.Join(err, b.operator.profile(ctx, "heap", b.options.profile, "heap"))
}

// allDone waits until nothing is left to do, and says since when. A relay has nothing left for a moment before it hears of
// its last domain: it must stay so.
func (b *bench) allDone(ctx context.Context, began time.Time) (since time.Time, err error) {
	said := time.Now()
	for {
		relays, domains, err := b.watch.left(ctx)
		switch {
		case err != nil:
			return since, err
		case relays+domains > 0:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > stays:
			return since, nil
		}
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			fmt.Printf("    %.0f s: %d relays and %d domains left\n", time.Since(began).Seconds(), relays, domains)
		}
		if time.Since(began) > slow {
			return since, fmt.Errorf("%d relays and %d domains are not there after %v", relays, domains, slow)
		}
		if err := b.pause(ctx, 250*time.Millisecond); err != nil {
			return since, err
		}
	}
}

// pause waits, unless it is told to stop or the operator ends.
func (b *bench) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-b.operator.ended:
		return fmt.Errorf("the operator ended: %w", b.operator.failed)
	case <-time.After(d):
		return nil
	}
}

// atRest watches the operator while nothing changes: what it writes, reads and uses.
func (b *bench) atRest(ctx context.Context) error {
	if err := b.pause(ctx, settles); err != nil {
		return err
	}
	began := time.Now()
	before, err := b.operator.processor()
	if err != nil {
		return err
	}
	if b.options.profile != "" {
		b.ending.Go(func() { _ = b.operator.profile(ctx, "profile?seconds=30", b.options.profile, "rest-cpu") })
	}
	if err := b.pause(ctx, b.options.rest); err != nil {
		return err
	}
	took := time.Since(began)
	after, err := b.operator.processor()
	if err != nil {
		return err
	}
	counts, err := b.cluster.audit(began, began.Add(took))
	if err != nil {
		return err
	}
	r := &b.results
	r.RestSeconds, r.RestRequests = took.Seconds(), counts
	r.RestWritesPerMinute = float64(sum(counts.Writes)) / took.Minutes()
	r.RestReadsPerMinute = float64(sum(counts.Reads)) / took.Minutes()
	r.RestCores = (after - before).Seconds() / took.Seconds()
	r.MemoryNow, r.MemoryMost, err = b.operator.memory()
	return err
}

// change changes specs, one after the other, and waits for what follows from each.
func (b *bench) change(ctx context.Context) error {
	for n := range b.options.changes {
		if err := b.changeRelay(ctx, rand.N(b.options.relays), n); err != nil {
			return err
		}
		if err := b.changeDomain(ctx, rand.N(b.options.domains), n); err != nil {
			return err
		}
	}
	return nil
}

// changeRelay times how long a new postmaster takes to the ConfigMap, and to status saying that it is in force.
func (b *bench) changeRelay(ctx context.Context, i, n int) error {
	key, value := b.relayKey(i), fmt.Sprintf("ops%d@example.com", n)
	child := b.watch.expect(&corev1.ConfigMap{ObjectMeta: named(key)}, func(o client.Object) bool {
		return o.GetName() == programmed.ConfigMapName(key.Name) && holds(o, value)
	})
	relay := &v1alpha1.MailRelay{ObjectMeta: named(key)}
	said := b.watch.expect(relay, func(o client.Object) bool {
		r, ok := o.(*v1alpha1.MailRelay)
		return ok && r.Name == key.Name && string(r.Spec.Postmaster) == value && current(o)
	})
	began := time.Now()
	patch := fmt.Sprintf(`{"spec":{"postmaster":%q}}`, value)
	if err := b.patch(ctx, relay, patch); err != nil {
		return err
	}
	return errors.Join(b.await(ctx, child, began, &b.results.ChildSeconds), b.await(ctx, said, began, &b.results.InForceSeconds), b.pause(ctx, apart))
}

// changeDomain times how long the weight of a domain takes to the ConfigMap of its shard.
func (b *bench) changeDomain(ctx context.Context, i, n int) error {
	key, weight := b.domainKey(i), 11+n%80
	domain := &v1alpha1.SendingDomain{ObjectMeta: named(key)}
	name, want := string(b.domain(i).Spec.Domain), fmt.Sprintf(`"weight":%d`, weight)
	seen := b.watch.expect(&corev1.ConfigMap{ObjectMeta: named(key)}, func(o client.Object) bool { return holds(o, name) && holds(o, want) })
	began := time.Now()
	if err := b.patch(ctx, domain, fmt.Sprintf(`{"spec":{"weight":%d}}`, weight)); err != nil {
		return err
	}
	return errors.Join(b.await(ctx, seen, began, &b.results.DomainChildSeconds), b.pause(ctx, apart))
}

// holds says that a ConfigMap has a text somewhere.
func holds(o client.Object, text string) bool {
	c, ok := o.(*corev1.ConfigMap)
	if !ok {
		return false
	}
	for _, content := range c.Data {
		if strings.Contains(content, text) {
			return true
		}
	}
	return false
}

func (b *bench) patch(ctx context.Context, o client.Object, patch string) error {
	return b.cluster.client.Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// await notes how long something took.
func (b *bench) await(ctx context.Context, seen <-chan time.Time, began time.Time, took *[]float64) error {
	select {
	case at := <-seen:
		*took = append(*took, at.Sub(began).Seconds())
		return nil
	case <-time.After(patience):
		return fmt.Errorf("nothing came of a change within %v", patience)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// staleness has all pods say another number at the same moment, and times how long each relay's status takes to say it.
func (b *bench) staleness(ctx context.Context) error {
	const queued = 4711
	var seen []<-chan time.Time
	for i := range b.options.relays {
		seen = append(seen, b.watch.expect(b.relay(i), func(o client.Object) bool {
			r, ok := o.(*v1alpha1.MailRelay)
			return ok && r.Name == b.relayKey(i).Name && r.Status.Queue != nil && r.Status.Queue.Queued == queued
		}))
	}
	began := time.Now()
	b.nodes.queued.Store(queued)
	for _, one := range seen {
		if err := b.await(ctx, one, began, &b.results.StaleSeconds); err != nil {
			return err
		}
	}
	return nil
}

// makeKeys times the making of keys by itself, and then of domains without any.
func (b *bench) makeKeys(ctx context.Context) error {
	const pairs = 20
	began := time.Now()
	for range pairs {
		if _, err := dkimkey.Generate("bench", algorithms()); err != nil {
			return err
		}
	}
	b.results.KeyPairSeconds = time.Since(began).Seconds() / pairs
	began = time.Now()
	for i := range b.options.keyless {
		domain := b.domain(b.options.domains + i)
		domain.Spec.DNS.Gates = []v1alpha1.DNSGate{} // DNS does not know these keys
		if err := b.cluster.client.Create(ctx, domain); err != nil {
			return err
		}
	}
	done, err := b.allDone(ctx, began)
	b.results.Keyless, b.results.KeylessSeconds = b.options.keyless, done.Sub(began).Seconds()
	return err
}
