package api_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/relay/config"
)

// Everything that a relay consists of is taken by the server, and taken again without a change. Its pods pass
// the strictest pod security standard.
func TestChildren(t *testing.T) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name:   "children",
		Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	if err := server.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	relay := parse(t, mailRelay, edits{"metadata.name": "full", "metadata.namespace": "children", "spec.replicas": "3",
		"spec.service": "{type: LoadBalancer, sourceRanges: [192.0.2.0/24], loadBalancerClass: example.com/metal, annotations: {a: b}}",
		"spec.pod":     "{labels: {team: mail}, resources: {limits: {memory: 1Gi}}, imagePullSecrets: [{name: r}]}"})
	if err := server.Create(t.Context(), relay); err != nil {
		t.Fatal(err)
	}
	for _, object := range childrenOf(t, client.ObjectKeyFromObject(relay)) {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			t.Fatal(err)
		}
		delete(content, "status")
		child := &unstructured.Unstructured{Object: content}
		first := apply(t, child)
		if diff := cmp.Diff(first, apply(t, child)); diff != "" {
			t.Errorf("%s %s: applying it again changes it: %s", child.GetKind(), child.GetName(), diff)
		}
		if set, ok := object.(*appsv1.StatefulSet); ok {
			runPod(t, set)
		}
	}
}

func childrenOf(t *testing.T, key client.ObjectKey) []client.Object {
	t.Helper()
	relay := &v1alpha1.MailRelay{}
	if err := server.Get(t.Context(), key, relay); err != nil {
		t.Fatal(err)
	}
	domain := &v1alpha1.SendingDomain{Spec: v1alpha1.SendingDomainSpec{Domain: "acme.example"}}
	files, err := render.Render(render.Input{
		Relay: relay,
		Domains: []render.Domain{{SendingDomain: domain, Keys: []render.Key{
			{Selector: "s", Algorithm: v1alpha1.Ed25519, PEM: []byte("key")},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	index, err := render.EncodeIndex(files.Next(config.Index{}))
	if err != nil {
		t.Fatal(err)
	}
	return desired.Objects(desired.Input{
		Relay:             relay,
		Files:             files,
		Index:             index,
		Replicas:          relay.Spec.Replicas,
		Image:             "example.com/postrider@sha256:" + strings.Repeat("0a", 32),
		OperatorNamespace: "postrider-system",
	})
}

// runPod creates a pod as the StatefulSet's controller would.
func runPod(t *testing.T, set *appsv1.StatefulSet) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: set.Spec.Template.ObjectMeta, Spec: set.Spec.Template.Spec}
	pod.Name, pod.Namespace = set.Name+"-0", set.Namespace
	claim := set.Spec.VolumeClaimTemplates[0].Name
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim + "-" + pod.Name},
	}})
	if err := server.Create(t.Context(), pod, client.DryRunAll, client.FieldValidation("Strict")); err != nil {
		t.Error(err)
	}
}
