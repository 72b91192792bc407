package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AllowedDomains says which SendingDomains may send through a relay. Both must agree: a SendingDomain names the relay,
// and the relay admits its namespace and its domain.
type AllowedDomains struct {
	// namespaces are those whose SendingDomains may name this relay.
	// +default={"from": "Same"}
	// +optional
	Namespaces AllowedNamespaces `json:"namespaces,omitzero"`

	// suffixes are the domains that may be sent as, each with all below it: example.com admits example.com and
	// news.example.com. They hold for the relay's own namespace, too. Left out, any domain may; then give
	// namespaces of others only to people who may send as any domain that nobody has proven.
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +optional
	Suffixes []DomainName `json:"suffixes,omitempty"`
}

// AllowedNamespaces are namespaces besides the relay's own, which is always admitted.
// +kubebuilder:validation:XValidation:rule="(self.from == 'Selector') == has(self.selector)",fieldPath=".selector",message="from Selector and selector belong together: say which labels the namespaces have, or remove selector"
type AllowedNamespaces struct {
	// from is Same, the relay's own namespace; Selector, also those whose labels match; or All. Selector and All need
	// an operator that is installed for the whole cluster.
	// +default="Same"
	// +optional
	From NamespacesFrom `json:"from,omitempty"`

	// selector is what the labels of a namespace must match. The label kubernetes.io/metadata.name is its name.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// NamespacesFrom says which namespaces are meant.
// +kubebuilder:validation:Enum=Same;Selector;All
type NamespacesFrom string

const (
	// NamespacesSame is the relay's own namespace.
	NamespacesSame NamespacesFrom = "Same"
	// NamespacesSelector is also those whose labels match.
	NamespacesSelector NamespacesFrom = "Selector"
	// NamespacesAll is every namespace.
	NamespacesAll NamespacesFrom = "All"
)

// IssuerReference names an Issuer in the namespace of the relay, or a ClusterIssuer.
type IssuerReference struct {
	// name is the issuer's name.
	// +required
	Name ObjectName `json:"name,omitempty"`

	// kind is Issuer or ClusterIssuer, or a kind of the group that you give. Left out, it means Issuer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Za-z0-9]*$`
	// +optional
	Kind string `json:"kind,omitempty"`

	// group is the API group of the issuer. Left out, it means cert-manager.io.
	// +optional
	Group DomainName `json:"group,omitempty"`
}
