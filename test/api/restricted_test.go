package api_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// The operator's pod passes the strictest pod security standard, named by tag or by digest; and so strict a server refuses
// one with a single right more.
func TestOperatorPod(t *testing.T) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "operator-pod", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	if err := server.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "postrider-manager", Namespace: namespace.Name}}
	if err := server.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"config/default", "config/namespaced"} {
		var d appsv1.Deployment
		if err := yaml.UnmarshalStrict([]byte(kustomize(t, dir)["Deployment postrider-manager"]), &d); err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{ObjectMeta: d.Spec.Template.ObjectMeta, Spec: d.Spec.Template.Spec}
		pod.Namespace, pod.Name = namespace.Name, "manager"
		c := &pod.Spec.Containers[0]
		if s := c.SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Errorf("%s: its root can be written to", dir)
		}
		c.Image, _, _ = strings.Cut(c.Image, ":")
		c.Image += "@sha256:" + strings.Repeat("0a", 32)
		if err := server.Create(t.Context(), pod.DeepCopy(), client.DryRunAll, client.FieldValidation("Strict")); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
		pod.Spec.SecurityContext.SeccompProfile = nil
		if err := server.Create(t.Context(), pod, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
			t.Errorf("a pod without a seccomp profile: %v", err)
		}
	}
}
