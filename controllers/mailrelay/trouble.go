package mailrelay

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// crashes is how often the relay in a pod that is not ready has ended when that is taken for a rule.
const crashes = 3

// trouble is what keeps a pod from becoming ready, and what to do, as far as scheduler and kubelet tell; hopeless says that
// waiting does not help. A node may still come for a pod that finds none.
func trouble(p *corev1.Pod) (why string, hopeless bool) {
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && slices.Contains(imageReasons, w.Reason) {
			return fmt.Sprintf("Its image %s cannot be had (%s: %s). Correct spec.version, the operator's RELAY_IMAGE or spec.pod.imagePullSecrets.", c.Image, w.Reason, w.Message), true
		} else if w != nil && slices.Contains(startReasons, w.Reason) {
			return fmt.Sprintf("It cannot be started (%s: %s). See kubectl describe pod %s.", w.Reason, w.Message, p.Name), true
		}
		if c.RestartCount >= crashes && !c.Ready {
			return fmt.Sprintf("The relay in it has ended %d times%s. See kubectl logs --previous %s.", c.RestartCount, lastExit(c), p.Name), true
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return fmt.Sprintf("No node takes it (%s). Make room, or correct spec.pod.", c.Message), false
		}
	}
	return "", false
}

// Reasons of the kubelet, for containers that wait.
var (
	imageReasons = []string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable", "ImageInspectError"}
	startReasons = []string{"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)

func lastExit(c corev1.ContainerStatus) string {
	t := c.LastTerminationState.Terminated
	if t == nil {
		return ""
	}
	return fmt.Sprintf(", lately with code %d (%s)", t.ExitCode, t.Reason)
}

// unreadySince is when a pod that is not ready ceased to be, or was made.
func (p pod) unreadySince() time.Time {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return p.CreationTimestamp.Time
}
