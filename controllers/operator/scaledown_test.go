package operator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/config"
)

// holds sets the queues of pods.
func (f *fixture) holds(queues map[string]int64) {
	f.node.set(func(n *node) {
		for name, queued := range queues {
			n.queued[name] = queued
		}
	})
}

// replicas changes how many pods a relay shall have.
func (f *fixture) replicas(relay *v1alpha1.MailRelay, n int32) {
	f.t.Helper()
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Replicas = n })
}

// there waits until there are just these pods.
func (f *fixture) there(what string, names ...string) {
	f.t.Helper()
	f.eventually(what, func() error {
		var found []string
		for name := range f.podUIDs() {
			found = append(found, name)
		}
		if slices.Sort(found); !slices.Equal(found, names) {
			return fmt.Errorf("there are %v", found)
		}
		return nil
	})
}

func (f *fixture) claimsAre(what string, names ...string) {
	f.t.Helper()
	f.eventually(what, func() error {
		if found := f.claims(); !slices.Equal(found, names) {
			return fmt.Errorf("there are %v", found)
		}
		return nil
	})
}

// draining waits until a pod is being emptied.
func (f *fixture) draining(relay *v1alpha1.MailRelay, pod string, step v1alpha1.DrainStep) {
	f.t.Helper()
	f.eventually(pod+" is being emptied", func() error {
		f.get(relay)
		if d := relay.Status.Draining; d == nil || d.Pod != pod || d.Step != step || d.Since.IsZero() {
			return fmt.Errorf("draining is %+v", d)
		}
		return nil
	})
}

// told is what the pods are told.
func (f *fixture) told(name string) config.Relay {
	f.t.Helper()
	c := &corev1.ConfigMap{ObjectMeta: f.meta(name + "-config")}
	f.get(c)
	var relay config.Relay
	if err := json.Unmarshal([]byte(c.Data[config.RelayFile]), &relay); err != nil {
		f.t.Fatal(err)
	}
	return relay
}

// Pods go one at a time, the highest first, each only when it was found empty; another operator goes on wherever the one
// before it ended.
func TestScaleDownGoesOnAfterAnyRestart(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 3)
	f.holds(map[string]int64{"outbound-1": 4, "outbound-2": 3})
	f.stop()
	f.replicas(relay, 1)
	f.startOperator()
	f.draining(relay, "outbound-2", v1alpha1.StepHandingOff)
	f.expectRelay(relay, map[string]string{"Draining": "True/HandingOff", "Reconciling": "True/ScalingDown", "Ready": "True/Serving"})
	since := relay.Status.Draining.Since
	if d := relay.Status.Draining; d.Queued == nil || *d.Queued != 3 || relay.Status.Pods[2].State != v1alpha1.PodDraining || relay.Status.Pods[1].State != v1alpha1.PodCordoned {
		t.Errorf("the status says %+v, %+v", d, relay.Status.Pods)
	}
	told := f.told("outbound")
	if h := told.Handoff; h == nil || h.From != "outbound-2" || len(h.Peers) != 1 || h.Peers[0].Pod != "outbound-0" || h.Peers[0].Address == "" ||
		h.Peers[0].Host != "outbound-0.outbound-pods."+f.namespace+".svc.cluster.local" {
		t.Errorf("the pods are told %+v", h)
	}
	if !slices.Equal(told.Cordoned, []string{"outbound-1", "outbound-2"}) || told.Admin.ServerName == "" {
		t.Errorf("cordoned are %v, the peers are known as %q", told.Cordoned, told.Admin.ServerName)
	}

	f.restart()
	time.Sleep(2 * time.Second)
	if f.get(relay); !relay.Status.Draining.Since.Equal(&since) || len(f.podUIDs()) != 3 {
		t.Fatalf("after a restart: %+v, pods %v", relay.Status.Draining, f.podUIDs())
	}
	f.holds(map[string]int64{"outbound-2": 0})
	f.restart() // it may have been found empty once
	f.draining(relay, "outbound-1", v1alpha1.StepHandingOff)
	f.there("the highest goes first", "outbound-0", "outbound-1")
	f.claimsAre("and its claim with it", "spool-outbound-0", "spool-outbound-1")
	f.eventually("the pods are told whose turn it is", func() error {
		if h := f.told("outbound").Handoff; h == nil || h.From != "outbound-1" {
			return fmt.Errorf("they are told %+v", h)
		}
		return nil
	})
	f.holds(map[string]int64{"outbound-1": 0})
	f.there("then the other", "outbound-0")
	f.restart()
	f.claimsAre("and its claim", "spool-outbound-0")
	f.expectRelay(relay, map[string]string{"Draining": "", "Reconciling": "", "Ready": "True/Serving", "QueueHealthy": "True/Healthy"})
	if relay.Status.Draining != nil || f.told("outbound").Handoff != nil {
		t.Error("something is still being emptied")
	}
}

// A claim that is being deleted when the operator ends leaves nothing behind, and nothing half.
func TestScaleDownEndsBetweenClaimAndPod(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	f.stop()
	f.delete(&corev1.PersistentVolumeClaim{ObjectMeta: f.meta("spool-outbound-1")})
	f.replicas(relay, 1)
	f.startOperator()
	f.there("the pod goes", "outbound-0")
	f.claimsAre("with its claim", "spool-outbound-0")
}

func TestRaisedAgainServesAtOnce(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	f.holds(map[string]int64{"outbound-1": 3})
	before := f.podUIDs()
	f.replicas(relay, 1)
	f.draining(relay, "outbound-1", v1alpha1.StepHandingOff)
	f.replicas(relay, 2)
	f.expectRelay(relay, map[string]string{"Draining": "", "Ready": "True/Serving", "Reconciling": "", "ConfigCurrent": "True/InForce"})
	pod := &corev1.Pod{ObjectMeta: f.meta("outbound-1")}
	if !f.get(pod) || pod.Labels["postrider.dev/serving"] != "true" || string(pod.UID) != before["outbound-1"] {
		t.Errorf("the pod is %v, with %v", pod.UID, pod.Labels)
	}
	if told := f.told("outbound"); told.Handoff != nil || told.Cordoned != nil {
		t.Errorf("the pods are told %+v, %v", told.Handoff, told.Cordoned)
	}
}

// A pod that is not empty in time stays, or goes without its claim, as asked; and more replicas take the claim up again.
func TestDrainTimeout(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	f.holds(map[string]int64{"outbound-1": 3})
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Replicas, r.Spec.Drain.TimeoutSeconds = 1, 1 })
	f.expectRelay(relay, map[string]string{"Draining": "True/DrainTimedOut", "Ready": "True/Serving"})
	time.Sleep(2 * time.Second)
	f.there("Hold keeps the pod", "outbound-0", "outbound-1")

	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Drain.OnTimeout = v1alpha1.DrainForce })
	f.there("Force lets it go", "outbound-0")
	f.expectRelay(relay, map[string]string{"Draining": "", "QueueHealthy": "False/StrandedMail"})
	f.claimsAre("and keeps its claim", "spool-outbound-0", "spool-outbound-1")
	if v := relay.Status.StrandedVolumes; len(v) != 1 || v[0].Claim != "spool-outbound-1" || v[0].Queued == nil || *v[0].Queued != 3 {
		t.Errorf("stranded are %+v", v)
	}
	f.restart()
	time.Sleep(2 * time.Second)
	f.there("for good", "outbound-0")

	f.replicas(relay, 2)
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "QueueHealthy": "True/Healthy"})
	f.there("its mail is salvaged", "outbound-0", "outbound-1")
	if f.get(relay); len(relay.Status.StrandedVolumes) != 0 {
		t.Errorf("stranded are %+v", relay.Status.StrandedVolumes)
	}
	// What is known of the claim from before counts no more.
	f.holds(map[string]int64{"outbound-1": 0})
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Replicas, r.Spec.Drain.TimeoutSeconds = 1, 3600 })
	f.claimsAre("an empty one goes", "spool-outbound-0")
}

// A direct scale of the StatefulSet is reverted, also of a pod that is being emptied.
func TestDirectScaleIsReverted(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	set := &appsv1.StatefulSet{ObjectMeta: f.meta("outbound")}
	change(f, set, func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(0)) })
	f.there("all are there again", "outbound-0", "outbound-1")
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "Reconciling": "", "ConfigCurrent": "True/InForce"})

	f.holds(map[string]int64{"outbound-1": 3})
	f.replicas(relay, 1)
	f.draining(relay, "outbound-1", v1alpha1.StepHandingOff)
	before := f.podUIDs()["outbound-1"]
	f.stop()
	change(f, set, func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(1)) })
	f.there("the pod with mail is lost", "outbound-0")
	f.startOperator()
	f.there("it comes back to its claim", "outbound-0", "outbound-1")
	if now := f.podUIDs()["outbound-1"]; now == before {
		t.Error("it never went")
	}
	f.draining(relay, "outbound-1", v1alpha1.StepHandingOff)
	f.holds(map[string]int64{"outbound-1": 0})
	f.there("and is emptied", "outbound-0")
	f.claimsAre("with its claim", "spool-outbound-0")
}

func TestRetainedClaimsStayAndBringNoPodBack(t *testing.T) {
	f := setUp(t)
	relay := f.relay("outbound", 2)
	relay.Spec.Queue.Storage.Reclaim = v1alpha1.ReclaimRetain
	f.create(relay)
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "ConfigCurrent": "True/InForce", "Reconciling": ""})
	f.replicas(relay, 1)
	f.there("the empty one goes", "outbound-0")
	f.restart()
	f.expectRelay(relay, map[string]string{"Draining": "", "Reconciling": "", "QueueHealthy": "True/Healthy"})
	time.Sleep(2 * time.Second)
	f.there("and stays away", "outbound-0")
	f.claimsAre("its claim stays", "spool-outbound-0", "spool-outbound-1")
}

func TestDeliverWaitsForTheQueue(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	f.holds(map[string]int64{"outbound-1": 3})
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Replicas, r.Spec.Drain.OnScaleDown = 1, v1alpha1.DrainDeliver })
	f.draining(relay, "outbound-1", v1alpha1.StepWaitingForDelivery)
	f.expectRelay(relay, map[string]string{"Draining": "True/WaitingForDelivery", "Ready": "True/Serving", "ConfigCurrent": "True/InForce"})
	if h := f.told("outbound").Handoff; h != nil {
		t.Errorf("the pods are told %+v", h)
	}
	f.holds(map[string]int64{"outbound-1": 0})
	f.there("it goes", "outbound-0")
}

// A volume that somebody deletes goes with its pod: the pod is emptied first, and comes back with a new one.
func TestADeletedClaimIsEmptiedFirst(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	f.holds(map[string]int64{"outbound-0": 3})
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: f.meta("spool-outbound-0")}
	f.get(claim)
	old, before := claim.UID, f.podUIDs()["outbound-0"]
	f.delete(claim)
	f.draining(relay, "outbound-0", v1alpha1.StepHandingOff)
	if h := f.told("outbound").Handoff; h == nil || h.From != "outbound-0" || len(h.Peers) != 1 || h.Peers[0].Pod != "outbound-1" {
		t.Errorf("the pods are told %+v", h)
	}
	if f.podUIDs()["outbound-0"] != before {
		t.Fatal("the pod with mail was replaced")
	}
	f.holds(map[string]int64{"outbound-0": 0})
	f.eventually("another pod has another claim", func() error {
		if err := server.Client.Get(context.Background(), client.ObjectKeyFromObject(claim), claim); err != nil {
			return err
		}
		if claim.UID == old || f.podUIDs()["outbound-0"] == before {
			return fmt.Errorf("pod %s, claim %s", f.podUIDs()["outbound-0"], claim.UID)
		}
		return nil
	})
	f.expectRelay(relay, map[string]string{"Draining": "", "Ready": "True/Serving", "ConfigCurrent": "True/InForce"})
}
