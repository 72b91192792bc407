package condition

import (
	"fmt"
	"strings"

	"github.com/postrider/postrider/api/v1alpha1"
)

// configCurrent says that every pod has the newest configuration in force.
func (o *MailRelay) configCurrent() decision {
	if o.Generation == 0 || len(o.Pods) == 0 {
		return no(v1alpha1.ReasonPropagating, "There is no pod yet that has the configuration.")
	}
	var late []string
	for _, p := range o.Pods {
		if p.Status == nil || p.Status.Generation >= o.Generation {
			continue
		}
		if p.Status.ConfigError != "" {
			return no(v1alpha1.ReasonRejected, fmt.Sprintf("Pod %s keeps generation %d: %s", p.Name, p.Status.Generation, p.Status.ConfigError))
		}
		late = append(late, p.Name)
	}
	if len(late) > 0 {
		return no(v1alpha1.ReasonPropagating, fmt.Sprintf("Generation %d is on its way to %s.", o.Generation, strings.Join(late, ", ")))
	}
	if names := o.unreachable(); len(names) > 0 {
		return unknown(v1alpha1.ReasonStatusUnavailable, "Which configuration these pods have is not known: "+strings.Join(names, ", ")+".")
	}
	if len(o.Omitted) > 0 {
		return no(v1alpha1.ReasonPodsTooOld, fmt.Sprintf("Generation %d is in force, without what these pods are too old for: %s. "+
			"They get it when all of them run a newer version.", o.Generation, strings.Join(o.Omitted, ", ")))
	}
	return yes(v1alpha1.ReasonInForce, fmt.Sprintf("Generation %d is in force in every pod.", o.Generation))
}
