// Package optional owns kinds that another project brings, whose definition may be missing, or come while the operator
// runs: it notices that without a restart, and watches them from then on. It refuses to make one that is not there
// anybody's error.
package optional

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

const (
	// pause is how soon the API server is asked again whether it knows a kind.
	pause = 10 * time.Second
	// patience is how long a cache may take to fill: one that we may not list never does.
	patience = 5 * time.Second
)

// Options for New.
type Options struct {
	// Object is an empty one of the kind.
	Object client.Object
	// Namespaces are those that the operator may read; none for all.
	Namespaces map[string]cache.Config
	// Labels are those of the objects that matter.
	Labels labels.Selector
	Now    func() time.Time
}

// Kind is a kind that may be missing. It may be used by many goroutines.
type Kind struct {
	o      Options
	gvk    schema.GroupVersionKind
	mapper meta.RESTMapper
	cache  cache.Cache

	mu    sync.Mutex
	there bool
	asked time.Time
	// pending are the watches of those who want to be told; they begin when the kind is there.
	pending []func() error
}

// New returns a kind of a manager's cluster. It has a cache of its own: the manager's does not start with a kind missing.
func New(mgr ctrl.Manager, o Options) (*Kind, error) {
	gvk, err := apiutil.GVKForObject(o.Object, mgr.GetScheme())
	if err != nil {
		return nil, err
	}
	c, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		DefaultNamespaces: o.Namespaces, DefaultLabelSelector: o.Labels, DefaultTransform: cache.TransformStripManagedFields(),
	})
	if err != nil {
		return nil, fmt.Errorf("making the cache of %s: %w", gvk.Kind, err)
	}
	return &Kind{o: o, gvk: gvk, mapper: mgr.GetRESTMapper(), cache: c}, mgr.Add(c)
}

// Tell has a controller look at what an object concerns whenever one changes, once the kind is there.
func (k *Kind) Tell(c controller.Controller, concerned handler.MapFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pending = append(k.pending, func() error {
		return c.Watch(source.Kind(k.cache, k.o.Object, handler.EnqueueRequestsFromMapFunc(concerned)))
	})
}

// There says whether the API server knows the kind. Who gets no asks again: the watches begin with the first yes.
func (k *Kind) There() (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.there && k.o.Now().Sub(k.asked) < pause {
		return false, nil
	}
	if !k.there {
		k.asked = k.o.Now()
		_, err := k.mapper.RESTMapping(k.gvk.GroupKind(), k.gvk.Version)
		if Missing(err) {
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("asking for the kind %s: %w", k.gvk.Kind, err)
		}
		k.there = true
	}
	for len(k.pending) > 0 {
		if err := k.pending[0](); err != nil {
			return false, fmt.Errorf("watching %s: %w", k.gvk.Kind, err)
		}
		k.pending = k.pending[1:]
	}
	return true, nil
}

// Get reads an object from the cache; false if there is none. The kind must be there.
func (k *Kind) Get(ctx context.Context, key client.ObjectKey, into client.Object) (bool, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	err := k.cache.Get(ctx, key, into)
	if apierrors.IsNotFound(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("reading %s %s: %w", k.gvk.Kind, key, err)
	}
	return true, nil
}

// List reads objects from the cache. The kind must be there.
func (k *Kind) List(ctx context.Context, into client.ObjectList, options ...client.ListOption) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	if err := k.cache.List(ctx, into, options...); err != nil {
		return fmt.Errorf("listing %s: %w", k.gvk.Kind, err)
	}
	return nil
}

// Missing says that an error means that the API server does not know the kind, or not any more.
func Missing(err error) bool { return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) }
