package claim

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/api/v1alpha1"
)

// Relay is the MailRelay that a SendingDomain names.
func Relay(d *v1alpha1.SendingDomain) types.NamespacedName {
	ref := d.Spec.RelayRef
	return types.NamespacedName{Namespace: cmp.Or(string(ref.Namespace), d.Namespace), Name: string(ref.Name)}
}

// Allows says whether a relay admits a SendingDomain that names it: by its namespace, whose labels are given, and by its
// domain. Labels matter only where NeedsLabels says so.
func Allows(r *v1alpha1.MailRelay, d *v1alpha1.SendingDomain, namespaceLabels map[string]string) bool {
	return allowsNamespace(r, d.Namespace, namespaceLabels) && allowsName(r.Spec.AllowedDomains.Suffixes, d.Spec.Domain)
}

// NeedsLabels says whether the labels of a namespace decide over its SendingDomains.
func NeedsLabels(r *v1alpha1.MailRelay, namespace string) bool {
	return namespace != r.Namespace && r.Spec.AllowedDomains.Namespaces.From == v1alpha1.NamespacesSelector
}

func allowsNamespace(r *v1alpha1.MailRelay, namespace string, has map[string]string) bool {
	allowed := r.Spec.AllowedDomains.Namespaces
	switch {
	case namespace == r.Namespace, allowed.From == v1alpha1.NamespacesAll:
		return true
	case allowed.From != v1alpha1.NamespacesSelector || allowed.Selector == nil:
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(allowed.Selector)
	return err == nil && selector.Matches(labels.Set(has)) // one that cannot be read admits nobody
}

func allowsName(suffixes []v1alpha1.DomainName, name v1alpha1.DomainName) bool {
	return len(suffixes) == 0 || slices.ContainsFunc(suffixes, func(s v1alpha1.DomainName) bool {
		return name == s || strings.HasSuffix(string(name), "."+string(s))
	})
}
