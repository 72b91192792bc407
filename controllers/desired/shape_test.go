package desired

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// former is the StatefulSet of a relay as another version of the operator made it.
func former(t *testing.T, in Input) *appsv1.StatefulSet {
	t.Helper()
	set, ok := statefulSet(in).(*appsv1.StatefulSet)
	if !ok {
		t.Fatal("it is no StatefulSet")
	}
	pod := &set.Spec.Template.Spec
	pod.Containers[0].Image, pod.Containers[0].Args = "example.com/postrider:v0", []string{"--of-old"}
	pod.TerminationGracePeriodSeconds, pod.DNSPolicy = new(int64(5)), corev1.DNSClusterFirst
	set.Annotations[ShapeAnnotation] = "what the former version said"
	return set
}

func kept(set *appsv1.StatefulSet) *Kept {
	return &Kept{Template: set.Spec.Template, MadeFrom: set.Annotations[PodSpecAnnotation], Shape: set.Annotations[ShapeAnnotation]}
}

// What is kept is kept to the last field.
func TestKeptShape(t *testing.T) {
	in := inputOf(t, fullRelay)
	set := former(t, in)
	in.Image, in.Kept = "example.com/postrider:v0", kept(set)
	if diff := cmp.Diff(set, statefulSet(in)); diff != "" {
		t.Error(diff)
	}
}

// What spec.pod says now is followed all the same, and nothing else.
func TestKeptShapeFollowsTheSpec(t *testing.T) {
	in := inputOf(t, fullRelay)
	set := former(t, in)
	in.Kept = kept(set)
	in.Relay.Spec.Pod.Annotations = map[string]string{"a": "b"}
	in.Relay.Spec.Pod.NodeSelector = nil
	in.Relay.Spec.Pod.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1000Ki")}}
	want := set.DeepCopy().Spec.Template
	want.Annotations, want.Spec.NodeSelector = map[string]string{"a": "b"}, nil
	want.Spec.Containers[0].Resources = *in.Relay.Spec.Pod.Resources
	for i, e := range want.Spec.Containers[0].Env {
		if e.Name == "GOMEMLIMIT" {
			want.Spec.Containers[0].Env[i].Value = "921600"
		}
	}
	got, shape := shape(in)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if shape == set.Annotations[ShapeAnnotation] {
		t.Error("it has another shape under the same digest")
	}
	if set.Spec.Template.Annotations["a"] == "b" {
		t.Error("the StatefulSet that was read has been changed")
	}
}

func TestShapeIsToldByItsDigest(t *testing.T) {
	in := inputOf(t, smallRelay)
	_, first := shape(in)
	in.Replicas = 7
	if _, again := shape(in); again != first {
		t.Error("replicas are no shape")
	}
	in.Image = "example.com/postrider:v2"
	if _, other := shape(in); other == first {
		t.Error("another image makes no difference")
	}
}
