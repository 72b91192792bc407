package mailrelay

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nodeIs is a node in a zone of its own; Ready is as given.
func nodeIs(name string, ready corev1.ConditionStatus, taints ...string) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name, "zone": "zone-of-" + name, "cores": "4"}}}
	if ready != "" {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
	}
	for _, key := range taints {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key})
	}
	return n
}

// volumeOn is a volume that can be where all of some terms hold; anywhere without.
func volumeOn(requirements ...corev1.NodeSelectorRequirement) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "volume"}}
	if len(requirements) > 0 {
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: requirements}},
		}}
	}
	return v
}

func on(key string, operator corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorRequirement {
	return corev1.NodeSelectorRequirement{Key: key, Operator: operator, Values: values}
}

func attachment(volume, node string) storagev1.VolumeAttachment {
	return storagev1.VolumeAttachment{Spec: storagev1.VolumeAttachmentSpec{NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume}}}
}

// TestDecide: state of the node, its taints, what is attached, where the volume can be, what an admin said.
func TestDecide(t *testing.T) {
	const outOfService = corev1.TaintNodeOutOfService
	ready, silent := nodeIs("a", corev1.ConditionTrue), nodeIs("a", corev1.ConditionUnknown, corev1.TaintNodeUnreachable)
	unready, declared := nodeIs("a", corev1.ConditionFalse), nodeIs("a", corev1.ConditionUnknown, outOfService)
	unreadyDeclared, readyDeclared := nodeIs("a", corev1.ConditionFalse, outOfService), nodeIs("a", corev1.ConditionTrue, outOfService)
	fresh, other, otherLost := nodeIs("a", ""), nodeIs("b", corev1.ConditionTrue), nodeIs("b", corev1.ConditionUnknown)
	hostPath := volumeOn()
	hostPath.Spec.HostPath = &corev1.HostPathVolumeSource{Path: "/x"}
	local := volumeOn(on("kubernetes.io/hostname", corev1.NodeSelectorOpIn, "a"))
	both := volumeOn(on("kubernetes.io/hostname", corev1.NodeSelectorOpIn, "a", "b"))
	nodes := []corev1.Node{silent, other}
	for name, tc := range map[string]struct {
		facts nodeFacts
		want  verdict
	}{
		"ready":                                  {nodeFacts{node: &ready, volume: volumeOn()}, nodeThere},
		"ready, and stated":                      {nodeFacts{node: &ready, volume: volumeOn(), statement: "a"}, nodeThere},
		"ready, and declared":                    {nodeFacts{node: &readyDeclared, volume: volumeOn()}, nodeThere},
		"ready, nothing attached":                {nodeFacts{node: &ready, volume: volumeOn(), attachable: true}, nodeThere},
		"says itself that it is not ready":       {nodeFacts{node: &unready, volume: volumeOn(), statement: "a"}, nodeThere},
		"has just come":                          {nodeFacts{node: &fresh, volume: volumeOn(), statement: "a"}, nodeThere},
		"deleted":                                {nodeFacts{volume: volumeOn(), statement: "a", attachable: true}, nodeThere},
		"deleted, with the volume on it":         {nodeFacts{volume: local, nodes: []corev1.Node{other}}, nodeLocal},
		"silent":                                 {nodeFacts{node: &silent, volume: volumeOn()}, unproven},
		"silent, volume unknown":                 {nodeFacts{node: &silent}, unproven},
		"silent, stated":                         {nodeFacts{node: &silent, volume: volumeOn(), statement: "a"}, detached},
		"silent, stated of another node":         {nodeFacts{node: &silent, volume: volumeOn(), statement: "b"}, unproven},
		"silent, declared":                       {nodeFacts{node: &declared, volume: volumeOn()}, detached},
		"not ready, declared":                    {nodeFacts{node: &unreadyDeclared, volume: volumeOn()}, detached},
		"silent, attached":                       {nodeFacts{node: &silent, volume: volumeOn(), attachable: true, attachments: []storagev1.VolumeAttachment{attachment("volume", "a")}}, unproven},
		"silent, attached and stated":            {nodeFacts{node: &silent, volume: volumeOn(), attachable: true, attachments: []storagev1.VolumeAttachment{attachment("volume", "a")}, statement: "a"}, detached},
		"silent, detached":                       {nodeFacts{node: &silent, volume: volumeOn(), attachable: true}, detached},
		"silent, others are attached":            {nodeFacts{node: &silent, volume: volumeOn(), attachable: true, attachments: []storagev1.VolumeAttachment{attachment("other", "a"), attachment("volume", "b")}}, detached},
		"silent, a driver that does not attach":  {nodeFacts{node: &silent, volume: volumeOn(), attachable: false}, unproven},
		"a local volume":                         {nodeFacts{node: &silent, volume: local, nodes: nodes}, nodeLocal},
		"a local volume, stated":                 {nodeFacts{node: &silent, volume: local, nodes: nodes, statement: "a"}, nodeLocal},
		"a local volume, declared":               {nodeFacts{node: &declared, volume: local, nodes: nodes}, nodeLocal},
		"a host path":                            {nodeFacts{node: &silent, volume: hostPath, statement: "a"}, nodeLocal},
		"a volume of both nodes":                 {nodeFacts{node: &silent, volume: both, nodes: nodes, statement: "a"}, detached},
		"a volume of two lost nodes":             {nodeFacts{node: &silent, volume: both, nodes: []corev1.Node{silent, otherLost}, statement: "a"}, nodeLocal},
		"a zone":                                 {nodeFacts{node: &silent, volume: volumeOn(on("zone", corev1.NodeSelectorOpIn, "zone-of-b")), nodes: nodes}, unproven},
		"a zone without a node":                  {nodeFacts{node: &silent, volume: volumeOn(on("zone", corev1.NodeSelectorOpIn, "zone-of-a")), nodes: nodes}, nodeLocal},
		"two requirements, one met":              {nodeFacts{node: &silent, volume: volumeOn(on("zone", corev1.NodeSelectorOpExists), on("gpu", corev1.NodeSelectorOpExists)), nodes: nodes}, nodeLocal},
		"other operators":                        {nodeFacts{node: &silent, volume: volumeOn(on("cores", corev1.NodeSelectorOpGt, "3"), on("gpu", corev1.NodeSelectorOpDoesNotExist), on("zone", corev1.NodeSelectorOpNotIn, "x")), nodes: nodes}, unproven},
		"no node takes the pod, the volume does": {nodeFacts{volume: both, nodes: nodes}, nodeThere},
		"no node takes the pod nor its volume":   {nodeFacts{volume: local, nodes: nodes}, nodeLocal},
		"one namespace only":                     {nodeFacts{unreadable: true}, nodeThere},
		"one namespace only, stated":             {nodeFacts{unreadable: true, statement: "a"}, detached},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.facts.node != nil || tc.facts.unreadable || name == "deleted" {
				tc.facts.name = "a"
			}
			if got := decide(tc.facts); got != tc.want {
				t.Errorf("decided %d, want %d", got, tc.want)
			}
		})
	}
}
