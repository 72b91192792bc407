package mailrelay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/relay/config"
)

// A pod on a lost node keeps its name and its claim until somebody says that it is gone: Kubernetes does not, for the
// machine may run on unseen. Once its volume is proven to be detached the operator does, in two steps that can be resumed
// at any point: the claim notes a higher token and which pod is given up; then, when the configuration says so too, the
// pod's object is deleted, and the StatefulSet makes another.

// fences are what the pods are told of those that were given up.
func (p *pass) fences() map[string]config.Fence {
	fences := map[string]config.Fence{}
	for i := range p.seen.claims {
		c := &p.seen.claims[i]
		ordinal, ours := ordinalOf(c.Name, desired.ClaimPrefix(p.relay.Name))
		if token := tokenOf(c); ours && token > 0 {
			fences[p.podName(ordinal)] = config.Fence{Token: token, Lost: c.Annotations[fencedAnnotation]}
		}
	}
	return fences
}

// adopt looks after the pods that may be lost.
func (p *pass) adopt(ctx context.Context) error {
	known := p.memory.losses
	p.memory.losses = map[types.UID]verdict{}
	var failed []error
	for _, pod := range p.seen.pods {
		c := p.claimOf(pod.ordinal)
		switch {
		case c == nil:
		case c.Annotations[fencedAnnotation] == string(pod.UID):
			failed = append(failed, p.replaceLost(ctx, pod))
		case !pod.ready() && p.statuses[pod.Name] == nil && (pod.Spec.NodeName != "" || unschedulable(pod)):
			failed = append(failed, p.judge(ctx, pod, c, known[pod.UID]))
		}
	}
	return errors.Join(failed...)
}

func unschedulable(p pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable
		}
	}
	return false
}

// judge decides over a pod that does not answer, about which the last verdict was known, and takes the first step when its
// volume is free.
func (p *pass) judge(ctx context.Context, pod pod, c *corev1.PersistentVolumeClaim, known verdict) error {
	facts, err := p.nodeFacts(ctx, pod, c)
	if err != nil {
		return fmt.Errorf("looking for the node of pod %s: %w", pod.Name, err)
	}
	l := loss{pod: pod, claim: c, node: pod.Spec.NodeName, verdict: decide(facts)}
	if l.verdict == nodeThere {
		return nil
	}
	p.losses = append(p.losses, l)
	p.memory.losses[pod.UID] = l.verdict
	if known != l.verdict {
		p.Events.Eventf(p.relay, pod.Pod, corev1.EventTypeWarning, "NodeLost", l.verdict.action(), "%s", l.told())
	}
	if l.verdict != detached {
		return nil
	}
	log.FromContext(ctx).Info("giving up a pod whose volume is detached", "pod", pod.Name, "node", l.node, "token", tokenOf(c)+1)
	return p.fence(ctx, c, pod.UID)
}

// fence notes on a claim that a pod is given up. A statement has served with that.
func (p *pass) fence(ctx context.Context, c *corev1.PersistentVolumeClaim, lost types.UID) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": c.ResourceVersion, // so that no token is given twice
		"annotations": map[string]any{
			fenceAnnotation: strconv.FormatInt(tokenOf(c)+1, 10), fencedAnnotation: string(lost), detachedAnnotation: nil,
		},
	}})
	if err != nil {
		return err
	}
	err = p.Client.Patch(ctx, c.DeepCopy(), client.RawPatch(types.MergePatchType, patch), client.FieldOwner(apply.FieldOwner))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("fencing volume claim %s: %w", c.Name, err)
	}
	return nil
}

// replaceLost deletes the object of a pod that was given up, without waiting for its kubelet. The claims that say so
// have gone into the configuration that this pass applied.
func (p *pass) replaceLost(ctx context.Context, pod pod) error {
	if p.refused != "" {
		return nil
	}
	err := p.Client.Delete(ctx, pod.Pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &pod.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("giving up pod %s: %w", pod.Name, err)
	}
	if err == nil {
		p.Events.Eventf(p.relay, pod.Pod, corev1.EventTypeNormal, "Adopted", "Adopt",
			"%s on node %s was given up; a pod on another node takes its volume.", pod.Name, pod.Spec.NodeName)
	}
	return nil
}

// nodeFacts reads what decides, from the API server itself: it is seldom needed, and must not be old.
func (p *pass) nodeFacts(ctx context.Context, pod pod, c *corev1.PersistentVolumeClaim) (nodeFacts, error) {
	f := nodeFacts{name: pod.Spec.NodeName, statement: c.Annotations[detachedAnnotation]}
	err := p.readNode(ctx, &f)
	if err == nil && (f.node == nil || lostNode(f.node)) {
		err = p.readVolume(ctx, &f, c.Spec.VolumeName)
	}
	if apierrors.IsForbidden(err) {
		return nodeFacts{name: f.name, statement: f.statement, unreadable: true}, nil
	}
	return f, err
}

func (p *pass) readNode(ctx context.Context, f *nodeFacts) (err error) {
	if f.name == "" {
		return nil
	}
	f.node, err = get(ctx, p.Live, &corev1.Node{}, "", f.name)
	return err
}

func (p *pass) readVolume(ctx context.Context, f *nodeFacts, name string) (err error) {
	if name == "" {
		return nil
	}
	if f.volume, err = get(ctx, p.Live, &corev1.PersistentVolume{}, "", name); err != nil || f.volume == nil {
		return err
	}
	if f.volume.Spec.NodeAffinity != nil {
		var nodes corev1.NodeList
		if err := p.Live.List(ctx, &nodes); err != nil {
			return fmt.Errorf("listing nodes: %w", err)
		}
		f.nodes = nodes.Items
	}
	if f.volume.Spec.CSI == nil {
		return nil
	}
	driver, err := get(ctx, p.Live, &storagev1.CSIDriver{}, "", f.volume.Spec.CSI.Driver)
	if err != nil {
		return err
	}
	f.attachable = driver == nil || driver.Spec.AttachRequired == nil || *driver.Spec.AttachRequired
	var attachments storagev1.VolumeAttachmentList
	if err := p.Live.List(ctx, &attachments); err != nil {
		return fmt.Errorf("listing what is attached: %w", err)
	}
	f.attachments = attachments.Items
	return nil
}
