package serviceaccount

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// Accounts are the ServiceAccounts of a cluster: their names and uids alone. They are watched from the first question
// on, and not at all where nobody asks. They may be used by many goroutines.
type Accounts struct {
	cache cache.Cache
	// namespaces are those that may be read; nil for all. In others there is no ServiceAccount, as far as we know.
	namespaces map[string]cache.Config

	mu sync.Mutex
	// pending are the watches of those who want to be told; nil once they have begun.
	pending []func() error
}

// NewAccounts returns the ServiceAccounts of a manager's cluster, or only of some namespaces. They have a cache of their
// own: the manager's holds only what bears our label.
func NewAccounts(mgr ctrl.Manager, namespaces map[string]cache.Config) (*Accounts, error) {
	c, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), DefaultTransform: strip,
		DefaultNamespaces: namespaces,
	})
	if err != nil {
		return nil, fmt.Errorf("making the cache of ServiceAccounts: %w", err)
	}
	return &Accounts{cache: c, namespaces: namespaces}, mgr.Add(c)
}

func (a *Accounts) readable(namespace string) bool {
	_, listed := a.namespaces[namespace]
	return a.namespaces == nil || listed
}

// Tell has a controller look at what a ServiceAccount concerns when one is made or deleted, once there was a question.
func (a *Accounts) Tell(c controller.Controller, concerned func(context.Context, types.NamespacedName) []ctrl.Request) {
	requests := handler.TypedEnqueueRequestsFromMapFunc(func(ctx context.Context, m *metav1.PartialObjectMetadata) []ctrl.Request {
		return concerned(ctx, types.NamespacedName{Namespace: m.Namespace, Name: m.Name})
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending = append(a.pending, func() error { return c.Watch(source.Kind(a.cache, kind(), requests, comesOrGoes())) })
}

// UID is that of a ServiceAccount; empty if there is none, or it is being deleted.
func (a *Accounts) UID(ctx context.Context, account types.NamespacedName) (types.UID, error) {
	if err := a.begin(); err != nil || !a.readable(account.Namespace) {
		return "", err
	}
	m := kind()
	err := a.cache.Get(ctx, account, m)
	switch {
	case apierrors.IsNotFound(err) || err == nil && m.DeletionTimestamp != nil:
		return "", nil
	case err != nil:
		return "", fmt.Errorf("looking for ServiceAccount %s: %w", account, err)
	}
	return m.UID, nil
}

// UIDs are those of all ServiceAccounts of a namespace, by name.
func (a *Accounts) UIDs(ctx context.Context, namespace string) (map[string]types.UID, error) {
	if err := a.begin(); err != nil || !a.readable(namespace) {
		return nil, err
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccountList"))
	if err := a.cache.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("listing the ServiceAccounts of %s: %w", namespace, err)
	}
	uids := make(map[string]types.UID, len(list.Items))
	for _, m := range list.Items {
		if m.DeletionTimestamp == nil {
			uids[m.Name] = m.UID
		}
	}
	return uids, nil
}

// begin begins the watches that have not begun.
func (a *Accounts) begin() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.pending) > 0 {
		if err := a.pending[0](); err != nil {
			return fmt.Errorf("watching ServiceAccounts: %w", err)
		}
		a.pending = a.pending[1:]
	}
	return nil
}

func kind() *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
	return m
}

// strip leaves of a ServiceAccount what is asked for, so that thousands take little memory.
func strip(o any) (any, error) {
	m, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return o, nil
	}
	m.ObjectMeta = metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion, DeletionTimestamp: m.DeletionTimestamp,
	}
	return m, nil
}

// comesOrGoes passes what changes an answer.
func comesOrGoes() predicate.TypedPredicate[*metav1.PartialObjectMetadata] {
	return predicate.TypedFuncs[*metav1.PartialObjectMetadata]{
		UpdateFunc: func(e event.TypedUpdateEvent[*metav1.PartialObjectMetadata]) bool {
			return e.ObjectOld.UID != e.ObjectNew.UID || e.ObjectOld.DeletionTimestamp.IsZero() != e.ObjectNew.DeletionTimestamp.IsZero()
		},
	}
}
