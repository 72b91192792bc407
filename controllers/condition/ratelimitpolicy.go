package condition

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
)

// RateLimitPolicy is what was observed of a policy.
type RateLimitPolicy struct {
	Policy *v1alpha1.RateLimitPolicy
	Now    time.Time
	// Missing are the targets that are not there, as KIND NAME.
	Missing []string
	// Waiting are the relays that don't have the policy in force in every pod, each with the reason.
	Waiting []string
	// Without are the pods that have no share in the policy's limits.
	Without []string
	// Relays is the number of relays that the policy concerns.
	Relays int
}

// Conditions decides upon every condition of a RateLimitPolicy.
func (o *RateLimitPolicy) Conditions() []metav1.Condition {
	return merge(o.Policy.Status.Conditions, o.Policy.Generation, o.Now, []named{
		{v1alpha1.ConditionReady, o.ready()},
		{v1alpha1.ConditionReconciling, o.reconciling()},
		{v1alpha1.ConditionAccepted, o.accepted()},
		{v1alpha1.ConditionProgrammed, o.programmed()},
	})
}

// accepted says that all targets are there. The policy holds for those that are, all the same.
func (o *RateLimitPolicy) accepted() decision {
	if len(o.Missing) > 0 {
		return no(v1alpha1.ReasonTargetNotFound, "Not in this namespace: "+strings.Join(o.Missing, ", ")+". Make it, or take it out of spec.targetRefs.")
	}
	return yes(v1alpha1.ReasonAccepted, "All targets are there.")
}

// programmed says that the policy is in force in every pod of every relay it concerns.
func (o *RateLimitPolicy) programmed() decision {
	switch {
	case o.Relays == 0:
		return no(v1alpha1.ReasonPartiallyProgrammed, "There is no relay that it could be in force in.")
	case len(o.Waiting) > 0:
		return no(v1alpha1.ReasonPartiallyProgrammed, strings.Join(o.Waiting, " "))
	}
	message := fmt.Sprintf("It is in force in every pod of %d relays.", o.Relays)
	if len(o.Without) > 0 {
		message += fmt.Sprintf(" A limit is less than there are pods: %s have no share of it, and give mail that it holds up to the others.", listed(o.Without))
	}
	return yes(v1alpha1.ReasonProgrammed, message)
}

func (o *RateLimitPolicy) ready() decision {
	for _, d := range []decision{o.accepted(), o.programmed()} {
		if !d.isTrue() {
			return d
		}
	}
	return o.programmed()
}

// reconciling holds while the policy is on its way to the pods.
func (o *RateLimitPolicy) reconciling() decision {
	if p := o.programmed(); o.accepted().isTrue() && !p.isTrue() {
		return yes(p.reason, p.message)
	}
	return decision{}
}

// namedPods is how many pods a message names.
const namedPods = 3

// listed names the first of some pods.
func listed(pods []string) string {
	if len(pods) <= namedPods {
		return strings.Join(pods, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(pods[:namedPods], ", "), len(pods)-namedPods)
}
