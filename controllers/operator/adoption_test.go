package operator_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/config"
)

// losing is a relay of two pods, of which the second is on a node that is lost, with a volume of its own.
type losing struct {
	*fixture
	relay    *v1alpha1.MailRelay
	nodeName string
	lost     string
	// attachment is that of the volume, if it is of a kind that has one.
	attachment *storagev1.VolumeAttachment
}

// temporary makes an object of no namespace, for the length of the test.
func (f *fixture) temporary(object client.Object) {
	f.t.Helper()
	f.create(object)
	f.t.Cleanup(func() { _ = server.Client.Delete(context.Background(), object) })
}

// lose makes the volume and the node, and takes the node away.
func lose(t *testing.T, source corev1.PersistentVolumeSource, bound func(node string) *corev1.VolumeNodeAffinity) *losing {
	t.Helper()
	f := setUp(t)
	l := &losing{fixture: f, nodeName: f.namespace + "-node"}
	f.makeNode(l.nodeName)
	f.node.set(func(n *node) { n.on["outbound-1"] = l.nodeName })
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: f.namespace + "-volume"},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeSource: source,
		},
	}
	if bound != nil {
		volume.Spec.NodeAffinity = bound(l.nodeName)
	}
	l.temporary(volume)
	if source.CSI != nil {
		l.attachment = &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: volume.Name}, Spec: storagev1.VolumeAttachmentSpec{
			Attacher: source.CSI.Driver, NodeName: l.nodeName, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume.Name},
		}}
		l.temporary(l.attachment)
	}
	f.node.set(func(n *node) { n.volumes["spool-outbound-1"] = volume.Name })
	l.relay = f.serving("outbound", 2)
	l.lost = f.podUIDs()["outbound-1"]
	f.node.set(func(n *node) { n.lost[l.nodeName], n.silent["outbound-1"] = true, true })
	l.nodeIs(corev1.ConditionUnknown)
	f.eventually("the pod is not ready", func() error {
		pod := &corev1.Pod{ObjectMeta: f.meta("outbound-1")}
		f.get(pod)
		for i := range pod.Status.Conditions {
			pod.Status.Conditions[i].Status = corev1.ConditionFalse
		}
		return server.Client.Status().Update(context.Background(), pod)
	})
	return l
}

// makeNode makes the object of a node that is ready.
func (f *fixture) makeNode(name string) {
	f.t.Helper()
	f.temporary(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name}}})
	f.ready(name, corev1.ConditionTrue)
}

func (f *fixture) ready(name string, status corev1.ConditionStatus) {
	f.t.Helper()
	f.eventually("the node reports", func() error {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		f.get(n)
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
		return server.Client.Status().Update(context.Background(), n)
	})
}

func (l *losing) nodeIs(status corev1.ConditionStatus) {
	l.t.Helper()
	l.ready(l.nodeName, status)
}

// says waits until the condition is there and its message has a text.
func (l *losing) says(text string) {
	l.t.Helper()
	l.expectRelay(l.relay, map[string]string{"QueueHealthy": "False/NodeLost"})
	l.eventually("the message", func() error {
		l.get(l.relay)
		c := meta.FindStatusCondition(l.relay.Status.Conditions, v1alpha1.ConditionQueueHealthy)
		if !strings.Contains(c.Message, text) {
			return fmt.Errorf("it is %q", c.Message)
		}
		return nil
	})
}

// adopted waits until there is another pod of the name, and looks at what it and its claim are told.
func (l *losing) adopted() {
	l.t.Helper()
	l.eventually("another pod", func() error {
		if uid := l.podUIDs()["outbound-1"]; uid == "" || uid == l.lost {
			return fmt.Errorf("the pod is %q", uid)
		}
		return nil
	})
	if f := l.told("outbound").Fences; len(f) != 1 || f["outbound-1"] != (config.Fence{Token: 1, Lost: l.lost}) {
		l.t.Errorf("the pods are told %+v", f)
	}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: l.meta("spool-outbound-1")}
	l.get(claim)
	if a := claim.Annotations; a["postrider.dev/fence"] != "1" || a["postrider.dev/fenced-pod"] != l.lost || a["postrider.dev/detached-from"] != "" {
		l.t.Errorf("the claim has %v", a)
	}
	l.fixture.node.set(func(n *node) { n.silent["outbound-1"] = false })
	l.expectRelay(l.relay, map[string]string{"QueueHealthy": "True/Healthy", "Ready": "True/Serving"})
}

// kept fails when the pod that was lost was given up.
func (l *losing) kept() {
	l.t.Helper()
	if uid := l.podUIDs()["outbound-1"]; uid != l.lost {
		l.t.Errorf("the pod was given up without proof: it is %q", uid)
	}
}

func csi() corev1.PersistentVolumeSource {
	return corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk.csi.example.com", VolumeHandle: "7"}}
}

func nfs() corev1.PersistentVolumeSource {
	return corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "nfs.example.com", Path: "/x"}}
}

// annotate changes the annotations of the lost pod's claim.
func (l *losing) annotate(annotations map[string]string) {
	l.t.Helper()
	change(l.fixture, &corev1.PersistentVolumeClaim{ObjectMeta: l.meta("spool-outbound-1")}, func(c *corev1.PersistentVolumeClaim) {
		c.Annotations = maps.Clone(c.Annotations)
		if c.Annotations == nil {
			c.Annotations = map[string]string{}
		}
		maps.Copy(c.Annotations, annotations)
	})
}

// An attached volume is left alone until its attachment is gone, also by an operator that has just started.
func TestAdoptionWhenTheVolumeIsDetached(t *testing.T) {
	l := lose(t, csi(), nil)
	l.says("nothing proves")
	l.kept()
	l.restart()
	if err := server.Client.Delete(context.Background(), l.attachment); err != nil {
		t.Fatal(err)
	}
	l.adopted()
}

func TestAdoptionWhenTheNodeIsOutOfService(t *testing.T) {
	l := lose(t, nfs(), nil)
	l.says("kubectl taint node " + l.nodeName)
	l.kept()
	change(l.fixture, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: l.nodeName}}, func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute})
	})
	l.adopted()
}

// A statement is about one node, is used once, and its effect is there after any crash.
func TestAdoptionWhenAnAdminSaysSo(t *testing.T) {
	l := lose(t, nfs(), nil)
	l.says("kubectl annotate pvc spool-outbound-1")
	l.annotate(map[string]string{"postrider.dev/detached-from": "another"})
	l.says("nothing proves")
	l.kept()
	l.stop()
	// As a crash after the first of two steps leaves it.
	l.annotate(map[string]string{"postrider.dev/detached-from": "", "postrider.dev/fence": "1", "postrider.dev/fenced-pod": l.lost})
	l.startOperator()
	l.adopted()
	l.fixture.node.set(func(n *node) { n.on["outbound-1"] = "" })
	l.annotate(map[string]string{"postrider.dev/detached-from": l.nodeName})
	l.expectRelay(l.relay, map[string]string{"QueueHealthy": "True/Healthy"})
	if uid := l.podUIDs()["outbound-1"]; uid == l.lost || uid == "" {
		t.Errorf("the pod is %q", uid)
	}
}

// A relay that is being deleted gets the mail of a lost pod too, whoever operates meanwhile: it is adopted, delivered, and goes.
func TestAdoptionWhileTheRelayIsDeleted(t *testing.T) {
	l := lose(t, csi(), nil)
	l.holds(map[string]int64{"outbound-0": 0, "outbound-1": 3})
	l.says("nothing proves")
	l.delete(l.relay)
	l.expectRelay(l.relay, map[string]string{"Ready": "False/Deleting", "QueueHealthy": "False/NodeLost"})
	l.stays(l.relay, "outbound-0", "outbound-1")
	l.kept()
	l.restart()
	if err := server.Client.Delete(context.Background(), l.attachment); err != nil {
		t.Fatal(err)
	}
	l.eventually("another pod", func() error {
		if uid := l.podUIDs()["outbound-1"]; uid == "" || uid == l.lost {
			return fmt.Errorf("the pod is %q", uid)
		}
		return nil
	})
	l.fixture.node.set(func(n *node) { n.silent["outbound-1"] = false })
	l.draining(l.relay, "outbound-1", v1alpha1.StepWaitingForDelivery)
	l.holds(map[string]int64{"outbound-1": 0})
	l.gone(l.relay)
	l.claimsAre("nothing is left")
}

// A volume that can be on the lost node only is never taken, whatever anybody says; it waits.
func TestAVolumeOfALostNodeWaits(t *testing.T) {
	l := lose(t, corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/x"}}, hostnames)
	l.annotate(map[string]string{"postrider.dev/detached-from": l.nodeName})
	l.says("can be nowhere else")
	l.kept()
	if v := l.relay.Status.StrandedVolumes; len(v) != 1 || v[0].Claim != "spool-outbound-1" || v[0].Queued == nil {
		t.Errorf("stranded are %+v", v)
	}
	l.fixture.node.set(func(n *node) { n.lost[l.nodeName], n.silent["outbound-1"] = false, false })
	l.nodeIs(corev1.ConditionTrue)
	l.expectRelay(l.relay, map[string]string{"QueueHealthy": "True/Healthy", "Ready": "True/Serving"})
	l.kept()
	if v := l.relay.Status.StrandedVolumes; len(v) != 0 {
		t.Errorf("stranded are %+v", v)
	}
}

// hostnames binds a volume to one node.
func hostnames(node string) *corev1.VolumeNodeAffinity {
	return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "kubernetes.io/hostname", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
	}}}}
}
