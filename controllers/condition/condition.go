// Package condition owns how what was observed becomes conditions: one file for each, each a pure function. It
// has no client, no clock and no goroutine, and it refuses to find anything out.
//
// What is not known is Unknown, never false and never zero. Reconciling and Stalled are present only when they
// are true, and never both; Stalled means that Ready is false, and an unknown Ready means Reconciling. So
// kstatus, kubectl wait and Argo CD read them right.
package condition

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxMessage is how long the message of a condition is at most, in octets.
const maxMessage = 1024

// decision is what a condition shall be; the zero decision means that it is absent.
type decision struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

func yes(reason, message string) decision { return decision{metav1.ConditionTrue, reason, message} }
func no(reason, message string) decision  { return decision{metav1.ConditionFalse, reason, message} }
func unknown(reason, message string) decision {
	return decision{metav1.ConditionUnknown, reason, message}
}

// isTrue says that the condition is present and true.
func (d decision) isTrue() bool { return d.status == metav1.ConditionTrue }

// named is a decision about one type of condition.
type named struct {
	kind string
	decision
}

// merge puts decisions into the conditions there were, whose transition times are kept where the status is. A
// condition of a type that is not decided upon is dropped: it is of another version.
func merge(previous []metav1.Condition, generation int64, now time.Time, decisions []named) []metav1.Condition {
	conditions := slices.Clone(previous)
	conditions = slices.DeleteFunc(conditions, func(c metav1.Condition) bool {
		return !slices.ContainsFunc(decisions, func(d named) bool { return d.kind == c.Type && d.reason != "" })
	})
	for _, d := range decisions {
		if d.reason == "" {
			continue
		}
		meta.SetStatusCondition(&conditions, metav1.Condition{
			Type:               d.kind,
			Status:             d.status,
			Reason:             d.reason,
			Message:            cut(d.message),
			ObservedGeneration: generation,
			LastTransitionTime: metav1.NewTime(now),
		})
	}
	return conditions
}

func cut(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	const more = "…"
	return strings.ToValidUTF8(message[:maxMessage-len(more)], "") + more
}
