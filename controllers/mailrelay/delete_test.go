package mailrelay

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/api/v1alpha1"
)

// When a pod may go that is not empty.
func TestForced(t *testing.T) {
	at := func(seconds int) *metav1.Time {
		return &metav1.Time{Time: start.Add(-time.Duration(seconds) * time.Second)}
	}
	draining := func(seconds int) *v1alpha1.DrainingPod {
		return &v1alpha1.DrainingPod{Pod: "out-1", Since: *at(seconds)}
	}
	tests := map[string]struct {
		deleted  *metav1.Time
		draining *v1alpha1.DrainingPod
		drain    v1alpha1.Drain
		forced   bool
	}{
		"scale-down, in time":       {nil, draining(9), v1alpha1.Drain{TimeoutSeconds: 10, OnTimeout: v1alpha1.DrainForce}, false},
		"scale-down, late":          {nil, draining(11), v1alpha1.Drain{TimeoutSeconds: 10, OnTimeout: v1alpha1.DrainForce}, true},
		"scale-down, held":          {nil, draining(11), v1alpha1.Drain{TimeoutSeconds: 10, OnTimeout: v1alpha1.DrainHold}, false},
		"scale-down keeps no pods":  {nil, draining(11), v1alpha1.Drain{OnDelete: v1alpha1.DeleteRetain}, false},
		"deletion, in time":         {at(9), draining(11), v1alpha1.Drain{TimeoutSeconds: 10, OnTimeout: v1alpha1.DrainForce}, false},
		"deletion, late":            {at(11), nil, v1alpha1.Drain{TimeoutSeconds: 10, OnTimeout: v1alpha1.DrainForce}, true},
		"deletion, held":            {at(11), nil, v1alpha1.Drain{TimeoutSeconds: 10, OnTimeout: v1alpha1.DrainHold}, false},
		"deletion, given more time": {at(11), nil, v1alpha1.Drain{TimeoutSeconds: 20, OnTimeout: v1alpha1.DrainForce}, false},
		"deletion, at once":         {at(0), nil, v1alpha1.Drain{OnDelete: v1alpha1.DeleteRetain}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			relay := &v1alpha1.MailRelay{ObjectMeta: metav1.ObjectMeta{Name: "out", DeletionTimestamp: test.deleted}}
			relay.Spec.Drain, relay.Spec.Replicas, relay.Status.Draining = test.drain, 1, test.draining
			p := &pass{relay: relay, now: start}
			if got := p.forced(1); got != test.forced {
				t.Errorf("got %v", got)
			}
		})
	}
}

// A mark from the end of a former relay of the name keeps no claim from being taken up.
func TestMarksOfAFormerRelay(t *testing.T) {
	claim := func(m string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{UID: "1", Annotations: map[string]string{"postrider.dev/volume": m}},
			Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound}}
	}
	for m, want := range map[string]struct{ there, deleted bool }{"": {true, true}, "kept": {true, false}, "stranded": {false, false}, "empty": {false, false}} {
		for deleted, lost := range map[bool]bool{false: want.there, true: want.deleted} {
			relay := &v1alpha1.MailRelay{}
			if deleted {
				relay.DeletionTimestamp = &metav1.Time{Time: start}
			}
			p := &pass{relay: relay, memory: &memory{marks: map[types.UID]marked{}}}
			if got := p.lost(claim(m)); got != lost {
				t.Errorf("%q, relay deleted %v: lost is %v", m, deleted, got)
			}
		}
	}
}

func TestReclaimOf(t *testing.T) {
	tests := map[string]struct {
		policy corev1.PersistentVolumeReclaimPolicy
		former string
		retain bool
		want   corev1.PersistentVolumeReclaimPolicy
		note   any
	}{
		"may hold mail":                {"Delete", "", true, "Retain", "Delete"},
		"recycled":                     {"Recycle", "", true, "Retain", "Recycle"},
		"somebody set it back":         {"Delete", "Delete", true, "Retain", "Delete"},
		"kept already":                 {"Retain", "Delete", true, "Retain", ""},
		"kept by its class":            {"Retain", "", true, "Retain", ""},
		"empty":                        {"Retain", "Delete", false, "Delete", nil},
		"empty, and kept by its class": {"Retain", "", false, "Retain", ""},
		"empty, and never kept":        {"Delete", "", false, "Delete", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{formerPolicy: test.former}}}
			v.Spec.PersistentVolumeReclaimPolicy = test.policy
			policy, note := reclaimOf(v, test.retain)
			if policy != test.want || policy != test.policy && note != test.note {
				t.Errorf("got %s, %v", policy, note)
			}
		})
	}
}
