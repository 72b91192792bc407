// Package apply owns how desired objects become live ones: server-side apply under one field owner, no
// request at all when the live object already is as desired, and pruning of what is desired no longer.
// It refuses to know what the objects mean, and it never deletes a PersistentVolumeClaim.
package apply

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// FieldOwner owns every field that the operator applies.
const FieldOwner = "postrider"

// settle is how long a cache may lag behind our own creation of an object.
const settle = 2 * time.Second

// Options for New.
type Options struct {
	// Client reads from caches where there are any, and writes.
	Client client.Client
	// Live says that objects of this type have no cache: each read is a request.
	Live func(client.Object) bool
	// Recheck is how long a live object that was seen to be as desired is believed to stay so.
	Recheck time.Duration
	Now     func() time.Time
}

// Applier applies objects. It may be used by many goroutines.
type Applier struct {
	o    Options
	mu   sync.Mutex
	seen map[key]sighting
}

// sighting is what an object was when it was last known to be as desired.
type sighting struct {
	digest  string
	version string
	at      time.Time
}

// New returns an Applier.
func New(o Options) *Applier {
	return &Applier{o: o, seen: map[key]sighting{}}
}

// Apply makes the live object as desired and says whether that took a request that writes. Fields that others
// own stay as they are; where both set one, ours wins.
func (a *Applier) Apply(ctx context.Context, desired client.Object) (bool, error) {
	want, err := a.document(desired)
	if err != nil {
		return false, err
	}
	if fresh, err := a.asDesired(ctx, want, a.o.Live(desired)); err != nil || fresh {
		return false, err
	}
	err = a.o.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(want.Unstructured), client.FieldOwner(FieldOwner), client.ForceOwnership)
	if err != nil {
		return false, fmt.Errorf("applying %s: %w", want.key, err)
	}
	a.remember(want, want.GetResourceVersion())
	return true, nil
}

// asDesired says that no request is needed, as far as memory, cache or, for kinds without one, the server tell.
func (a *Applier) asDesired(ctx context.Context, want document, live bool) (bool, error) {
	last, known := a.recall(want.key)
	known = known && last.digest == want.digest
	age := a.o.Now().Sub(last.at)
	if live && known && age < a.o.Recheck {
		return true, nil
	}
	current, err := a.read(ctx, want)
	switch {
	case apierrors.IsNotFound(err):
		return !live && known && age < settle, nil
	case err != nil:
		return false, fmt.Errorf("reading %s: %w", want.key, err)
	case !live && known && !Newer(current.GetResourceVersion(), last.version):
		return true, nil
	case !matches(want.Object, current.Object):
		return false, nil
	}
	a.remember(want, current.GetResourceVersion())
	return true, nil
}

// read gets the live object as a typed one, since that is what caches hold.
func (a *Applier) read(ctx context.Context, want document) (*unstructured.Unstructured, error) {
	object, err := a.o.Client.Scheme().New(want.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	typed, ok := object.(client.Object)
	if !ok {
		return nil, fmt.Errorf("%T is not an object", object)
	}
	if err := a.o.Client.Get(ctx, want.key.ObjectKey, typed); err != nil {
		return nil, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(want.GroupVersionKind())
	return u, nil
}

// Delete deletes an object; one that is not there is no error. The object may be empty but for its name.
func (a *Applier) Delete(ctx context.Context, object client.Object) error {
	gvk, err := apiutil.GVKForObject(object, a.o.Client.Scheme())
	if err != nil {
		return fmt.Errorf("the kind of %T: %w", object, err)
	}
	a.drop(keyOf(gvk, object))
	err = a.o.Client.Delete(ctx, object, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %T %s: %w", object, client.ObjectKeyFromObject(object), err)
	}
	return nil
}

// Prune deletes those of the existing objects that are not among the desired ones. Claims are never pruned:
// they may hold mail.
func (a *Applier) Prune(ctx context.Context, existing, desired []client.Object) error {
	var failed []error
	for _, object := range existing {
		if _, claim := object.(*corev1.PersistentVolumeClaim); claim || !object.GetDeletionTimestamp().IsZero() {
			continue
		}
		if !slices.ContainsFunc(desired, func(d client.Object) bool { return same(d, object) }) {
			failed = append(failed, a.Delete(ctx, object))
		}
	}
	return errors.Join(failed...)
}

// same compares the identity of two objects of the same Go types.
func same(a, b client.Object) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && client.ObjectKeyFromObject(a) == client.ObjectKeyFromObject(b)
}

func (a *Applier) recall(k key) (sighting, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.seen[k]
	return s, ok
}

func (a *Applier) remember(d document, version string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen[d.key] = sighting{digest: d.digest, version: version, at: a.o.Now()}
}

// drop makes the next Apply of an object look: it may be gone.
func (a *Applier) drop(k key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.seen, k)
}

// Forget drops what is remembered of a namespace's objects whose names begin with prefix: their owner is gone.
func (a *Applier) Forget(namespace, prefix string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k := range a.seen {
		if k.Namespace == namespace && strings.HasPrefix(k.Name, prefix) {
			delete(a.seen, k)
		}
	}
}

// Newer says whether resource version a of an object is later than b; versions are numbers that grow. One that is no number
// is later than any.
func Newer(a, b string) bool {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	return errX != nil || errY != nil || x > y
}
