// Package manifest owns what a set of manifests says when there is no API server: it reads files, runs the
// generated CustomResourceDefinitions themselves over our kinds (unknown fields, defaults, schema, CEL rules) and
// hands out typed objects, or everything that is wrong with them at once. It prints objects as kubectl does. It
// has no rule of its own about any field, and changes nothing on disk.
package manifest

import (
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
)

// Source says where manifests are read from.
type Source struct {
	// Paths are files, directories (their *.yaml, *.yml and *.json, not those below) or "-" for Stdin.
	Paths []string
	Stdin io.Reader
	// Namespace is that of objects that name none; empty for "default".
	Namespace string
	// Now becomes the creation time of the objects that have none.
	Now time.Time
}

// Set is what the manifests declare, in the order in which it stands there.
type Set struct {
	Relays     []v1alpha1.MailRelay
	Domains    []v1alpha1.SendingDomain
	Policies   []v1alpha1.RateLimitPolicy
	Secrets    []corev1.Secret
	ConfigMaps []corev1.ConfigMap
	// Files that were read, for a caller that wants to see changes.
	Files []string
	// Warnings name the objects that were passed over.
	Warnings []string
}

// Objects are those of our kinds: relays, then domains, then policies.
func (s *Set) Objects() []client.Object {
	var objects []client.Object
	for i := range s.Relays {
		objects = append(objects, &s.Relays[i])
	}
	for i := range s.Domains {
		objects = append(objects, &s.Domains[i])
	}
	for i := range s.Policies {
		objects = append(objects, &s.Policies[i])
	}
	return objects
}

// Load reads the manifests of s. The error is an *Invalid when any of them is wrong.
func (k *Kinds) Load(s Source) (*Set, error) {
	documents, files, problems := readAll(s)
	b := builder{kinds: k, source: s, set: &Set{Files: files}, problems: problems, seen: map[string]document{}}
	for _, d := range documents {
		b.add(d)
	}
	if len(b.problems) > 0 {
		return nil, &Invalid{Problems: b.problems}
	}
	return b.set, nil
}
