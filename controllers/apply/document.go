package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// DigestAnnotation holds the digest of what was applied. It shows that a field is desired no longer, which a
// comparison with the live object cannot. The values of a Secret are left out of it: a digest of a weak
// password would let everyone who sees the annotation guess.
const DigestAnnotation = "postrider.dev/applied"

// document is an object as it is applied.
type document struct {
	*unstructured.Unstructured
	key key
	// digest is over all of it, the values of a Secret too. It stays in memory.
	digest string
}

// key names an object of any kind.
type key struct {
	kind string
	client.ObjectKey
}

func keyOf(gvk schema.GroupVersionKind, o client.Object) key {
	return key{kind: gvk.GroupKind().String(), ObjectKey: client.ObjectKeyFromObject(o)}
}

func (k key) String() string { return k.kind + " " + k.ObjectKey.String() }

// document encodes a typed object: without nulls and status, and with the digest annotation.
func (a *Applier) document(desired client.Object) (document, error) {
	gvk, err := apiutil.GVKForObject(desired, a.o.Client.Scheme())
	if err != nil {
		return document{}, fmt.Errorf("the kind of %T: %w", desired, err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(desired)
	if err != nil {
		return document{}, fmt.Errorf("encoding %s %s: %w", gvk.Kind, desired.GetName(), err)
	}
	delete(content, "status")
	removeNulls(content)
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(gvk)
	u.SetResourceVersion("")
	public, err := digest(withoutSecrets(u))
	if err != nil {
		return document{}, err
	}
	full, err := digest(u.Object)
	if err != nil {
		return document{}, err
	}
	annotate(u, public)
	return document{
		Unstructured: u,
		key:          keyOf(gvk, desired),
		digest:       full,
	}, nil
}

func annotate(u *unstructured.Unstructured, digest string) {
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[DigestAnnotation] = digest
	u.SetAnnotations(annotations)
}

// withoutSecrets returns the content with the values of a Secret emptied.
func withoutSecrets(u *unstructured.Unstructured) map[string]any {
	data, ok := u.Object["data"].(map[string]any)
	if !ok || u.GetKind() != "Secret" {
		return u.Object
	}
	names := map[string]any{}
	for name := range data {
		names[name] = ""
	}
	public := maps.Clone(u.Object)
	public["data"] = names
	return public
}

// digest is over the JSON form, in which the keys of maps are sorted.
func digest(content map[string]any) (string, error) {
	data, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encoding: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16]), nil
}

// removeNulls drops nulls, which Go types without omitempty leave behind (creationTimestamp). Empty maps stay:
// an empty podSelector or emptyDir means something.
func removeNulls(value any) {
	switch v := value.(type) {
	case map[string]any:
		for k, member := range v {
			if member == nil {
				delete(v, k)
				continue
			}
			removeNulls(member)
		}
	case []any:
		for _, member := range v {
			removeNulls(member)
		}
	}
}

// matches says that everything that is wanted stands in the live value. What else stands there belongs to
// others, or is a default. An empty map or list is matched by none at all.
func matches(want, live any) bool {
	switch w := want.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		return ok && matchesMap(w, l) || live == nil && len(w) == 0
	case []any:
		l, ok := live.([]any)
		return ok && slices.EqualFunc(w, l, matches) || live == nil && len(w) == 0
	default:
		return want == live
	}
}

func matchesMap(want, live map[string]any) bool {
	for k, member := range want {
		if k == "ownerReferences" && matchesSome(member, live[k]) {
			continue
		}
		if !matches(member, live[k]) {
			return false
		}
	}
	return true
}

// matchesSome says that each wanted member stands somewhere in the live list: others may own the object too.
func matchesSome(want, live any) bool {
	w, isList := want.([]any)
	l, alsoList := live.([]any)
	return isList && alsoList && !slices.ContainsFunc(w, func(wanted any) bool {
		return !slices.ContainsFunc(l, func(m any) bool { return matches(wanted, m) })
	})
}
