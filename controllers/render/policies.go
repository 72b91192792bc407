package render

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/share"
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

// Shared are the policies with scope Relay that concern the relay.
func Shared(in Input) []*v1alpha1.RateLimitPolicy {
	var list []*v1alpha1.RateLimitPolicy
	domains := domainsByName(in)
	for i := range in.Policies {
		p := &in.Policies[i]
		if _, concerned := targets(p, in.Relay, domains); concerned && p.Spec.Scope == v1alpha1.ScopeRelay {
			list = append(list, p)
		}
	}
	return list
}

func domainsByName(in Input) map[types.NamespacedName]string {
	domains := map[types.NamespacedName]string{}
	for _, d := range in.Domains {
		domains[types.NamespacedName{Namespace: d.Namespace, Name: d.Name}] = string(d.Spec.Domain)
	}
	return domains
}

// policies are those that concern the relay, by name.
func policies(in Input) []config.RatePolicy {
	domains := domainsByName(in)
	var list []config.RatePolicy
	for i := range in.Policies {
		p := &in.Policies[i]
		if senders, concerned := targets(p, in.Relay, domains); concerned {
			rendered := policy(p, senders)
			rendered.Shares = shares(in.Shares[PolicyName(p)])
			list = append(list, rendered)
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

// shares are those of the pods that have one.
func shares(amounts map[string]share.Amount) map[string]config.Share {
	if amounts == nil {
		return nil
	}
	shares := map[string]config.Share{}
	for pod, a := range amounts {
		if !a.Nothing() {
			shares[pod] = config.Share{
				Messages: limited(a[share.Messages]), Burst: limited(a[share.Burst]), MaxConnections: limited(a[share.Connections]),
			}
		}
	}
	return shares
}

// limited is a limit as a configuration knows it: 0 for none.
func limited(n int64) int {
	if n >= share.Unlimited {
		return 0
	}
	return int(n)
}

// SharedLimit is what a policy's pods divide among them. A burst that is left out follows from each pod's messages.
func SharedLimit(spec *v1alpha1.RateLimitPolicySpec) share.Amount {
	amount := share.Amount{
		share.Messages:    int64(spec.Limits.Messages),
		share.Burst:       int64(spec.Limits.Burst),
		share.Connections: int64(spec.Limits.MaxConnections),
	}
	for k, n := range amount {
		if n == 0 {
			amount[k] = share.Unlimited
		}
	}
	return amount
}

// SharedLimits are the limits that hold for all pods together that have these shares.
func SharedLimits(spec *v1alpha1.RateLimitPolicySpec, amounts map[string]share.Amount) v1alpha1.Limits {
	total := spec.Limits
	total.Messages, total.Burst, total.MaxConnections = 0, 0, 0
	for _, a := range shares(amounts) {
		each := *spec
		each.Limits.Messages, each.Limits.Burst = int32(a.Messages), int32(a.Burst)
		total.Messages += int32(a.Messages)
		total.Burst += EffectiveLimits(&each).Burst
		total.MaxConnections += int32(a.MaxConnections)
	}
	return total
}
