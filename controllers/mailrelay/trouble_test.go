package mailrelay

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTrouble(t *testing.T) {
	waits := func(reason string) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "relay", Image: "postrider:v9", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "no"}},
		}}}
	}
	ended := func(often int32, ready bool) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "relay", RestartCount: often, Ready: ready, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"}},
		}}}
	}
	for name, c := range map[string]struct {
		status   corev1.PodStatus
		want     string
		hopeless bool
	}{
		"nothing is known":   {corev1.PodStatus{}, "", false},
		"it is being made":   {waits("ContainerCreating"), "", false},
		"no such image":      {waits("ImagePullBackOff"), "image postrider:v9 cannot be had (ImagePullBackOff: no)", true},
		"a bad name":         {waits("InvalidImageName"), "spec.version", true},
		"a missing Secret":   {waits("CreateContainerConfigError"), "kubectl describe pod out-1", true},
		"a crash":            {ended(1, false), "", false},
		"crashes":            {ended(3, false), "has ended 3 times, lately with code 1 (Error). See kubectl logs --previous out-1", true},
		"crashes of old":     {ended(7, true), "", false},
		"no node has room":   {corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes"}}}, "No node takes it (0/3 nodes)", false},
		"it has been placed": {corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			why, hopeless := trouble(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "out-1"}, Status: c.status})
			if !strings.Contains(why, c.want) || (why == "") != (c.want == "") || hopeless != c.hopeless {
				t.Errorf("%q, hopeless %v", why, hopeless)
			}
		})
	}
}

func TestUnreadySince(t *testing.T) {
	p := member(1, "")
	p.CreationTimestamp = metav1.NewTime(start)
	if got := p.unreadySince(); !got.Equal(start) {
		t.Errorf("a pod without conditions is unready since %v", got)
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(start.Add(time.Hour))}}
	if got := p.unreadySince(); !got.Equal(start.Add(time.Hour)) {
		t.Errorf("a pod that was ready is unready since %v", got)
	}
}
