package render

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/config"
)

// PolicyName is what a relay calls a RateLimitPolicy, in its configuration and its status.
func PolicyName(p *v1alpha1.RateLimitPolicy) string { return p.Namespace + "/" + p.Name }

// EffectiveLimits are the limits of a policy with what it leaves out filled in.
func EffectiveLimits(spec *v1alpha1.RateLimitPolicySpec) v1alpha1.Limits {
	l := spec.Limits
	if l.Messages == 0 || l.Burst != 0 {
		return l
	}
	if l.Burst = l.Messages; spec.Stage == v1alpha1.StageDelivery {
		// Receivers count over short times.
		l.Burst = max(1, l.Messages/max(1, l.PerSeconds))
	}
	return l
}

// policies are those that concern the relay, by name.
func policies(in Input) []config.RatePolicy {
	domains := map[types.NamespacedName]string{}
	for _, d := range in.Domains {
		domains[types.NamespacedName{Namespace: d.Namespace, Name: d.Name}] = string(d.Spec.Domain)
	}
	var list []config.RatePolicy
	for i := range in.Policies {
		p := &in.Policies[i]
		if senders, concerned := targets(p, in.Relay, domains); concerned {
			list = append(list, policy(p, senders))
		}
	}
	slices.SortFunc(list, func(a, b config.RatePolicy) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// targets are the domains that a policy is limited to, none for all of the relay's mail, and whether it
// concerns the relay at all. Of domains, it is given those of the relay, by their objects.
func targets(p *v1alpha1.RateLimitPolicy, relay *v1alpha1.MailRelay, domains map[types.NamespacedName]string) (senders []string, concerned bool) {
	for _, ref := range p.Spec.TargetRefs {
		if ref.Kind == v1alpha1.TargetMailRelay {
			if string(ref.Name) == relay.Name && p.Namespace == relay.Namespace {
				return nil, true
			}
			continue
		}
		if d, ok := domains[types.NamespacedName{Namespace: p.Namespace, Name: string(ref.Name)}]; ok {
			senders = append(senders, d)
		}
	}
	slices.Sort(senders)
	return senders, len(senders) > 0
}

func policy(p *v1alpha1.RateLimitPolicy, senders []string) config.RatePolicy {
	limits := EffectiveLimits(&p.Spec)
	return config.RatePolicy{
		Name:               PolicyName(p),
		Stage:              config.Stage(p.Spec.Stage),
		Key:                config.LimitKey(p.Spec.Key),
		SenderDomains:      senders,
		DestinationDomains: plain(p.Spec.Match.DestinationDomains),
		MXSuffixes:         plain(p.Spec.Match.MXSuffixes),
		Messages:           int(limits.Messages),
		PerSeconds:         int(limits.PerSeconds),
		Burst:              int(limits.Burst),
		MaxConnections:     int(limits.MaxConnections),

		RecipientsPerMessage:  int(limits.RecipientsPerMessage),
		MessagesPerConnection: int(limits.MessagesPerConnection),
	}
}
