package mailrelay

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// verdict is what becomes of a pod that does not answer, and of its volume.
type verdict int

const (
	// nodeThere: its node is there, and the kubelet's word counts.
	nodeThere verdict = iota
	// unproven: the node is lost, and the pod may still write to its volume.
	unproven
	// nodeLocal: the volume is on the lost node, and can be nowhere else.
	nodeLocal
	// detached: the node is lost, and it is proven that the volume is not in use there.
	detached
)

// action is what is done about it, as an event says: events that differ in nothing but their note would be taken for one.
func (v verdict) action() string {
	return map[verdict]string{unproven: "AwaitProof", nodeLocal: "AwaitNode", detached: "Adopt"}[v]
}

// nodeFacts decide over a pod that is not ready and does not answer.
type nodeFacts struct {
	// name is that of the pod's node; empty for a pod that no node takes.
	name string
	// unreadable says that the operator may not read nodes and volumes: it was given one namespace only.
	unreadable bool
	// node is nil when there is none of that name.
	node *corev1.Node
	// nodes are all there are. They are needed only for a volume that is bound to some.
	nodes []corev1.Node
	// volume is nil when it is not known.
	volume *corev1.PersistentVolume
	// attachable says that the volume's driver attaches and detaches it, and attachments are those that there are now.
	attachable  bool
	attachments []storagev1.VolumeAttachment
	// statement is the node from which, an admin says, the volume is detached.
	statement string
}

// decide is the order in which proof is looked for. A statement about a node that is there counts for nothing.
func decide(f nodeFacts) verdict {
	switch {
	case f.unreadable && f.name != "" && f.statement == f.name:
		return detached
	case f.unreadable:
		return nodeThere
	case f.node != nil && !lostNode(f.node):
		return nodeThere
	case f.volume != nil && !f.canMove():
		return nodeLocal
	case f.node == nil: // Kubernetes itself deletes the pods of a node that was deleted
		return nodeThere
	case f.statement == f.name, outOfService(f.node), f.attachable && !f.attached():
		return detached
	}
	return unproven
}

// lostNode says that a node is not heard of any more. One that says of itself that it is not ready is there.
func lostNode(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionUnknown || c.Status != corev1.ConditionTrue && outOfService(n)
		}
	}
	return false // it has just come
}

// outOfService says that an admin or the cloud has declared a node shut down (KEP-2268).
func outOfService(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

// attached says that the volume is attached to the lost node.
func (f nodeFacts) attached() bool {
	return slices.ContainsFunc(f.attachments, func(a storagev1.VolumeAttachment) bool {
		return a.Spec.NodeName == f.name && a.Spec.Source.PersistentVolumeName != nil && *a.Spec.Source.PersistentVolumeName == f.volume.Name
	})
}

// canMove says that the volume can be on a node that is not lost.
func (f nodeFacts) canMove() bool {
	affinity := f.volume.Spec.NodeAffinity
	if affinity == nil || affinity.Required == nil {
		return f.volume.Spec.HostPath == nil
	}
	return slices.ContainsFunc(f.nodes, func(n corev1.Node) bool {
		return n.Name != f.name && !lostNode(&n) && admits(affinity.Required, n.Labels)
	})
}

// admits says that one of the terms holds for a node's labels.
func admits(selector *corev1.NodeSelector, node map[string]string) bool {
	return slices.ContainsFunc(selector.NodeSelectorTerms, func(term corev1.NodeSelectorTerm) bool {
		return len(term.MatchExpressions) > 0 && !slices.ContainsFunc(term.MatchExpressions, func(r corev1.NodeSelectorRequirement) bool {
			return !holds(r, node)
		})
	})
}

// holds says that a requirement is met. The operators have the same meaning as those of label selectors, under other
// names.
func holds(r corev1.NodeSelectorRequirement, node map[string]string) bool {
	operators := map[corev1.NodeSelectorOperator]selection.Operator{
		corev1.NodeSelectorOpIn: selection.In, corev1.NodeSelectorOpNotIn: selection.NotIn,
		corev1.NodeSelectorOpExists: selection.Exists, corev1.NodeSelectorOpDoesNotExist: selection.DoesNotExist,
		corev1.NodeSelectorOpGt: selection.GreaterThan, corev1.NodeSelectorOpLt: selection.LessThan,
	}
	requirement, err := labels.NewRequirement(r.Key, operators[r.Operator], r.Values)
	return err == nil && requirement.Matches(labels.Set(node))
}

// loss is a pod whose node is lost.
type loss struct {
	pod     pod
	claim   *corev1.PersistentVolumeClaim
	node    string
	verdict verdict
}

// told says what is known of a loss, and what can be done.
func (l loss) told() string {
	was := fmt.Sprintf("%s was on node %s, which is lost", l.pod.Name, l.node)
	if l.node == "" {
		was = l.pod.Name + " finds no node"
	}
	switch l.verdict {
	case nodeLocal:
		return fmt.Sprintf("%s. The volume of claim %s can be nowhere else: its mail waits until that node is back.", was, l.claim.Name)
	case detached:
		return fmt.Sprintf("%s. The volume of claim %s is proven to be detached: another pod takes it.", was, l.claim.Name)
	}
	return fmt.Sprintf("%s. Its mail waits in claim %s, for nothing proves that the volume is not in use there any more. When the node is "+
		"certainly off: kubectl taint node %s %s=nodeshutdown:NoExecute, or kubectl annotate pvc %s %s=%s",
		was, l.claim.Name, l.node, corev1.TaintNodeOutOfService, l.claim.Name, detachedAnnotation, l.node)
}

// Annotations of a volume claim.
const (
	// detachedAnnotation is an admin's statement: the volume is not in use on the node that it names, and will not be.
	// It is removed when it has been acted upon.
	detachedAnnotation = "postrider.dev/detached-from"
	// fenceAnnotation is the token of the pod that has the volume now, and fencedAnnotation the uid of the pod that was
	// given up for it.
	fenceAnnotation  = "postrider.dev/fence"
	fencedAnnotation = "postrider.dev/fenced-pod"
)

// tokenOf is the token that is noted on a claim; 0 for none.
func tokenOf(c *corev1.PersistentVolumeClaim) int64 {
	n, err := strconv.ParseInt(c.Annotations[fenceAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}
