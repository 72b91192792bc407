package mailrelay

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/pki"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/status"
)

// defaultDrainTimeout is that of the definition, for relays that were read without defaults.
const defaultDrainTimeout = 3600

// leaving is the pod that is being emptied: of those that are to be and are not known to be, the one with the highest
// ordinal; nil when there is none.
func (p *pass) leaving() *pod {
	for i := range slices.Backward(p.seen.pods) {
		if pod := &p.seen.pods[i]; pod.emptied() && !p.settled(pod) {
			return pod
		}
	}
	return nil
}

// mayGo says that the pod of an ordinal need not be there: it is empty, or its time is over and its claim stays.
func (p *pass) mayGo(ordinal int32) bool {
	return p.drained(ordinal) || p.forced(ordinal) || p.letGo(ordinal)
}

// letGo says that the claim of an ordinal was settled, and its pod has ended or is about to: it does not answer any more.
func (p *pass) letGo(ordinal int32) bool {
	pod := p.podOf(ordinal)
	settled := p.markOf(p.claimOf(ordinal)) != unmarked || ordinal >= p.keep() && p.doomed(ordinal)
	return settled && (pod == nil || pod.DeletionTimestamp != nil)
}

// handsOver says that pods that go give their mail to those that stay, or to those of another relay.
func (p *pass) handsOver() bool {
	if p.relay.DeletionTimestamp != nil {
		return p.relay.Spec.Drain.OnDelete == v1alpha1.DeleteHandoff
	}
	return p.relay.Spec.Drain.OnScaleDown != v1alpha1.DrainDeliver
}

// tells says that there is somebody who is to learn what pods that go know besides their mail.
func (p *pass) tells() bool {
	return p.handsOver() && (p.seen.heir == nil || p.seen.heir.problem == "")
}

// handoff is what the pods are told of it. An address saves the look-up of a name; it is that of the moment.
func (p *pass) handoff() *config.Handoff {
	from := p.leaving()
	if from == nil || !p.handsOver() {
		return nil
	}
	if heir := p.seen.heir; heir != nil {
		return &config.Handoff{From: from.Name, Peers: p.peers(heir.name, heir.pods, pki.ServerName(p.relay.Namespace, heir.name))}
	}
	return &config.Handoff{From: from.Name, Peers: p.peers(p.relay.Name, p.seen.pods, "")}
}

// peers are those of a relay's pods that may take mail.
func (p *pass) peers(relay string, pods []pod, serverName string) []config.Peer {
	var list []config.Peer
	for _, pod := range pods {
		if !pod.cordoned() && pod.DeletionTimestamp == nil {
			list = append(list, config.Peer{Pod: pod.Name, ServerName: serverName, Address: pod.Status.PodIP, Host: p.hostOf(relay, pod.Name)})
		}
	}
	return list
}

// overdue says that the emptying of a pod takes longer than it may.
func (p *pass) overdue(d *v1alpha1.DrainingPod) bool {
	limit := cmp.Or(p.relay.Spec.Drain.TimeoutSeconds, defaultDrainTimeout)
	return d != nil && p.now.Sub(d.Since.Time) > time.Duration(limit)*time.Second
}

// forced says that a surplus pod goes although it is not empty. Since when it is being emptied stands in the status, so
// that another operator goes on counting; the pods of a relay that is being deleted have their time together.
func (p *pass) forced(ordinal int32) bool {
	if at := p.relay.DeletionTimestamp; at != nil {
		late := p.relay.Spec.Drain.OnTimeout == v1alpha1.DrainForce && p.overdue(&v1alpha1.DrainingPod{Since: *at})
		return late || p.keepsAll()
	}
	d := p.relay.Status.Draining
	return d != nil && d.Pod == p.podName(ordinal) && ordinal >= p.keep() &&
		p.relay.Spec.Drain.OnTimeout == v1alpha1.DrainForce && p.overdue(d)
}

// draining is how far the emptying of the leaving pod is; nil when there is none.
func (p *pass) draining() *v1alpha1.DrainingPod {
	pod := p.leaving()
	if pod == nil {
		return nil
	}
	since := metav1.NewTime(p.now.Truncate(time.Second))
	if before := p.relay.Status.Draining; before != nil && before.Pod == pod.Name {
		since = before.Since
	}
	if at := p.relay.DeletionTimestamp; at != nil {
		since = *at
	}
	s := p.statuses[pod.Name]
	d := &v1alpha1.DrainingPod{Pod: pod.Name, Since: since, Step: stepOf(s, p.generation, p.handsOver(), p.tells())}
	if s != nil {
		d.Queued = &s.Queue.Queued
		if s.Handoff != nil {
			d.Problem = cut(s.Handoff.Problem)
		}
	}
	if p.seen.heir != nil && p.seen.heir.problem != "" {
		d.Problem = p.seen.heir.problem
	}
	return d
}

// stepOf is where the emptying of a pod is, by its answer.
func stepOf(s *status.Status, generation int64, handsOver, tells bool) v1alpha1.DrainStep {
	switch {
	case s == nil:
		return v1alpha1.StepUnreachable
	case s.Generation < generation:
		return v1alpha1.StepCordoning
	case emptied(s, tells):
		return v1alpha1.StepConfirming
	case !handsOver:
		return v1alpha1.StepWaitingForDelivery
	case s.Handoff != nil && s.Handoff.Phase == status.HandoffWaiting:
		return v1alpha1.StepWaitingForPeers
	}
	return v1alpha1.StepHandingOff
}

// replaceDoomed ends pods that stay but whose claim is being deleted, once they are empty: the volume goes with the pod.
// They come back with a new one.
func (p *pass) replaceDoomed(ctx context.Context) error {
	for _, pod := range p.seen.pods {
		if pod.ordinal >= p.keep() || !pod.surplus || pod.DeletionTimestamp != nil || !p.memory.drains[pod.UID].done() {
			continue
		}
		if err := p.secure(ctx, p.claimOf(pod.ordinal), false); err != nil {
			return err
		}
		log.FromContext(ctx).Info("replacing an empty pod whose volume claim is being deleted", "pod", pod.Name)
		err := p.Client.Delete(ctx, pod.Pod, client.Preconditions{UID: &pod.UID})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("replacing pod %s: %w", pod.Name, err)
		}
	}
	return nil
}

func (p *pass) podName(ordinal int32) string { return fmt.Sprintf("%s-%d", p.relay.Name, ordinal) }

// podOf is the pod of an ordinal; nil if there is none.
func (p *pass) podOf(ordinal int32) *pod {
	for i := range p.seen.pods {
		if p.seen.pods[i].ordinal == ordinal {
			return &p.seen.pods[i]
		}
	}
	return nil
}
