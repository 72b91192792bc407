package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"github.com/postrider/postrider/api/v1alpha1"
)

// builder turns documents into a Set.
type builder struct {
	kinds    *Kinds
	source   Source
	set      *Set
	problems []Problem
	// seen maps each object to where it stands.
	seen map[string]document
}

// add takes in one document.
func (b *builder) add(d document) {
	u := d.object
	if u.GetNamespace() == "" {
		u.SetNamespace(b.source.namespace())
	}
	object := describe(u)
	if !b.wanted(u.GroupVersionKind()) {
		b.set.Warnings = append(b.set.Warnings, fmt.Sprintf("%s, document %d: %s is passed over: only mail resources, Secrets and ConfigMaps are read", d.file, d.number, object))
		return
	}
	if first, twice := b.seen[object]; twice {
		b.problems = append(b.problems, d.broken(object, fmt.Errorf("it stands in %s, document %d already", first.file, first.number)))
		return
	}
	b.seen[object] = d
	b.problems = append(b.problems, b.take(d, object)...)
}

// wanted says whether objects of a kind are read. All of our group are, so that a misspelt kind is an error.
func (b *builder) wanted(gvk schema.GroupVersionKind) bool {
	core := gvk.Group == "" && gvk.Version == "v1" && (gvk.Kind == "Secret" || gvk.Kind == "ConfigMap")
	return core || gvk.Group == v1alpha1.GroupVersion.Group
}

// take validates an object and adds it to the set.
func (b *builder) take(d document, object string) []Problem {
	gvk := d.object.GroupVersionKind()
	if gvk.Group == "" {
		return b.takeCore(d, object)
	}
	k, ok := b.kinds.byName[gvk]
	if !ok {
		return []Problem{d.broken(object, fmt.Errorf("no matches for kind %q in version %q; there are %s", gvk.Kind, gvk.GroupVersion(), b.kinds.names()))}
	}
	unknown, errs := k.admit(d.object)
	var problems []Problem
	for _, path := range unknown {
		problems = append(problems, Problem{File: d.file, Document: d.number, Object: object, Field: path, Message: "unknown field"})
	}
	slices.SortStableFunc(errs, byField)
	for _, err := range errs {
		problems = append(problems, d.problem(object, err))
	}
	if len(problems) > 0 {
		return problems
	}
	return b.takeOurs(d, object)
}

// takeOurs adds an object that its definition admits.
func (b *builder) takeOurs(d document, object string) []Problem {
	if created := d.object.GetCreationTimestamp(); created.IsZero() && !b.source.Now.IsZero() {
		d.object.SetCreationTimestamp(metav1.NewTime(b.source.Now))
	}
	var err error
	switch d.object.GetKind() {
	case "MailRelay":
		err = appendTo(&b.set.Relays, d.object)
	case "SendingDomain":
		err = appendTo(&b.set.Domains, d.object)
	case "RateLimitPolicy":
		err = appendTo(&b.set.Policies, d.object)
	}
	if err != nil {
		return []Problem{d.broken(object, err)}
	}
	return nil
}

func appendTo[T any](list *[]T, u *unstructured.Unstructured) error {
	var typed T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &typed); err != nil {
		return err
	}
	*list = append(*list, typed)
	return nil
}

// takeCore adds a Secret or ConfigMap.
func (b *builder) takeCore(d document, object string) []Problem {
	var meta metav1.ObjectMeta
	var problems []Problem
	if d.object.GetKind() == "Secret" {
		var s corev1.Secret
		problems = d.strict(object, &s)
		fold(&s)
		meta, b.set.Secrets = s.ObjectMeta, append(b.set.Secrets, s)
	} else {
		var c corev1.ConfigMap
		problems = d.strict(object, &c)
		meta, b.set.ConfigMaps = c.ObjectMeta, append(b.set.ConfigMaps, c)
	}
	if len(problems) > 0 {
		return problems
	}
	for _, err := range validation.ValidateObjectMeta(&meta, true, validation.NameIsDNSSubdomain, field.NewPath("metadata")) {
		problems = append(problems, d.problem(object, err))
	}
	return problems
}

// strict decodes a built-in kind; unknown fields are errors.
func (d document) strict(object string, into any) []Problem {
	data, err := json.Marshal(d.object.Object)
	if err != nil {
		return []Problem{d.broken(object, err)}
	}
	unknown, err := kjson.UnmarshalStrict(data, into)
	if err != nil {
		return []Problem{d.broken(object, err)}
	}
	var problems []Problem
	for _, err := range unknown {
		problems = append(problems, d.broken(object, err))
	}
	return problems
}

// fold writes stringData into data, as the API server does.
func fold(s *corev1.Secret) {
	for key, value := range s.StringData {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

func (s Source) namespace() string {
	if s.Namespace == "" {
		return metav1.NamespaceDefault
	}
	return s.Namespace
}

// describe names an object as it stands in problems.
func describe(u *unstructured.Unstructured) string {
	name := u.GetName()
	if name == "" {
		name = "(no name)"
	}
	return fmt.Sprintf("%s %s/%s", u.GetKind(), u.GetNamespace(), name)
}

// names lists the kinds there are.
func (k *Kinds) names() string {
	var names []string
	for gvk := range k.byName {
		names = append(names, gvk.Kind)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
