package condition

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTransitions(t *testing.T) {
	c := func(kind, status, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionStatus(status), Reason: reason}
	}
	before := []metav1.Condition{c("Ready", "True", "Serving"), c("TLSReady", "True", "CertificateValid"), c("Gone", "True", "X"), c("ConfigCurrent", "True", "InForce")}
	after := []metav1.Condition{
		c("Ready", "True", "Serving"), c("TLSReady", "True", "ExpiringSoon"),
		c("ConfigCurrent", "False", "Propagating"), c("SPFVerified", "Unknown", "NotRequired"),
		c("Available", "True", "X"), c("UpstreamReady", "False", "SecretInvalid"), c("Stalled", "True", "RolloutStuck"),
	}
	got := Transitions(before, after)
	if len(got) != 3 || got[0].Type != "TLSReady" || got[1].Type != "UpstreamReady" || got[2].Type != "Stalled" {
		t.Errorf("got %v", got)
	}
	if Good(after[6]) || !Good(after[0]) || Good(after[5]) || !Good(after[3]) {
		t.Error("good and bad are confused")
	}
}

func TestSame(t *testing.T) {
	o := observed(func(*MailRelay) {})
	first := o.Conditions()
	o.Now = o.Now.AddDate(0, 0, 1)
	if !Same(first, o.Conditions()) {
		t.Error("the time alone makes a difference")
	}
	o.Pods[0].Ready = false
	if Same(first, o.Conditions()) {
		t.Error("an unready pod makes none")
	}
}
