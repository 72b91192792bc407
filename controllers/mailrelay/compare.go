package mailrelay

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/condition"
)

// change is how one status differs from another.
type change int

const (
	changeNone change = iota
	// changeCounts: only numbers and times that move by themselves.
	changeCounts
	// changeMeaning: anything else.
	changeMeaning
)

// compare says how after differs from before.
func compare(before, after v1alpha1.MailRelayStatus) change {
	if !condition.Same(before.Conditions, after.Conditions) {
		return changeMeaning
	}
	before.Conditions, after.Conditions = nil, nil
	if equality.Semantic.DeepEqual(before, after) {
		return changeNone
	}
	if equality.Semantic.DeepEqual(withoutCounts(before), withoutCounts(after)) {
		return changeCounts
	}
	return changeMeaning
}

// withoutCounts keeps what does not move by itself, and whether the counts are known at all.
func withoutCounts(s v1alpha1.MailRelayStatus) v1alpha1.MailRelayStatus {
	if s.Queue != nil {
		s.Queue = &v1alpha1.QueueStatus{}
	}
	s.Slowest = nil
	if s.Draining != nil {
		s.Draining = s.Draining.DeepCopy()
		s.Draining.Queued, s.Draining.Problem = nil, ""
	}
	s.Pods = slices.Clone(s.Pods)
	for i := range s.Pods {
		if s.Pods[i].Queued != nil {
			s.Pods[i].Queued = new(int64)
		}
	}
	return s
}
