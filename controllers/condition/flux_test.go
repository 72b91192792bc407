package condition

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
)

// fluxRules are what Flux's runtime checks of the conditions of an object (fluxcd/pkg/runtime/conditions/check): fewer while it
// is Reconciling (its in-progress checker) than at rest (its checker). The module itself would bring forty others.
func fluxRules(conditions []metav1.Condition, observed, generation int64) error {
	if meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReconciling) {
		return fluxAlways(conditions, observed, generation)
	}
	return errors.Join(fluxAlways(conditions, observed, generation), fluxAtRest(conditions, observed, generation))
}

func fluxAlways(conditions []metav1.Condition, observed, generation int64) error {
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	reconciling := meta.FindStatusCondition(conditions, v1alpha1.ConditionReconciling)
	stalled := meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled)
	switch {
	case ready == nil:
		return errors.New("there is no Ready")
	case stalled != nil && stalled.Status == metav1.ConditionTrue && ready.Status != metav1.ConditionFalse:
		return fmt.Errorf("Stalled, and Ready is %s", ready.Status)
	case reconciling != nil && stalled != nil:
		return errors.New("Reconciling and Stalled stand together")
	case observed > generation:
		return errors.New("a generation was observed that there is not")
	case ready.Status == metav1.ConditionUnknown && reconciling == nil:
		return errors.New("Ready is unknown without Reconciling")
	}
	for _, c := range conditions {
		if c.ObservedGeneration < 1 {
			return fmt.Errorf("%s does not say which generation it is about", c.Type)
		}
	}
	return nil
}

// fluxAtRest: what is Ready is so for the spec there is, as all conditions are.
func fluxAtRest(conditions []metav1.Condition, observed, generation int64) error {
	if !meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) {
		return nil
	}
	if meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled) != nil {
		return errors.New("Ready and Stalled")
	}
	if observed < generation {
		return errors.New("Ready for an older spec")
	}
	for _, c := range conditions {
		if c.ObservedGeneration != observed {
			return fmt.Errorf("%s is about generation %d, the status about %d", c.Type, c.ObservedGeneration, observed)
		}
	}
	return nil
}
