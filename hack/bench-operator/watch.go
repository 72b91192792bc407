package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
)

// uncached are the kinds that are read as they are at the moment.
func uncached() []client.Object { return []client.Object{&corev1.Secret{}} }

// watch sees objects as the API server tells of them, and when.
type watch struct {
	cache cache.Cache

	mu      sync.Mutex
	awaited map[string][]*awaited
}

// awaited is a change that somebody waits for.
type awaited struct {
	is   func(client.Object) bool
	seen chan time.Time
}

func newWatch(c cache.Cache) *watch { return &watch{cache: c, awaited: map[string][]*awaited{}} }

func (w *watch) setUp(ctx context.Context) error {
	for _, object := range []client.Object{&v1alpha1.MailRelay{}, &v1alpha1.SendingDomain{}, &corev1.ConfigMap{}} {
		informer, err := w.cache.GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err != nil {
			return err
		}
		handler := toolscache.ResourceEventHandlerFuncs{AddFunc: w.saw, UpdateFunc: func(_, o any) { w.saw(o) }}
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	return nil
}

// keyOf is what changes are looked for by: the kind and the namespace.
func keyOf(o client.Object) string { return fmt.Sprintf("%T %s", o, o.GetNamespace()) }

func (w *watch) saw(object any) {
	now := time.Now()
	o, ok := object.(client.Object)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key := keyOf(o)
	rest := w.awaited[key][:0]
	for _, a := range w.awaited[key] {
		if a.is(o) {
			a.seen <- now
			continue
		}
		rest = append(rest, a)
	}
	w.awaited[key] = rest
	if len(rest) == 0 {
		delete(w.awaited, key)
	}
}

// expect says on a channel when an object of the kind and namespace of o has become as wanted. It must be asked before that
// is brought about.
func (w *watch) expect(o client.Object, is func(client.Object) bool) <-chan time.Time {
	a := &awaited{is: is, seen: make(chan time.Time, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.awaited[keyOf(o)] = append(w.awaited[keyOf(o)], a)
	return a.seen
}

// current says of a relay that what its spec asks is in force in its pods, as its status says.
func current(o client.Object) bool {
	r, ok := o.(*v1alpha1.MailRelay)
	if !ok || r.Status.ObservedGeneration != r.Generation {
		return false
	}
	conditions := r.Status.Conditions
	return meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) && meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionConfigCurrent)
}

func verified(d *v1alpha1.SendingDomain) bool {
	return d.Status.ObservedGeneration == d.Generation && d.Status.DKIM.ActiveSelector != "" &&
		meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionReady)
}

// left counts the relays and domains that are not there yet.
func (w *watch) left(ctx context.Context) (relays, domains int, err error) {
	var all v1alpha1.MailRelayList
	if err := w.cache.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return 0, 0, err
	}
	for i := range all.Items {
		if !current(&all.Items[i]) {
			relays++
		}
	}
	var list v1alpha1.SendingDomainList
	if err := w.cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return 0, 0, err
	}
	for i := range list.Items {
		if !verified(&list.Items[i]) {
			domains++
		}
	}
	return relays, domains, nil
}
