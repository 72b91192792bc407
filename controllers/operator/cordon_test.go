package operator_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/postrider/postrider/api/v1alpha1"
)

// annotated sets an annotation of a relay, or removes it when the value is empty.
func (f *fixture) annotated(relay *v1alpha1.MailRelay, key, value string) {
	f.t.Helper()
	change(f, relay, func(r *v1alpha1.MailRelay) {
		if r.Annotations == nil {
			r.Annotations = map[string]string{}
		}
		if r.Annotations[key] = value; value == "" {
			delete(r.Annotations, key)
		}
	})
}

// states waits until the pods are in these states, by ordinal.
func (f *fixture) states(relay *v1alpha1.MailRelay, want ...v1alpha1.PodState) {
	f.t.Helper()
	f.eventually(fmt.Sprintf("the pods are %v", want), func() error {
		f.get(relay)
		var got []v1alpha1.PodState
		for _, p := range relay.Status.Pods {
			got = append(got, p.State)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("they are %v", got)
		}
		return nil
	})
}

// serves waits until the label of a pod, which the Service selects by, says whether it serves.
func (f *fixture) serves(name string, want bool) {
	f.t.Helper()
	f.eventually(fmt.Sprintf("%s serves: %v", name, want), func() error {
		pod := &corev1.Pod{ObjectMeta: f.meta(name)}
		if !f.get(pod) || pod.Labels["postrider.dev/serving"] != fmt.Sprint(want) {
			return fmt.Errorf("labels %v", pod.Labels)
		}
		return nil
	})
}

// comesToRest waits until nothing has been written for three polls.
func (f *fixture) comesToRest() {
	f.t.Helper()
	f.eventually("the operator writes nothing more", func() error {
		f.requests.Writes()
		time.Sleep(3 * time.Second)
		if writes := f.requests.Writes(); len(writes) > 0 {
			return fmt.Errorf("it writes %v", writes)
		}
		return nil
	})
}

// A pod that an admin cordons takes no new mail, whoever restarts meanwhile, until the annotation goes.
func TestCordonByAnnotation(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	f.holds(map[string]int64{"outbound-1": 3})
	f.annotated(relay, "cordon.postrider.dev/outbound-1", "alice: its disk is slow")
	f.states(relay, v1alpha1.PodServing, v1alpha1.PodCordoned)
	f.serves("outbound-1", false)
	f.event(f.namespace, "Cordoned", "outbound-1 takes no new mail (alice: its disk is slow)")
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "Available": "True/MinimumReplicasAvailable", "Draining": "", "Reconciling": "", "ConfigCurrent": "True/InForce"})
	if told := f.told("outbound"); !slices.Equal(told.Cordoned, []string{"outbound-1"}) || told.Handoff != nil {
		t.Errorf("the pods are told %v, %+v", told.Cordoned, told.Handoff)
	}

	f.restart()
	f.delete(&corev1.Pod{ObjectMeta: f.meta("outbound-1")})
	f.serves("outbound-1", false)
	f.states(relay, v1alpha1.PodServing, v1alpha1.PodCordoned)
	f.holds(map[string]int64{"outbound-1": 0})
	f.comesToRest()

	f.annotated(relay, "cordon.postrider.dev/outbound-1", "")
	f.states(relay, v1alpha1.PodServing, v1alpha1.PodServing)
	f.serves("outbound-1", true)
	f.event(f.namespace, "Uncordoned", "outbound-1 takes mail again")
	if told := f.told("outbound"); len(told.Cordoned) > 0 {
		t.Errorf("the pods are told %v", told.Cordoned)
	}
}

// A pod that an admin drains hands its mail over and stays, empty and at rest, with its claim.
func TestDrainByAnnotation(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 3)
	f.holds(map[string]int64{"outbound-1": 3})
	f.annotated(relay, "cordon.postrider.dev/outbound-2", "alice: not as a peer")
	f.annotated(relay, "drain.postrider.dev/outbound-1", "alice: its volume is replaced")
	f.draining(relay, "outbound-1", v1alpha1.StepHandingOff)
	f.expectRelay(relay, map[string]string{"Draining": "True/HandingOff", "Reconciling": "", "Ready": "True/Serving"})
	f.event(f.namespace, "Cordoned", "outbound-1 takes no new mail, and gives what it has")
	if h := f.told("outbound").Handoff; h == nil || h.From != "outbound-1" || len(h.Peers) != 1 || h.Peers[0].Pod != "outbound-0" {
		t.Errorf("the pods are told %+v", h)
	}
	f.holds(map[string]int64{"outbound-1": 0})
	f.expectRelay(relay, map[string]string{"Draining": "", "Ready": "True/Serving", "ConfigCurrent": "True/InForce"})
	f.states(relay, v1alpha1.PodServing, v1alpha1.PodCordoned, v1alpha1.PodCordoned)
	f.eventually("nothing more is handed over", func() error {
		if h := f.told("outbound").Handoff; h != nil {
			return fmt.Errorf("told %+v", h)
		}
		return nil
	})
	f.comesToRest()
	f.there("all stay", "outbound-0", "outbound-1", "outbound-2")
	f.claimsAre("with their claims", "spool-outbound-0", "spool-outbound-1", "spool-outbound-2")

	f.annotated(relay, "drain.postrider.dev/outbound-1", "")
	f.states(relay, v1alpha1.PodServing, v1alpha1.PodServing, v1alpha1.PodCordoned)
}
