// Package foreign owns the least of other projects' kinds that the operator writes: the fields that it sets, and those
// of the status that it reads. What it does not name stays as it is in the cluster. It refuses to do anything with them.
package foreign

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// AddToScheme adds the kinds to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(CertManager, &Certificate{}, &CertificateList{})
	metav1.AddToGroupVersion(s, CertManager)
	return nil
}

// CertManager is the API of cert-manager.
var CertManager = schema.GroupVersion{Group: "cert-manager.io", Version: "v1"}
