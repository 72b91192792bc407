package mailrelay

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
)

// Whatever somebody writes into the ConfigMap, only what the relay is made of is pruned.
func TestFormerSecretsAreOurs(t *testing.T) {
	p := &pass{relay: &v1alpha1.MailRelay{ObjectMeta: metav1.ObjectMeta{Namespace: "mail", Name: "outbound"}}}
	p.seen.config = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
		secretsAnnotation: "outbound-material outbound-keys-00 outbound-keys-63 outbound-keys-64 outbound-keys-0 outbound2-material tenants-dkim outbound-keys-",
	}}}
	var names []string
	for _, s := range p.formerSecrets() {
		if s.GetNamespace() != "mail" {
			t.Errorf("%s is of %s", s.GetName(), s.GetNamespace())
		}
		names = append(names, s.GetName())
	}
	if want := []string{"outbound-material", "outbound-keys-00", "outbound-keys-63"}; !slices.Equal(names, want) {
		t.Errorf("%q; want %q", names, want)
	}
}
