package mailrelay

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/desired"
)

// maxWhy is how much of an annotation stands in an event, in octets.
const maxWhy = 200

// steered is what an admin wants of one pod, by the annotations of the MailRelay.
type steered struct {
	// cordoned says that it is to take no new mail, drained that it is to give away what it has, too.
	cordoned, drained bool
	// why is what the annotation says.
	why string
}

// steeredBy reads the annotations about a pod. Whatever their value is, they count.
func steeredBy(annotations map[string]string, pod string) steered {
	if why, ok := annotations[v1alpha1.DrainAnnotation+pod]; ok {
		return steered{cordoned: true, drained: true, why: why}
	}
	why, ok := annotations[v1alpha1.CordonAnnotation+pod]
	return steered{cordoned: ok, why: why}
}

// steer notes what admins want of a relay's pods.
func steer(relay *v1alpha1.MailRelay, pods []pod) {
	for i := range pods {
		pods[i].steered = steeredBy(relay.Annotations, pods[i].Name)
	}
}

// forgetServing forgets what was found of pods that are to take mail, before a configuration lets them: whatever fails
// after that, they are looked at anew when they are to become empty again.
func (p *pass) forgetServing() {
	for _, pod := range p.seen.pods {
		if !pod.emptied() {
			delete(p.memory.drains, pod.UID)
		}
	}
}

// cordoned says that a pod takes no new mail: it is to go, or an admin said so.
func (p pod) cordoned() bool { return p.surplus || p.steered.cordoned }

// emptied says that a pod is to become empty.
func (p pod) emptied() bool { return p.surplus || p.steered.drained }

// settled says that nothing more is to be done about the mail of a pod that is to become empty.
func (p *pass) settled(pod *pod) bool {
	if pod.surplus {
		return p.mayGo(pod.ordinal)
	}
	return p.memory.drains[pod.UID].done()
}

// lookAt takes an answer of a pod that is to become empty into account. One that stays is not told to hand over any more
// once it is empty: it needs not say again that it has, with each configuration that follows.
func (p *pass) lookAt(pod pod, before drain) drain {
	s := p.statuses[pod.Name]
	if !pod.surplus && before.done() && (s == nil || emptied(s, false)) {
		return before
	}
	return before.look(s, p.generation, p.tells(), p.now)
}

// cordon takes pods that are to take no new mail out of the Service, and puts back the others.
func (p *pass) cordon(ctx context.Context) error {
	for _, pod := range p.seen.pods {
		if pod.serving() == !pod.cordoned() || pod.DeletionTimestamp != nil {
			continue
		}
		labels := map[string]string{desired.ServingLabel: strconv.FormatBool(!pod.cordoned())}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
		if err != nil {
			return err
		}
		err = p.Client.Patch(ctx, pod.DeepCopy(), client.RawPatch(types.MergePatchType, patch), client.FieldOwner(apply.FieldOwner))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("labelling pod %s: %w", pod.Name, err)
		}
		if err == nil {
			p.tellCordon(pod)
		}
	}
	return nil
}

// tellCordon sends an event about what an admin did to a pod, or undid.
func (p *pass) tellCordon(pod pod) {
	switch {
	case pod.surplus:
	case !pod.steered.cordoned:
		p.Events.Eventf(p.relay, nil, corev1.EventTypeNormal, "Uncordoned", "Uncordon", "%s takes mail again.", pod.Name)
	case pod.steered.drained:
		p.Events.Eventf(p.relay, nil, corev1.EventTypeNormal, "Cordoned", "Drain",
			"%s takes no new mail, and gives what it has to the pods that serve (%s).", pod.Name, pod.steered.said())
	default:
		p.Events.Eventf(p.relay, nil, corev1.EventTypeNormal, "Cordoned", "Cordon", "%s takes no new mail (%s).", pod.Name, pod.steered.said())
	}
}

// said is the annotation's value for people.
func (s steered) said() string {
	if s.why == "" {
		return "by an annotation that does not say why"
	}
	return cutAt(s.why, maxWhy)
}
