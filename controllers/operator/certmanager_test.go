package operator_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/smtptest"
)

// issued is the name of the Certificate of the fixture's listener, and of its Secret.
const issued = "outbound.submission-tls"

// install makes a foreign kind known to the API server until the test ends.
func (f *fixture) install(file, name string) {
	f.t.Helper()
	server.Apply(f.t, file)
	f.t.Cleanup(func() { f.uninstall(name) })
}

// uninstall waits until the API server does not know a kind any more.
func (f *fixture) uninstall(name string) {
	f.t.Helper()
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	crd.SetName(name)
	if !f.get(crd) {
		return
	}
	f.delete(crd)
	f.eventually(name+" goes", func() error {
		if f.get(crd) {
			return fmt.Errorf("it is still there")
		}
		return nil
	})
}

// certificate is a Certificate as cert-manager sees it; false if there is none.
func (f *fixture) certificate() (*unstructured.Unstructured, bool) {
	f.t.Helper()
	c := &unstructured.Unstructured{}
	c.SetAPIVersion("cert-manager.io/v1")
	c.SetKind("Certificate")
	err := server.Client.Get(context.Background(), client.ObjectKey{Namespace: f.namespace, Name: issued}, c)
	if client.IgnoreNotFound(err) != nil && !meta.IsNoMatchError(err) {
		f.t.Fatal(err)
	}
	return c, err == nil
}

// says plays cert-manager: it writes the Certificate's status.
func (f *fixture) says(ready metav1.ConditionStatus, message string, revision int64) {
	f.t.Helper()
	c, ok := f.certificate()
	if !ok {
		f.t.Fatal("there is no Certificate")
	}
	c.Object["status"] = map[string]any{"revision": revision, "conditions": []any{
		map[string]any{"type": "Ready", "status": string(ready), "reason": "R", "message": message},
	}}
	if err := server.Client.Status().Update(context.Background(), c); err != nil {
		f.t.Fatal(err)
	}
}

// tlsSays waits until the condition TLSReady is as wanted and its message holds a text.
func (f *fixture) tlsSays(relay *v1alpha1.MailRelay, want, text string) {
	f.t.Helper()
	f.expectRelay(relay, map[string]string{"TLSReady": want})
	f.eventually("TLSReady says "+text, func() error {
		f.get(relay)
		c := meta.FindStatusCondition(relay.Status.Conditions, v1alpha1.ConditionTLSReady)
		if c == nil || !strings.Contains(c.Message, text) {
			return fmt.Errorf("it is %+v", c)
		}
		return nil
	})
}

// The relay comes first, then cert-manager, then the certificate, then another: each is noticed without a restart. When
// cert-manager is down, or goes, the relay goes on.
func TestCertificateIsIssuedAndRenewed(t *testing.T) {
	f := setUp(t)
	relay := f.relay("outbound", 1)
	relay.Spec.Listeners = append(relay.Spec.Listeners, v1alpha1.Listener{
		Name: "submission", Port: 587, Mode: v1alpha1.ListenerSubmission,
		TLS: &v1alpha1.ListenerTLS{
			Mode: v1alpha1.ListenerTLSRequired, IssuerRef: &v1alpha1.IssuerReference{Name: "letsencrypt", Kind: "ClusterIssuer"},
			DNSNames: []v1alpha1.DomainName{"outbound.mail.svc", "mx1.example.com"},
		},
		Auth: &v1alpha1.ListenerAuth{ServiceAccounts: &v1alpha1.ServiceAccountAuth{}},
	})
	f.create(relay)
	f.tlsSays(relay, "False/Pending", "cert-manager is not installed")
	f.expectRelay(relay, map[string]string{"Available": "True/MinimumReplicasAvailable", "ConfigCurrent": "True/InForce", "Stalled": ""})

	f.install("controllers/operator/testdata/certificates.yaml", "certificates.cert-manager.io")
	f.tlsSays(relay, "False/Pending", "has not issued the Certificate "+issued)
	c, _ := f.certificate()
	names, _, _ := unstructured.NestedStringSlice(c.Object, "spec", "dnsNames")
	issuer, _, _ := unstructured.NestedStringMap(c.Object, "spec", "issuerRef")
	secretName, _, _ := unstructured.NestedString(c.Object, "spec", "secretName")
	if !slices.Equal(names, []string{"mx1.example.com", "outbound.mail.svc"}) || secretName != issued || !metav1.IsControlledBy(c, relay) ||
		issuer["name"] != "letsencrypt" || issuer["kind"] != "ClusterIssuer" || issuer["group"] != "cert-manager.io" {
		t.Errorf("the Certificate is %+v", c.Object)
	}
	f.says(metav1.ConditionFalse, "The order is invalid: no such name.", 0)
	f.tlsSays(relay, "False/Pending", "It says: The order is invalid: no such name.")

	ca := smtptest.NewCA()
	cert, key := ca.PairPEM("mx1.example.com")
	secret := &corev1.Secret{ObjectMeta: f.meta(issued), Type: corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": cert, "tls.key": key}}
	f.create(secret)
	f.says(metav1.ConditionTrue, "", 1)
	f.expectRelay(relay, map[string]string{"TLSReady": "True/CertificateValid", "Ready": "True/Serving", "ConfigCurrent": "True/InForce"})

	renewed, key := ca.PairPEM("mx1.example.com")
	change(f, secret, func(s *corev1.Secret) { s.Data = map[string][]byte{"tls.crt": renewed, "tls.key": key} })
	began := time.Now()
	f.says(metav1.ConditionTrue, "", 2)
	f.eventually("the pods are given the renewed certificate", func() error {
		material := &corev1.Secret{ObjectMeta: f.meta("outbound-material")}
		if f.get(material); !bytes.Equal(material.Data["tls-"+issued+".crt"], renewed) {
			return fmt.Errorf("they have another")
		}
		return nil
	})
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v: longer than a look at the Secrets every minute explains", took)
	}

	listeners := relay.Spec.Listeners
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Listeners = r.Spec.Listeners[:1] })
	f.eventually("a Certificate that no listener wants goes", func() error {
		if _, there := f.certificate(); there {
			return fmt.Errorf("it is still there")
		}
		return nil
	})

	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Listeners = listeners })
	f.eventually("one that is wanted again comes", func() error {
		if _, there := f.certificate(); !there {
			return fmt.Errorf("it is not there")
		}
		return nil
	})
	serves := map[string]string{"TLSReady": "True/CertificateValid", "ConfigCurrent": "True/InForce", "Ready": "True/Serving"}
	broken := f.breaks("certificates", "cert-manager.io")
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Hostname = "mx2.example.com" })
	f.expectRelay(relay, serves)
	f.delete(broken)
	f.uninstall("certificates.cert-manager.io")
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Hostname = "mx3.example.com" })
	f.expectRelay(relay, serves)
}

// breaks has every write of a kind in the namespace fail, as when the webhook of the one who brings it is down.
func (f *fixture) breaks(resource, group string) client.Object {
	f.t.Helper()
	fail, none := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone
	w := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: f.namespace},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "down.example.com", FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: new("https://127.0.0.1:1/")},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: f.namespace}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: []string{resource}},
			}},
		}},
	}
	f.create(w)
	f.t.Cleanup(func() { _ = server.Client.Delete(context.Background(), w) })
	return w
}
