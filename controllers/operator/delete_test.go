package operator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
)

// drain changes how a relay that goes is emptied.
func (f *fixture) drain(relay *v1alpha1.MailRelay, with func(d *v1alpha1.Drain)) {
	f.t.Helper()
	change(f, relay, func(r *v1alpha1.MailRelay) { with(&r.Spec.Drain) })
}

func handTo(name v1alpha1.ObjectName) func(d *v1alpha1.Drain) {
	return func(d *v1alpha1.Drain) {
		d.OnDelete, d.HandoffTo = v1alpha1.DeleteHandoff, &v1alpha1.LocalMailRelayReference{Name: name}
	}
}

// gone waits until a relay and all that belongs to it, but for claims, is gone.
func (f *fixture) gone(relay *v1alpha1.MailRelay) {
	f.t.Helper()
	f.eventually("the relay and all that belongs to it go", func() error {
		if f.get(relay) {
			return fmt.Errorf("the relay is still there: %+v, draining %+v", relay.Status.Conditions, relay.Status.Draining)
		}
		return f.leftovers(relay.Name)
	})
}

// stays looks for two seconds whether just these pods stay.
func (f *fixture) stays(relay *v1alpha1.MailRelay, names ...string) {
	f.t.Helper()
	time.Sleep(2 * time.Second)
	f.there("they stay", names...)
	if !f.get(relay) {
		f.t.Fatal("the relay went")
	}
}

// event waits for one of a reason in a namespace whose note holds a text.
func (f *fixture) event(namespace, reason, text string) {
	f.t.Helper()
	f.eventually("an event "+reason, func() error {
		var list eventsv1.EventList
		if err := server.Client.List(context.Background(), &list, client.InNamespace(namespace)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == reason && strings.Contains(e.Note, text) {
				return nil
			}
		}
		return fmt.Errorf("none of %d says %q", len(list.Items), text)
	})
}

// stranded waits until the metrics say so of a relay.
func (f *fixture) stranded(name string, want float64) {
	f.t.Helper()
	f.eventually("stranded volumes are served", func() error {
		families, err := f.metrics.Gather()
		for _, family := range families {
			for _, m := range family.Metric {
				ours := m.Label[0].GetValue() == name && m.Label[1].GetValue() == f.namespace
				if family.GetName() == "postrider_mailrelay_stranded_volumes" && ours && m.Gauge.GetValue() == want {
					return nil
				}
			}
		}
		return errors.Join(err, errors.New("no series says so"))
	})
}

// message is that of a condition of a relay.
func (f *fixture) message(relay *v1alpha1.MailRelay, kind, text string) {
	f.t.Helper()
	f.eventually(kind+" says "+text, func() error {
		f.get(relay)
		for _, c := range relay.Status.Conditions {
			if c.Type == kind && strings.Contains(c.Message, text) {
				return nil
			}
		}
		return fmt.Errorf("the conditions are %+v", relay.Status.Conditions)
	})
}

// Deliver: the pods take nothing new and stay until they are empty, whoever operates meanwhile.
func TestDeleteDeliver(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	f.holds(map[string]int64{"outbound-0": 4, "outbound-1": 3})
	f.delete(relay)
	f.draining(relay, "outbound-1", v1alpha1.StepWaitingForDelivery)
	f.expectRelay(relay, map[string]string{"Ready": "False/Deleting", "Draining": "True/WaitingForDelivery", "Reconciling": "", "Stalled": ""})
	f.message(relay, "Ready", "spec.drain.onDelete is Deliver")
	if d := relay.Status.Draining; !d.Since.Equal(relay.DeletionTimestamp) || relay.Status.Pods[0].Queued == nil || *relay.Status.Pods[0].Queued != 4 {
		t.Errorf("draining is %+v, the pods %+v", d, relay.Status.Pods)
	}
	if told := f.told("outbound"); told.Handoff != nil || !slices.Equal(told.Cordoned, []string{"outbound-0", "outbound-1"}) {
		t.Errorf("the pods are told %+v, cordoned are %v", told.Handoff, told.Cordoned)
	}
	f.restart()
	f.stays(relay, "outbound-0", "outbound-1")

	f.holds(map[string]int64{"outbound-1": 0})
	f.draining(relay, "outbound-0", v1alpha1.StepWaitingForDelivery)
	f.there("the empty one goes", "outbound-0")
	f.restart()
	f.stays(relay, "outbound-0")

	// The last pod is on its way out when the operator ends.
	f.node.set(func(n *node) { n.lingering = true })
	f.holds(map[string]int64{"outbound-0": 0})
	f.eventually("no pod is wanted any more", func() error {
		set := &appsv1.StatefulSet{ObjectMeta: f.meta("outbound")}
		if f.get(set); *set.Spec.Replicas != 0 {
			return fmt.Errorf("%d are", *set.Spec.Replicas)
		}
		return nil
	})
	f.restart()
	time.Sleep(time.Second)
	if !f.get(relay) {
		t.Error("the relay went before its pods")
	}
	f.node.set(func(n *node) { n.lingering = false })
	f.gone(relay)
	f.claimsAre("and no claim is left")
}

// A relay that is not empty in time stays with Hold, and says so. With Force it goes, its claim is kept and told, and a
// relay made again takes it up, whatever its replicas.
func TestDeleteTimeout(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	f.holds(map[string]int64{"outbound-1": 3})
	f.drain(relay, func(d *v1alpha1.Drain) { d.TimeoutSeconds = 1 })
	f.delete(relay)
	f.expectRelay(relay, map[string]string{"Ready": "False/Deleting", "Draining": "True/DrainTimedOut"})
	f.message(relay, "Draining", "set onTimeout to Force or onDelete to Retain")
	f.stays(relay, "outbound-0", "outbound-1")

	f.node.set(func(n *node) { n.lingering = true })
	f.drain(relay, func(d *v1alpha1.Drain) { d.OnTimeout = v1alpha1.DrainForce })
	f.eventually("the claim is marked before its pod ends", func() error {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: f.meta("spool-outbound-1")}
		if f.get(c); c.Annotations["postrider.dev/volume"] != "kept" || c.Annotations["postrider.dev/queued"] != "3" {
			return fmt.Errorf("it says %v", c.Annotations)
		}
		return nil
	})
	f.restart()
	f.node.set(func(n *node) { n.lingering = false })
	f.gone(relay)
	f.claimsAre("the claim with mail is kept", "spool-outbound-1")
	f.event(f.namespace, "ClaimsKept", "spool-outbound-1 (3 recipients when last asked).")
	f.stranded("outbound", 1)

	again := f.relay("outbound", 1)
	f.create(again)
	f.expectRelay(again, map[string]string{"Draining": "True/HandingOff", "Ready": "True/Serving"})
	f.holds(map[string]int64{"outbound-1": 0})
	f.expectRelay(again, map[string]string{"Draining": "", "Ready": "True/Serving", "QueueHealthy": "True/Healthy"})
	f.claimsAre("and what is emptied goes", "spool-outbound-0")
}

// Retain: the pods go at once, and all claims stay, empty ones too.
func TestDeleteRetain(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	f.holds(map[string]int64{"outbound-1": 3})
	f.eventually("the operator knows", func() error {
		if f.get(relay); relay.Status.Queue == nil || relay.Status.Queue.Queued != 3 {
			return fmt.Errorf("the queue is %+v", relay.Status.Queue)
		}
		return nil
	})
	f.drain(relay, func(d *v1alpha1.Drain) { d.OnDelete = v1alpha1.DeleteRetain })
	f.node.set(func(n *node) { n.lingering = true })
	f.delete(relay)
	f.expectRelay(relay, map[string]string{"Ready": "False/Deleting", "Draining": ""})
	f.message(relay, "Ready", "all its volume claims are kept")
	f.node.set(func(n *node) { n.lingering = false })
	f.gone(relay)
	f.claimsAre("the claims stay", "spool-outbound-0", "spool-outbound-1")
	f.event(f.namespace, "ClaimsKept", "spool-outbound-1 (3 recipients when last asked)")
	f.policies("Retain", "Retain")
}

// What is to become of the mail can be said while a relay is being deleted.
func TestDeleteChangesItsMind(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 1)
	f.holds(map[string]int64{"outbound-0": 3})
	f.delete(relay)
	f.draining(relay, "outbound-0", v1alpha1.StepWaitingForDelivery)
	f.drain(relay, handTo("other"))
	f.expectRelay(relay, map[string]string{"Ready": "False/Deleting", "Draining": "True/HandingOff"})
	f.message(relay, "Draining", "there is no MailRelay other")
	f.drain(relay, func(d *v1alpha1.Drain) { d.OnDelete, d.HandoffTo = v1alpha1.DeleteRetain, nil })
	f.gone(relay)
	f.claimsAre("the claim stays", "spool-outbound-0")
}

// Handoff: the mail goes to the pods of another relay, which admits this one's and no other's for as long.
func TestDeleteHandoff(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	f.holds(map[string]int64{"outbound-0": 4, "outbound-1": 3})
	f.drain(relay, handTo("other"))
	f.delete(relay)
	f.draining(relay, "outbound-1", v1alpha1.StepWaitingForPeers)
	f.message(relay, "Draining", "there is no MailRelay other. Mend that, name another relay in spec.drain.handoffTo")
	f.restart()
	f.stays(relay, "outbound-0", "outbound-1")

	other := f.serving("other", 1)
	giver := "outbound." + f.namespace + ".relay.postrider.internal"
	f.eventually("either side is told", func() error {
		h, givers := f.told("outbound").Handoff, f.told("other").Givers
		if h == nil || h.From != "outbound-1" || len(h.Peers) != 1 || h.Peers[0].Pod != "other-0" || h.Peers[0].Address == "" ||
			h.Peers[0].ServerName != "other."+f.namespace+".relay.postrider.internal" ||
			h.Peers[0].Host != "other-0.other-pods."+f.namespace+".svc.cluster.local" || !slices.Equal(givers, []string{giver}) {
			return fmt.Errorf("told are %+v and %v", h, givers)
		}
		return nil
	})
	for cordoned, peers := range []int{1, 0} { // an admin lets a pod of the other take mail again
		change(f, other, func(r *v1alpha1.MailRelay) {
			r.Annotations = map[string]string{}
			if cordoned == 0 {
				r.Annotations[v1alpha1.CordonAnnotation+"other-0"] = "why not"
			}
		})
		f.eventually("only pods that take mail are told of", func() error {
			if h := f.told("outbound").Handoff; h == nil || len(h.Peers) != 1-peers {
				return fmt.Errorf("told are %+v", h)
			}
			return nil
		})
	}
	f.draining(relay, "outbound-1", v1alpha1.StepHandingOff)
	f.expectRelay(relay, map[string]string{"Ready": "False/Deleting", "Draining": "True/HandingOff"})
	f.message(relay, "Draining", "gives what it has to the pods of MailRelay other, then goes")
	f.restart()
	f.holds(map[string]int64{"outbound-1": 0})
	f.draining(relay, "outbound-0", v1alpha1.StepHandingOff)
	f.holds(map[string]int64{"outbound-0": 0})
	f.gone(relay)
	f.claimsAre("its claims are gone", "spool-other-0")
	f.eventually("nobody else is admitted", func() error {
		if givers := f.told("other").Givers; len(givers) > 0 {
			return fmt.Errorf("%v are", givers)
		}
		return nil
	})
	f.expectRelay(other, map[string]string{"Ready": "True/Serving", "ConfigCurrent": "True/InForce"})
}

// Two relays that name each other and are both deleted wait for delivery; one that is empty goes, for there is nobody to
// tell anything.
func TestDeleteHandoffToOneThatGoesItself(t *testing.T) {
	f := setUp(t)
	one, two := f.serving("one", 1), f.serving("two", 1)
	f.holds(map[string]int64{"one-0": 3})
	f.drain(one, handTo("two"))
	f.drain(two, handTo("one"))
	f.node.set(func(n *node) { n.silent["two-0"] = true })
	f.delete(two)
	f.delete(one)
	f.message(one, "Draining", "MailRelay two is being deleted itself")
	if givers := append(f.told("one").Givers, f.told("two").Givers...); len(givers) > 0 {
		t.Errorf("admitted are %v", givers)
	}
	f.node.set(func(n *node) { n.silent["two-0"] = false })
	f.gone(two)
	f.message(one, "Draining", "there is no MailRelay two")
	f.holds(map[string]int64{"one-0": 0})
	f.gone(one)
	f.claimsAre("none is left")
}

// policies waits until the volumes of the claims there are have these reclaim policies, by the claims' names.
func (f *fixture) policies(want ...string) {
	f.t.Helper()
	f.eventually(fmt.Sprintf("the reclaim policies are %v", want), func() error {
		var have []string
		for _, name := range f.claims() {
			c := &corev1.PersistentVolumeClaim{ObjectMeta: f.meta(name)}
			f.get(c)
			v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: c.Spec.VolumeName}}
			f.get(v)
			have = append(have, string(v.Spec.PersistentVolumeReclaimPolicy))
		}
		if !slices.Equal(have, want) {
			return fmt.Errorf("they are %v", have)
		}
		return nil
	})
}

// Volumes survive their claims while they may hold mail, and no longer.
func TestVolumesSurvive(t *testing.T) {
	f := setUp(t)
	relay := f.relay("outbound", 2)
	relay.Spec.Queue.Storage.Reclaim = v1alpha1.ReclaimRetain
	f.create(relay)
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "ConfigCurrent": "True/InForce", "Reconciling": ""})
	f.policies("Retain", "Retain")
	f.replicas(relay, 1)
	f.there("the empty one goes", "outbound-0")
	f.policies("Retain", "Delete")
	f.restart()
	f.replicas(relay, 2)
	f.policies("Retain", "Retain")

	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Queue.Storage.Reclaim = v1alpha1.ReclaimWhenDrained })
	c := &corev1.PersistentVolumeClaim{ObjectMeta: f.meta("spool-outbound-1")}
	f.get(c)
	f.there("both are there", "outbound-0", "outbound-1")
	f.replicas(relay, 1)
	f.claimsAre("the empty claim goes", "spool-outbound-0")
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: c.Spec.VolumeName}}
	if f.get(v); v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete || v.Annotations["postrider.dev/reclaim-policy"] != "" {
		t.Errorf("its volume is left with %s, %v", v.Spec.PersistentVolumeReclaimPolicy, v.Annotations)
	}
}

// In a namespace that is deleted nothing can drain: it ends all the same, the volumes stay, and an event in the operator's
// namespace tells of each.
func TestNamespaceDeletion(t *testing.T) {
	f := setUp(t)
	server.Controllers(t, "namespace-controller")
	relay := f.serving("outbound", 2)
	f.holds(map[string]int64{"outbound-1": 3})
	f.eventually("the operator knows", func() error {
		if f.get(relay); relay.Status.Queue == nil || relay.Status.Queue.Queued != 3 {
			return fmt.Errorf("the queue is %+v", relay.Status.Queue)
		}
		return nil
	})
	f.policies("Retain", "Retain")
	c := &corev1.PersistentVolumeClaim{ObjectMeta: f.meta("spool-outbound-1")}
	f.get(c)
	f.delete(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.namespace}})
	f.eventually("the namespace ends", func() error {
		n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.namespace}}
		if f.get(n) {
			return fmt.Errorf("it says %+v", n.Status.Conditions)
		}
		return nil
	})
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: c.Spec.VolumeName}}
	if !f.get(v) || v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
		t.Errorf("the volume is %+v", v.Spec)
	}
	f.event("postrider-system", "VolumeKept", fmt.Sprintf("Volume %s of claim %s/spool-outbound-1 (MailRelay outbound; 3 recipients when last asked) is kept", v.Name, f.namespace))
}
