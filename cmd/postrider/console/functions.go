package console

import (
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/cmd/postrider/life"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/status"
)

// functions are those that the templates use.
func (s *Site) functions() template.FuncMap {
	return template.FuncMap{
		"ago":       func(t any) string { return ago(t, s.now()) },
		"clock":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") },
		"iso":       func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"condition": conditionOf,
		"concerns":  concerns,
		"process":   processOf,
		"detail":    detail,
		"fields":    fields,
		"spoken":    spoken,
		"verdict":   verdict,
	}
}

// ago is the age of a moment, as kubectl prints it; empty when there is none.
func ago(t any, now time.Time) string {
	switch t := t.(type) {
	case time.Time:
		if !t.IsZero() {
			return duration.HumanDuration(now.Sub(t))
		}
	case *time.Time:
		if t != nil {
			return duration.HumanDuration(now.Sub(*t))
		}
	case *metav1.Time:
		if t != nil {
			return duration.HumanDuration(now.Sub(t.Time))
		}
	}
	return ""
}

// conditionOf is a condition of an object; an empty one when it is not there.
func conditionOf(kind string, conditions []metav1.Condition) metav1.Condition {
	for _, c := range conditions {
		if c.Type == kind {
			return c
		}
	}
	return metav1.Condition{Type: kind, Status: metav1.ConditionUnknown, Reason: "Unknown"}
}

// abnormal are the conditions that are there only while something is on its way or wrong.
var abnormal = []string{v1alpha1.ConditionReconciling, "Stalled", "Paused", "Draining"}

// concerns are the conditions that are not as on a good day.
func concerns(conditions []metav1.Condition) []metav1.Condition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c metav1.Condition) bool {
		return (c.Status == metav1.ConditionTrue) != slices.Contains(abnormal, c.Type)
	})
}

// processOf is what the process in a pod said; nil when it did not answer.
func processOf(pod string, all []status.Status) *status.Status {
	for i := range all {
		if all[i].Pod == pod {
			return &all[i]
		}
	}
	return nil
}

// field is a part of a DNS record that somebody may want to copy.
type field struct {
	ID, Label, Text string
	// What says what is copied, after the word Copy.
	What string
}

// fields are those that a form of a DNS provider asks for, and the line of a zone file that says the same. They have ids that
// begin with prefix, which no other record of the page has.
func fields(prefix string, r Record) []field {
	var all []field
	add := func(label, text string) {
		all = append(all, field{ID: prefix + "-" + strconv.Itoa(len(all)), Label: label, Text: text,
			What: strings.ToLower(label) + " of the " + string(r.Purpose) + " record at " + r.Name})
	}
	for i, v := range r.Values {
		if i == 0 {
			add("Name", r.Name)
		}
		add("Value", v.Text)
		add("Zone file", v.Line)
	}
	return all
}

// detail is what an event in the trace of a message tells besides what happened to whom.
func detail(e event.Event, id envelope.ID) string { return life.Detail(&e, e.SpoolID == string(id)) }

// spoken is the heading of an age as it is read aloud: "<5m" is "under 5 minutes".
func spoken(heading string) string {
	young, under := strings.CutPrefix(heading, "<")
	number := strings.TrimRight(young, "mhd+")
	unit := map[byte]string{'m': "minute", 'h': "hour", 'd': "day"}[young[len(number)]]
	if number != "1" {
		unit += "s"
	}
	if under {
		return "under " + number + " " + unit
	}
	return number + " " + unit + " and more"
}

// verdict is the class of a badge for a word that means good, bad or neither.
func verdict(word string) string {
	switch word {
	case "True", "Pass", "Delivered", "Serving":
		return "good"
	case "False", "Missing", "Mismatch", "Failed", "Bounced", "Unreachable", "LookupFailed", "NextHopDown":
		return "bad"
	case "Weak", "Unknown", "Deferred", "RateLimited", "Held", "Suspended", "Cordoned", "Draining":
		return "fair"
	default:
		return "plain"
	}
}
