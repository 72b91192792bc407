package local

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/cmd/postrider/door"
	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/relay/status"
)

// Observe returns the objects of a data directory with their status as it is now: relays, then domains, then
// policies. It asks each relay; one that does not answer is unknown, not empty. With a name, only that relay and
// what belongs to it are returned.
func Observe(ctx context.Context, dataDir, name string, now time.Time) ([]runtime.Object, error) {
	state, err := readState(dataDir)
	if err != nil {
		return nil, err
	}
	var relays, domains, policies []runtime.Object
	reports := map[string]*status.Status{}
	for _, r := range state.Relays {
		if name != "" && r.Relay.Name != name {
			continue
		}
		report := ask(ctx, dataDir, r.Relay.Name)
		reports[r.Relay.Name] = report
		relays = append(relays, r.observed(report, now))
	}
	if len(relays) == 0 {
		return nil, fmt.Errorf("%s holds no relay %s: start it with postrider local -f PATH --data %s", dataDir, name, dataDir)
	}
	for i := range state.Domains {
		d := &state.Domains[i]
		if _, asked := reports[string(d.Spec.RelayRef.Name)]; asked || name == "" {
			d.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("SendingDomain"))
			domains = append(domains, d)
		}
	}
	for i := range state.Policies {
		if p := state.observedPolicy(&state.Policies[i], reports, now); p != nil {
			policies = append(policies, p)
		}
	}
	return slices.Concat(relays, domains, policies), nil
}

// ask returns what a relay says of itself; nil when it does not answer.
func ask(ctx context.Context, dataDir, name string) *status.Status {
	doors, err := door.Local(dataDir, name)
	if err != nil {
		return nil
	}
	report := &status.Status{}
	if err := doors[0].Get(ctx, "/status", report); err != nil {
		return nil
	}
	return report
}

// observed is the MailRelay with the status that the operator would give it for one pod.
func (r RelayState) observed(report *status.Status, now time.Time) *v1alpha1.MailRelay {
	relay := r.Relay.DeepCopy()
	relay.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("MailRelay"))
	pod := condition.Pod{Name: relay.Name, Created: relay.CreationTimestamp.Time, Ready: ready(report), Updated: true, Status: report}
	observed := condition.MailRelay{
		Relay: relay, Now: now, Pods: []condition.Pod{pod}, Generation: r.Generation, Secrets: r.Secrets, Certificates: r.Certificates,
	}
	conditions := observed.Conditions()
	relay.Status = v1alpha1.MailRelayStatus{
		ObservedGeneration: relay.Generation, Replicas: 1, UpdatedReplicas: 1, Endpoint: r.Endpoint, Conditions: conditions,
		Pods: []v1alpha1.PodStatus{{Name: relay.Name, State: v1alpha1.PodUnreachable}},
	}
	if report != nil {
		fill(&relay.Status, report)
	}
	return relay
}

// ready says that the relay takes mail, as its /readyz would.
func ready(report *status.Status) bool {
	return report != nil && report.NotReady == ""
}

// fill adds what a relay says of itself.
func fill(s *v1alpha1.MailRelayStatus, report *status.Status) {
	if ready(report) {
		s.ReadyReplicas = 1
	}
	s.Version = report.Version
	s.Queue = &v1alpha1.QueueStatus{
		Queued: report.Queue.Queued, Deferred: report.Queue.Deferred, Held: report.Queue.Held, OldestMessageTime: moment(report.Queue.Oldest),
	}
	s.Pods[0].State = v1alpha1.PodServing
	s.Pods[0].Queued, s.Pods[0].ConfigGeneration = &report.Queue.Queued, &report.Generation
	for _, d := range report.Slowest {
		s.Slowest = append(s.Slowest, v1alpha1.SlowDestination{
			Domain: d.Domain, Queued: d.Queued, OldestMessageTime: moment(d.Oldest), Reason: string(d.Reason), Since: moment(&d.Since), Reply: d.Reply,
		})
	}
}

func moment(t *time.Time) *metav1.Time {
	if t == nil || t.IsZero() {
		return nil
	}
	m := metav1.NewTime(*t)
	return &m
}

// observedPolicy is a policy with its status; nil if it concerns none of the relays that were asked.
func (s *State) observedPolicy(policy *v1alpha1.RateLimitPolicy, reports map[string]*status.Status, now time.Time) *v1alpha1.RateLimitPolicy {
	p := policy.DeepCopy()
	p.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RateLimitPolicy"))
	observed := condition.RateLimitPolicy{Policy: p, Now: now}
	concerned := map[string]bool{}
	p.Status.Targets = nil
	for _, ref := range p.Spec.TargetRefs {
		relay, found := s.relayOf(p.Namespace, ref)
		target := v1alpha1.TargetStatus{Ref: ref, Accepted: found}
		if found {
			limits := render.EffectiveLimits(&p.Spec)
			target.Effective = &limits
			concerned[relay] = true
		} else {
			target.Message = fmt.Sprintf("There is no %s %s in the manifests.", ref.Kind, ref.Name)
			observed.Missing = append(observed.Missing, fmt.Sprintf("%s %s", ref.Kind, ref.Name))
		}
		p.Status.Targets = append(p.Status.Targets, target)
	}
	asked := len(concerned) == 0
	for relay := range concerned {
		report, known := reports[relay]
		asked = asked || known
		if report == nil || report.Generation < s.generation(relay) || !slices.Contains(report.Policies, render.PolicyName(p)) {
			observed.Waiting = append(observed.Waiting, fmt.Sprintf("%s does not have it in force.", relay))
		}
	}
	if !asked {
		return nil
	}
	slices.Sort(observed.Waiting)
	observed.Relays = len(concerned)
	p.Status.ObservedGeneration = p.Generation
	p.Status.Conditions = observed.Conditions()
	return p
}

// generation is that of a relay's newest configuration.
func (s *State) generation(relay string) int64 {
	for _, r := range s.Relays {
		if r.Relay.Name == relay {
			return r.Generation
		}
	}
	return 0
}

// relayOf is the relay that a policy's target sends through.
func (s *State) relayOf(namespace string, ref v1alpha1.TargetReference) (relay string, found bool) {
	for _, r := range s.Relays {
		if ref.Kind == v1alpha1.TargetMailRelay && key(r.Relay.Namespace, r.Relay.Name) == key(namespace, string(ref.Name)) {
			return r.Relay.Name, true
		}
	}
	for _, d := range s.Domains {
		if ref.Kind == v1alpha1.TargetSendingDomain && key(d.Namespace, d.Name) == key(namespace, string(ref.Name)) {
			return string(d.Spec.RelayRef.Name), true
		}
	}
	return "", false
}
