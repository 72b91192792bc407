package foreign

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Certificate asks cert-manager for a certificate (cert-manager.io/v1).
type Certificate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`
	Spec              CertificateSpec   `json:"spec,omitzero"`
	Status            CertificateStatus `json:"status,omitzero"`
}

// CertificateSpec is what is asked for.
type CertificateSpec struct {
	// SecretName is the kubernetes.io/tls Secret that cert-manager keeps.
	SecretName string `json:"secretName,omitempty"`
	// DNSNames are the names that the certificate is for.
	DNSNames []string `json:"dnsNames,omitempty"`
	// Usages are what the key may be used for, such as "server auth".
	Usages    []string  `json:"usages,omitempty"`
	IssuerRef IssuerRef `json:"issuerRef,omitzero"`
}

// IssuerRef names an issuer.
type IssuerRef struct {
	Name  string `json:"name,omitempty"`
	Kind  string `json:"kind,omitempty"`
	Group string `json:"group,omitempty"`
}

// CertificateStatus is how far cert-manager is.
type CertificateStatus struct {
	Conditions []CertificateCondition `json:"conditions,omitempty"`
	// Revision counts the certificates that were issued.
	Revision *int `json:"revision,omitempty"`
}

// CertificateCondition is one of the conditions of a Certificate.
type CertificateCondition struct {
	Type    string                 `json:"type"`
	Status  metav1.ConditionStatus `json:"status"`
	Reason  string                 `json:"reason,omitempty"`
	Message string                 `json:"message,omitempty"`
}

// CertificateList is a list of Certificates.
type CertificateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Certificate `json:"items"`
}

// Problem says why there is no certificate yet, in cert-manager's words; empty if it says nothing, or that it is ready.
func (c *Certificate) Problem() string {
	for _, condition := range c.Status.Conditions {
		if condition.Type == "Ready" && condition.Status != metav1.ConditionTrue {
			return condition.Message
		}
	}
	return ""
}

// DeepCopyObject copies all of it.
func (c *Certificate) DeepCopyObject() runtime.Object {
	d := *c
	d.ObjectMeta = *c.ObjectMeta.DeepCopy()
	d.Spec.DNSNames, d.Spec.Usages = slices.Clone(c.Spec.DNSNames), slices.Clone(c.Spec.Usages)
	d.Status.Conditions = slices.Clone(c.Status.Conditions)
	if c.Status.Revision != nil {
		d.Status.Revision = new(*c.Status.Revision)
	}
	return &d
}

// DeepCopyObject copies all of it.
func (l *CertificateList) DeepCopyObject() runtime.Object {
	d := *l
	d.ListMeta = *l.ListMeta.DeepCopy()
	d.Items = make([]Certificate, 0, len(l.Items))
	for i := range l.Items {
		if c, ok := l.Items[i].DeepCopyObject().(*Certificate); ok {
			d.Items = append(d.Items, *c)
		}
	}
	return &d
}
