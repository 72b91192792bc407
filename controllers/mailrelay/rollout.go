package mailrelay

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/desired"
)

// outdated picks the pod that is to be replaced next, if any: one at a time, unready ones first, for one that the newest shape
// would mend must not wait for itself. One that is ready goes only while all others serve, which is more than being
// ready: they have their spool open, and say so. Surplus pods are left alone: they are on their way out.
func outdated(pods []pod, want int32, serves func(pod) bool) (pod, bool) {
	var next *pod
	idle, count := 0, int32(0)
	for i := range pods {
		p := &pods[i]
		if p.surplus {
			continue
		}
		if p.DeletionTimestamp != nil {
			return pod{}, false
		}
		count++
		if !serves(*p) {
			idle++
		}
		if !p.updated && (next == nil || rank(*p, serves) < rank(*next, serves)) {
			next = p
		}
	}
	if next == nil {
		return pod{}, false
	}
	if !serves(*next) {
		idle--
	}
	if next.ready() && (idle > 0 || count < want) {
		return pod{}, false
	}
	return *next, true
}

// rank orders pods by how little is lost with them.
func rank(p pod, serves func(pod) bool) int {
	switch {
	case !p.ready():
		return 0
	case !serves(p):
		return 1
	}
	return 2
}

// serves says that a pod is ready and has answered: it does so once its spool is open.
func (p *pass) serves(pod pod) bool { return pod.ready() && p.statuses[pod.Name] != nil }

// rollOut replaces one outdated pod, if it is time to.
func (p *pass) rollOut(ctx context.Context) error {
	if p.relay.DeletionTimestamp != nil {
		return nil
	}
	pod, ok := outdated(p.seen.pods, p.relay.Spec.Replicas, p.serves)
	if !ok {
		p.endTurn()
		return nil
	}
	log.FromContext(ctx).Info("replacing an outdated pod", "pod", pod.Name, "from", imageOf(&pod.Spec), "to", p.build.image)
	err := p.Client.Delete(ctx, pod.Pod, client.Preconditions{UID: &pod.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("replacing pod %s: %w", pod.Name, err)
	}
	return nil
}

// endTurn ends the relay's turn once all its pods are made of the image that they are to be made of; until then it holds it.
func (p *pass) endTurn() {
	settled, count := true, int32(0)
	for _, pod := range p.seen.pods {
		if pod.surplus {
			continue
		}
		if imageOf(&pod.Spec) != p.build.image {
			if p.build.image == p.Image {
				p.turns.resume(p.key())
			}
			return
		}
		count++
		settled = settled && pod.updated && p.serves(pod)
	}
	p.turns.done(p.key(), settled && count >= p.relay.Spec.Replicas)
}

// wasReady says that the relay was ready when it was last looked at.
func (p *pass) wasReady() bool {
	return meta.IsStatusConditionTrue(p.relay.Status.Conditions, v1alpha1.ConditionReady)
}

// reshapes says that which pods are outdated is not known yet: the shape is about to change, or the controller of StatefulSets
// has not seen that it did.
func (p *pass) reshapes(objects []client.Object) bool {
	s := p.seen.statefulSet
	if s == nil || p.detached() {
		return false
	}
	for _, object := range objects {
		if _, is := object.(*appsv1.StatefulSet); is && object.GetAnnotations()[desired.ShapeAnnotation] != s.Annotations[desired.ShapeAnnotation] {
			p.memory.reshaping = true
			return true
		}
	}
	p.memory.reshaping = p.memory.reshaping && p.revision() == ""
	return p.memory.reshaping
}

// rolling says that a rollout was under way when a relay was last looked at.
func rolling(relay *v1alpha1.MailRelay) bool {
	c := meta.FindStatusCondition(relay.Status.Conditions, v1alpha1.ConditionReconciling)
	return c != nil && c.Reason == v1alpha1.ReasonRollingOut
}

// rollouts are the relays whose rollout was under way when they were last looked at.
func (r *Reconciler) rollouts(ctx context.Context) (keys []client.ObjectKey, err error) {
	var list v1alpha1.MailRelayList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing MailRelays: %w", err)
	}
	for i := range list.Items {
		if rolling(&list.Items[i]) {
			keys = append(keys, client.ObjectKeyFromObject(&list.Items[i]))
		}
	}
	return keys, nil
}
