package mailrelay

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/postrider/postrider/controllers/desired"
)

// revisionLabel holds the revision of the pod template that a pod was made from.
const revisionLabel = "controller-revision-hash"

// pod is one of a relay's.
type pod struct {
	*corev1.Pod
	ordinal int32
	// surplus says that it is to go: its ordinal is beyond the replicas, the relay is being deleted, or its claim is.
	surplus bool
	// steered is what an admin wants of it.
	steered steered
	// updated says that it was made from the newest template.
	updated bool
}

// podsOf picks those of the relay's StatefulSet, by ordinal. Pods that have ended are not there.
func podsOf(list []corev1.Pod, relay string, goes func(ordinal int32) bool, revision string) []pod {
	var pods []pod
	for i := range list {
		p := &list[i]
		ordinal, ok := ordinalOf(p.Name, relay+"-")
		if !ok || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		pods = append(pods, pod{
			Pod: p, ordinal: ordinal, surplus: goes(ordinal),
			updated: revision == "" || p.Labels[revisionLabel] == revision,
		})
	}
	slices.SortFunc(pods, func(a, b pod) int { return int(a.ordinal - b.ordinal) })
	return pods
}

// ordinalOf reads the number behind a prefix, as StatefulSets write it.
func ordinalOf(name, prefix string) (int32, bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	n, err := strconv.ParseInt(digits, 10, 32)
	return int32(n), ok && err == nil && strconv.FormatInt(n, 10) == digits && n >= 0
}

func (p pod) ready() bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}

func (p pod) serving() bool { return p.Labels[desired.ServingLabel] == "true" }
