package mailrelay

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/condition"
)

// report writes the status: at once when it means something else than before, at most once in a poll
// when only counts differ, and not at all when nothing does.
func (p *pass) report(ctx context.Context, f facts) error {
	before := p.relay.Status
	after := p.status()
	after.Conditions = p.conditions(ctx, f)
	change := compare(before, after)
	if change == changeNone || change == changeCounts && p.now.Sub(p.memory.reported) < p.Poll {
		return nil
	}
	old := p.relay.DeepCopy()
	p.relay.Status = after
	err := p.Client.Status().Patch(ctx, p.relay, client.MergeFrom(old), client.FieldOwner(apply.FieldOwner))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("writing the status of MailRelay %s: %w", client.ObjectKeyFromObject(old), err)
	}
	p.memory.reported = p.now
	p.announce(old, before, after)
	return nil
}

// announce sends an event for each condition that has changed. The action is the condition's type: events that differ in nothing
// but their note would be taken for one.
func (p *pass) announce(relay *v1alpha1.MailRelay, before, after v1alpha1.MailRelayStatus) {
	for _, c := range condition.Transitions(before.Conditions, after.Conditions) {
		kind := corev1.EventTypeWarning
		if condition.Good(c) || c.Type == v1alpha1.ConditionConfigCurrent && c.Reason == v1alpha1.ReasonPropagating {
			kind = corev1.EventTypeNormal
		}
		p.Events.Eventf(relay, nil, kind, c.Reason, c.Type, "%s is %s: %s", c.Type, c.Status, c.Message)
	}
}

func (p *pass) conditions(ctx context.Context, f facts) []metav1.Condition {
	o := condition.MailRelay{
		Relay: p.relay, Now: p.now, Generation: p.generation,
		Secrets: f.secrets, Certificates: f.certificates, Refused: p.refused,
		Volumes: p.sizes(), Upgrade: p.upgrade(), Omitted: p.omitted, Reshaped: p.reshaped, Deleting: p.relay.DeletionTimestamp != nil,
		Draining: p.draining(), HandsOver: p.handsOver(), Reverse: p.reverse(ctx),
		Namespaced: p.Admission.Namespaced,
	}
	o.Overdue = p.overdue(o.Draining)
	if p.seen.heir != nil {
		o.Heir, o.HeirProblem = p.seen.heir.name, p.seen.heir.problem
	}
	for _, v := range p.podless() {
		o.Stranded = append(o.Stranded, v.Claim)
	}
	for _, l := range p.losses {
		o.Lost = append(o.Lost, l.told())
	}
	for _, pod := range p.seen.pods {
		why, hopeless := trouble(pod.Pod)
		o.Pods = append(o.Pods, condition.Pod{
			Name: pod.Name, Created: pod.CreationTimestamp.Time, Ready: pod.ready(), Unready: pod.unreadySince(), Trouble: why, Hopeless: hopeless,
			Updated: pod.updated, Surplus: pod.surplus, Cordoned: pod.steered.cordoned, Status: p.statuses[pod.Name],
		})
	}
	return o.Conditions()
}
