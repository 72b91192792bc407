package claim_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/claim"
)

func TestAllows(t *testing.T) {
	same := v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesSame}
	all := v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesAll}
	selector := func(s metav1.LabelSelector) v1alpha1.AllowedNamespaces {
		return v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesSelector, Selector: &s}
	}
	gold := selector(metav1.LabelSelector{MatchLabels: map[string]string{"mail": "yes"}})
	unreadable := selector(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "mail", Operator: "Resembles"}}})
	labelled := map[string]string{"mail": "yes"}
	example := []v1alpha1.DomainName{"example.com", "example.org"}
	for _, test := range []struct {
		what       string
		namespaces v1alpha1.AllowedNamespaces
		suffixes   []v1alpha1.DomainName
		namespace  string
		labels     map[string]string
		domain     v1alpha1.DomainName
		want       bool
	}{
		{"the own namespace", same, nil, "mail", nil, "a.example", true},
		{"the own namespace, before there were defaults", v1alpha1.AllowedNamespaces{}, nil, "mail", nil, "a.example", true},
		{"another namespace", same, nil, "shop", nil, "a.example", false},
		{"another namespace, before there were defaults", v1alpha1.AllowedNamespaces{}, nil, "shop", nil, "a.example", false},
		{"any namespace", all, nil, "shop", nil, "a.example", true},
		{"a namespace with the label", gold, nil, "shop", labelled, "a.example", true},
		{"a namespace without the label", gold, nil, "shop", map[string]string{"mail": "no"}, "a.example", false},
		{"a namespace that is not known", gold, nil, "shop", nil, "a.example", false},
		{"the own namespace needs no label", gold, nil, "mail", nil, "a.example", true},
		{"an empty selector is every namespace", selector(metav1.LabelSelector{}), nil, "shop", nil, "a.example", true},
		{"a selector that cannot be read", unreadable, nil, "shop", labelled, "a.example", false},
		{"the suffix itself", all, example, "shop", nil, "example.org", true},
		{"below the suffix", all, example, "shop", nil, "news.example.com", true},
		{"ends like the suffix", all, example, "shop", nil, "badexample.com", false},
		{"above the suffix", all, []v1alpha1.DomainName{"news.example.com"}, "shop", nil, "example.com", false},
		{"suffixes hold at home, too", same, example, "mail", nil, "a.example", false},
	} {
		r := &v1alpha1.MailRelay{ObjectMeta: metav1.ObjectMeta{Namespace: "mail", Name: "outbound"}}
		r.Spec.AllowedDomains = v1alpha1.AllowedDomains{Namespaces: test.namespaces, Suffixes: test.suffixes}
		d := &v1alpha1.SendingDomain{ObjectMeta: metav1.ObjectMeta{Namespace: test.namespace, Name: "d"}}
		d.Spec.Domain = test.domain
		if got := claim.Allows(r, d, test.labels); got != test.want {
			t.Errorf("%s: %v", test.what, got)
		}
	}
}

func TestRelay(t *testing.T) {
	d := &v1alpha1.SendingDomain{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}}
	d.Spec.RelayRef.Name = "outbound"
	if got := claim.Relay(d).String(); got != "shop/outbound" {
		t.Errorf("without a namespace it is %s", got)
	}
	d.Spec.RelayRef.Namespace = "mail"
	if got := claim.Relay(d).String(); got != "mail/outbound" {
		t.Errorf("with one it is %s", got)
	}
}
