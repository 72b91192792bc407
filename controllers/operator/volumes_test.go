package operator_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
)

// storageClass makes one whose volumes may grow, or not.
func (f *fixture) storageClass(expands bool) *storagev1.StorageClass {
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: f.namespace}, Provisioner: "example.com/disk", AllowVolumeExpansion: &expands,
	}
	f.create(class)
	f.t.Cleanup(func() { f.delete(class) })
	return class
}

// stored makes a relay with volumes of a class and waits until it serves.
func (f *fixture) stored(class *storagev1.StorageClass, replicas int32) *v1alpha1.MailRelay {
	f.t.Helper()
	relay := f.relay("outbound", replicas)
	relay.Spec.Queue.Storage.StorageClassName = &class.Name
	f.create(relay)
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "Reconciling": ""})
	return relay
}

func (f *fixture) resize(relay *v1alpha1.MailRelay, size string) {
	f.t.Helper()
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Queue.Storage.Size = resource.MustParse(size) })
}

// sizes are what each claim asks for, and what the StatefulSet's template does.
func (f *fixture) sizes() (claims map[string]string, template string) {
	f.t.Helper()
	var list corev1.PersistentVolumeClaimList
	if err := server.Client.List(context.Background(), &list, client.InNamespace(f.namespace)); err != nil {
		f.t.Fatal(err)
	}
	claims = map[string]string{}
	for _, c := range list.Items {
		claims[c.Name] = c.Spec.Resources.Requests.Storage().String()
	}
	set := &appsv1.StatefulSet{ObjectMeta: f.meta("outbound")}
	if f.get(set) {
		template = set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()
	}
	return claims, template
}

// All volumes become larger while their pods go on, those of pods to come are made so, and an operator that ends in the midst of
// it leaves nothing half done.
func TestVolumesGrow(t *testing.T) {
	f := setUp(t)
	relay := f.stored(f.storageClass(true), 2)
	before := f.podUIDs()
	f.resize(relay, "3Gi")
	f.expectRelay(relay, map[string]string{"Reconciling": "True/ResizingVolumes", "Ready": "True/Serving"})
	f.restart()
	f.eventually("claims and template ask for more", func() error {
		claims, template := f.sizes()
		if template != "3Gi" || claims["spool-outbound-0"] != "3Gi" || claims["spool-outbound-1"] != "3Gi" {
			return fmt.Errorf("claims %v, template %q", claims, template)
		}
		return nil
	})
	f.expectRelay(relay, map[string]string{"Reconciling": "True/ResizingVolumes", "Ready": "True/Serving"})
	f.node.set(func(n *node) { n.resizes = true })
	f.expectRelay(relay, map[string]string{"Reconciling": "", "Ready": "True/Serving", "Stalled": ""})
	if now := f.podUIDs(); !maps.Equal(now, before) {
		t.Errorf("pods were replaced: %v, %v", before, now)
	}
	f.eventually("the pods are the StatefulSet's", func() error {
		set, pod := &appsv1.StatefulSet{ObjectMeta: f.meta("outbound")}, &corev1.Pod{ObjectMeta: f.meta("outbound-1")}
		if f.get(set); !f.get(pod) || !metav1.IsControlledBy(pod, set) {
			return errors.New("they are not")
		}
		return nil
	})

	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Replicas = 3 })
	f.expectRelay(relay, map[string]string{"Reconciling": "", "Ready": "True/Serving"})
	if claims, _ := f.sizes(); claims["spool-outbound-2"] != "3Gi" {
		t.Errorf("a new pod has a claim of %s", claims["spool-outbound-2"])
	}
}

// A relay whose pods are of an older version keeps that, too, when its StatefulSet is made anew.
func TestVolumesGrowBeforeAnUpgrade(t *testing.T) {
	f := setUp(t)
	f.node.set(func(n *node) { n.resizes = true })
	relay := f.stored(f.storageClass(true), 1)
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Upgrade = v1alpha1.UpgradeManual })
	f.upgrade("postrider:v2")
	f.expectRelay(relay, map[string]string{"UpgradePending": "True/ManualUpgrade", "Reconciling": ""})
	before := f.podUIDs()
	f.resize(relay, "2Gi")
	f.eventually("the template asks for more", func() error {
		if _, template := f.sizes(); template != "2Gi" {
			return fmt.Errorf("it asks for %q", template)
		}
		return nil
	})
	f.expectRelay(relay, map[string]string{"UpgradePending": "True/ManualUpgrade", "Reconciling": "", "Ready": "True/Serving"})
	if now := f.podUIDs(); !maps.Equal(now, before) || f.images()["outbound-0"] != "postrider:test" {
		t.Errorf("the pod was replaced: %v, %v", now, f.images())
	}
}

// Storage that cannot grow is said, with what to do; mail flows all the same, and it goes on by itself.
func TestVolumesMayNotGrow(t *testing.T) {
	f := setUp(t)
	class := f.storageClass(false)
	relay := f.stored(class, 1)
	f.resize(relay, "2Gi")
	f.expectRelay(relay, map[string]string{
		"Stalled": "True/VolumeGrowthRefused", "Ready": "False/VolumeGrowthRefused", "Reconciling": "", "Available": "True/MinimumReplicasAvailable",
	})
	if c := meta.FindStatusCondition(relay.Status.Conditions, "Stalled"); !strings.Contains(c.Message, "allowVolumeExpansion") {
		t.Errorf("the message does not help: %s", c.Message)
	}
	if _, template := f.sizes(); template != "1Gi" {
		t.Errorf("the StatefulSet was made anew for %s", template)
	}
	change(f, class, func(c *storagev1.StorageClass) { c.AllowVolumeExpansion = new(true) })
	f.node.set(func(n *node) { n.resizes = true })
	f.ahead.Store(int64(2 * time.Minute))
	f.expectRelay(relay, map[string]string{"Stalled": "", "Ready": "True/Serving", "Reconciling": ""})
	if _, template := f.sizes(); template != "2Gi" {
		t.Errorf("the template asks for %s", template)
	}
}

// The definition refuses a size that is less than before. Where that is dodged, nothing shrinks, and the status says so.
func TestVolumesDoNotShrink(t *testing.T) {
	f := setUp(t)
	f.node.set(func(n *node) { n.resizes = true })
	relay := f.stored(f.storageClass(true), 1)
	f.stop()
	set := &appsv1.StatefulSet{ObjectMeta: f.meta("outbound")}
	f.get(set)
	larger := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{
		Namespace: f.namespace, Name: set.Name, Labels: set.Labels, Annotations: set.Annotations, OwnerReferences: set.OwnerReferences,
	}, Spec: *set.Spec.DeepCopy()}
	larger.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("2Gi")
	if err := server.Client.Delete(context.Background(), set, client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
		t.Fatal(err)
	}
	f.eventually("the StatefulSet is replaced", func() error {
		larger.ResourceVersion = ""
		return server.Client.Create(context.Background(), larger)
	})
	f.startOperator()
	f.expectRelay(relay, map[string]string{"Stalled": "True/VolumeShrinkRejected", "Ready": "False/VolumeShrinkRejected", "Reconciling": ""})
	f.resize(relay, "2Gi")
	f.expectRelay(relay, map[string]string{"Stalled": "", "Ready": "True/Serving", "Reconciling": ""})
}
