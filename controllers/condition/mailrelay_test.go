package condition

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/status"
)

var now = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) *time.Time {
	t := now.Add(-d)
	return &t
}

func relay(replicas int32) *v1alpha1.MailRelay {
	return &v1alpha1.MailRelay{
		ObjectMeta: metav1.ObjectMeta{Name: "outbound", Generation: 3},
		Spec:       v1alpha1.MailRelaySpec{Replicas: replicas, Reconciliation: v1alpha1.ReconciliationActive},
	}
}

func pod(name string) Pod {
	return Pod{Name: name, Created: now.Add(-time.Minute), Ready: true, Updated: true, Status: &status.Status{Pod: name, Generation: 7}}
}

// observed is a healthy relay of two pods, changed by f.
func observed(f func(o *MailRelay)) *MailRelay {
	o := &MailRelay{Relay: relay(2), Now: now, Generation: 7, Pods: []Pod{pod("outbound-0"), pod("outbound-1")}}
	f(o)
	return o
}

func was(reason string) []metav1.Condition {
	return []metav1.Condition{{Type: v1alpha1.ConditionReconciling, Status: metav1.ConditionTrue, Reason: reason, LastTransitionTime: metav1.NewTime(now)}}
}

// wanted is "Status/Reason" for each type; "" means that the condition is absent.
type wanted map[string]string

func (w wanted) check(t *testing.T, conditions []metav1.Condition) {
	t.Helper()
	for kind, want := range w {
		got := ""
		if c := meta.FindStatusCondition(conditions, kind); c != nil {
			got = string(c.Status) + "/" + c.Reason
		}
		if got != want {
			t.Errorf("%s is %q, want %q", kind, got, want)
		}
	}
}

func TestMailRelay(t *testing.T) {
	unready := func(o *MailRelay) { o.Pods[1].Ready = false }
	tests := map[string]struct {
		change func(o *MailRelay)
		want   wanted
	}{
		"healthy": {func(*MailRelay) {}, wanted{
			"Ready": "True/Serving", "Available": "True/MinimumReplicasAvailable", "Reconciling": "", "Stalled": "", "Paused": "", "Draining": "", "UpgradePending": "",
			"QueueHealthy": "True/Healthy", "ConfigCurrent": "True/InForce", "TLSReady": "True/CertificateValid", "UpstreamReady": "True/CredentialsPresent",
		}},
		"nothing there yet": {func(o *MailRelay) { o.Pods, o.Generation = nil, 0 }, wanted{
			"Ready": "False/NotEnoughReplicas", "Available": "False/NoReadyPods", "Reconciling": "True/ScalingUp",
			"QueueHealthy": "Unknown/StatusUnavailable", "ConfigCurrent": "False/Propagating",
		}},
		"one pod not ready": {unready, wanted{
			"Ready": "False/NotEnoughReplicas", "Available": "True/MinimumReplicasAvailable", "Reconciling": "True/ScalingUp", "Stalled": "",
		}},
		"rolling out": {func(o *MailRelay) { o.Pods[0].Updated = false }, wanted{"Ready": "True/Serving", "Reconciling": "True/RollingOut"}},
		"rolling out, one on its way": {func(o *MailRelay) { o.Pods[0].Updated = false; unready(o) }, wanted{
			"Ready": "True/Serving", "Reconciling": "True/RollingOut",
		}},
		"rolling out, the last one is missing": {func(o *MailRelay) {
			o.Relay.Status.Conditions = was(v1alpha1.ReasonRollingOut)
			o.Pods = o.Pods[:1]
		}, wanted{"Ready": "True/Serving", "Reconciling": "True/RollingOut"}},
		"rolling out a single pod": {func(o *MailRelay) {
			o.Relay.Spec.Replicas = 1
			o.Relay.Status.Conditions = was(v1alpha1.ReasonRollingOut)
			o.Pods = nil
		}, wanted{"Ready": "False/NotEnoughReplicas", "Reconciling": "True/RollingOut", "Available": "False/NoReadyPods"}},
		"scaling down": {func(o *MailRelay) { o.Relay.Spec.Replicas = 1; o.Pods[1].Surplus = true }, wanted{
			"Ready": "True/Serving", "Reconciling": "True/ScalingDown", "Draining": "True/WaitingForDelivery",
		}},
		"one cordoned by an admin": {func(o *MailRelay) { o.Pods[1].Cordoned = true }, wanted{
			"Ready": "True/Serving", "Available": "True/MinimumReplicasAvailable", "Reconciling": "", "Draining": "",
		}},
		"all cordoned by an admin": {func(o *MailRelay) { o.Pods[0].Cordoned, o.Pods[1].Cordoned = true, true }, wanted{
			"Ready": "False/NotEnoughReplicas", "Available": "False/NoReadyPods", "Reconciling": "",
		}},
		"one cordoned, the other not ready": {func(o *MailRelay) { o.Pods[0].Cordoned = true; unready(o) }, wanted{
			"Ready": "False/NotEnoughReplicas", "Available": "False/NoReadyPods", "Reconciling": "True/ScalingUp",
		}},
		"one drained by an admin": {func(o *MailRelay) {
			o.Pods[1].Cordoned, o.Draining, o.HandsOver = true, &v1alpha1.DrainingPod{Pod: "out-1"}, true
		}, wanted{"Ready": "True/Serving", "Reconciling": "", "Draining": "True/HandingOff"}},
		"one drained by delivery": {func(o *MailRelay) { o.Pods[1].Cordoned, o.Draining = true, &v1alpha1.DrainingPod{Pod: "out-1"} }, wanted{
			"Ready": "True/Serving", "Draining": "True/WaitingForDelivery",
		}},
		"resizing": {func(o *MailRelay) { o.Volumes.Growing = true }, wanted{"Ready": "True/Serving", "Reconciling": "True/ResizingVolumes"}},
		"stuck": {func(o *MailRelay) { unready(o); o.Pods[1].Created = now.Add(-time.Hour) }, wanted{
			"Ready": "False/RolloutStuck", "Stalled": "True/RolloutStuck", "Reconciling": "",
		}},
		"rolling out, the last one is not ready": {func(o *MailRelay) {
			o.Relay.Status.Conditions = was(v1alpha1.ReasonRollingOut)
			unready(o)
		}, wanted{"Ready": "True/Serving", "Reconciling": "True/RollingOut"}},
		"the shape has just changed": {func(o *MailRelay) { o.Reshaped = true }, wanted{"Ready": "True/Serving", "Reconciling": "True/RollingOut"}},
		"not ready for a moment": {func(o *MailRelay) {
			unready(o)
			o.Pods[1].Created, o.Pods[1].Unready = now.Add(-time.Hour), now.Add(-time.Minute)
		}, wanted{"Ready": "False/NotEnoughReplicas", "Stalled": "", "Reconciling": "True/ScalingUp"}},
		"without hope": {func(o *MailRelay) {
			unready(o)
			o.Pods[1].Created, o.Pods[1].Trouble, o.Pods[1].Hopeless = now.Add(-3*time.Minute), "No such image.", true
		}, wanted{"Ready": "False/RolloutStuck", "Stalled": "True/RolloutStuck"}},
		"without hope, but not for long": {func(o *MailRelay) { unready(o); o.Pods[1].Hopeless = true }, wanted{"Stalled": "", "Reconciling": "True/ScalingUp"}},
		"volumes that may not grow": {func(o *MailRelay) { o.Volumes = Volumes{Growing: true, Refused: "no"} }, wanted{
			"Ready": "False/VolumeGrowthRefused", "Stalled": "True/VolumeGrowthRefused", "Reconciling": "", "Available": "True/MinimumReplicasAvailable",
		}},
		"volumes that would shrink": {func(o *MailRelay) { o.Volumes.Larger = "2Gi" }, wanted{
			"Ready": "False/VolumeShrinkRejected", "Stalled": "True/VolumeShrinkRejected", "Reconciling": "",
		}},
		"an upgrade by hand": {func(o *MailRelay) { o.Upgrade = &Upgrade{From: "v1", To: "v2", Manual: true} }, wanted{
			"Ready": "True/Serving", "UpgradePending": "True/ManualUpgrade", "Reconciling": "", "Stalled": "",
		}},
		"an upgrade that waits": {func(o *MailRelay) { o.Upgrade = &Upgrade{From: "v1", To: "v2"} }, wanted{
			"Ready": "True/Serving", "UpgradePending": "True/WaitingForTurn", "Reconciling": "",
		}},
		"pods too old for all of it": {func(o *MailRelay) { o.Omitted = []string{"filters[].icap"} }, wanted{"Ready": "True/Serving", "ConfigCurrent": "False/PodsTooOld"}},
		"refused by the API server": {func(o *MailRelay) { o.Refused = "no such priority class"; unready(o) }, wanted{
			"Ready": "False/InvalidConfiguration", "Stalled": "True/InvalidConfiguration", "Reconciling": "",
		}},
		"paused": {func(o *MailRelay) {
			o.Relay.Spec.Reconciliation = v1alpha1.ReconciliationPaused
			o.Pods[0].Updated = false
		}, wanted{
			"Ready": "True/Serving", "Paused": "True/Paused", "Reconciling": "", "Stalled": "",
		}},
		"deleting": {func(o *MailRelay) {
			o.Deleting, o.Pods[0].Surplus, o.Draining = true, true, &v1alpha1.DrainingPod{Pod: o.Pods[0].Name}
		}, wanted{
			"Ready": "False/Deleting", "Draining": "True/WaitingForDelivery", "Reconciling": "", "Stalled": "",
		}},
		"deleting, handing over": {func(o *MailRelay) {
			o.Deleting, o.HandsOver, o.Heir, o.Pods[0].Surplus = true, true, "other", true
			o.Draining = &v1alpha1.DrainingPod{Pod: o.Pods[0].Name}
		}, wanted{"Ready": "False/Deleting", "Draining": "True/HandingOff"}},
		"deleting, its time is over": {func(o *MailRelay) {
			o.Deleting, o.Overdue, o.Pods[0].Surplus = true, true, true
			o.Draining = &v1alpha1.DrainingPod{Pod: o.Pods[0].Name}
		}, wanted{"Ready": "False/Deleting", "Draining": "True/DrainTimedOut"}},
		"deleting, volumes kept": {func(o *MailRelay) {
			o.Deleting, o.Pods[0].Surplus, o.Stranded = true, true, []string{"spool-out-1"}
			o.Relay.Spec.Drain.OnDelete = v1alpha1.DeleteRetain
		}, wanted{"Ready": "False/Deleting", "Draining": "", "QueueHealthy": "False/StrandedMail"}},

		"unreachable": {func(o *MailRelay) { o.Pods[1].Status = nil }, wanted{
			"Ready": "True/Serving", "QueueHealthy": "Unknown/StatusUnavailable", "ConfigCurrent": "Unknown/StatusUnavailable",
		}},
		"unreachable with its node": {func(o *MailRelay) { o.Pods[1].Status = nil; o.Lost = []string{"x"} }, wanted{
			"Ready": "True/Serving", "QueueHealthy": "False/NodeLost", "ConfigCurrent": "Unknown/StatusUnavailable",
		}},
		"propagating": {func(o *MailRelay) { o.Pods[1].Status.Generation = 6 }, wanted{"ConfigCurrent": "False/Propagating"}},
		"propagating beside an unreachable pod": {func(o *MailRelay) { o.Pods[0].Status = nil; o.Pods[1].Status.Generation = 6 }, wanted{
			"ConfigCurrent": "False/Propagating",
		}},
		"rejected": {func(o *MailRelay) {
			o.Pods[1].Status.Generation, o.Pods[1].Status.ConfigError = 6, "format 9"
		}, wanted{"ConfigCurrent": "False/Rejected"}},
		"an old complaint": {func(o *MailRelay) { o.Pods[1].Status.ConfigError = "format 9" }, wanted{"ConfigCurrent": "True/InForce"}},

		"backlog": {func(o *MailRelay) {
			o.Pods[1].Status.Slowest = []status.Destination{{Domain: "slow.example", Queue: status.Queue{Queued: 1, Oldest: ago(5 * time.Hour)}, Reason: status.Deferred}}
		}, wanted{"QueueHealthy": "False/Backlogged"}},
		"a young queue": {func(o *MailRelay) {
			o.Pods[1].Status.Slowest = []status.Destination{{Queue: status.Queue{Oldest: ago(time.Hour)}, Reason: status.Deferred}}
		}, wanted{"QueueHealthy": "True/Healthy"}},
		"a young queue with early warnings": {func(o *MailRelay) {
			seconds := int32(60)
			o.Relay.Spec.Queue.DelayWarningSeconds = &seconds
			o.Pods[1].Status.Slowest = []status.Destination{{Queue: status.Queue{Oldest: ago(time.Hour)}, Reason: status.RateLimited}}
		}, wanted{"QueueHealthy": "False/Backlogged"}},
		"held": {func(o *MailRelay) {
			o.Pods[1].Status.Slowest = []status.Destination{{Queue: status.Queue{Oldest: ago(99 * time.Hour)}, Reason: status.Held}}
		}, wanted{"QueueHealthy": "True/Healthy"}},

		"an address without a name": {func(o *MailRelay) { o.Reverse = Reverse{"Missing", "x"} }, wanted{
			"PTRVerified": "False/Missing", "Ready": "True/Serving",
		}},
		"names that nobody knows": {func(o *MailRelay) { o.Reverse = Reverse{"Unknown", "x"} }, wanted{
			"PTRVerified": "Unknown/Unknown", "Ready": "True/Serving", "Reconciling": "",
		}},
		"a full disk": {func(o *MailRelay) { o.Pods[1].Status.DiskLow = true }, wanted{
			"QueueHealthy": "False/DiskPressure", "Ready": "True/Serving",
		}},
		"a full disk beside an unreachable pod": {func(o *MailRelay) { o.Pods[0].Status, o.Pods[1].Status.DiskLow = nil, true }, wanted{
			"QueueHealthy": "False/DiskPressure",
		}},

		"no certificate yet": {func(o *MailRelay) { o.Secrets = []Secret{{Use: UseTLS, Problem: "x", Missing: true}} }, wanted{
			"TLSReady": "False/Pending", "Ready": "False/InvalidReference",
		}},
		"malformed certificate": {func(o *MailRelay) { o.Secrets = []Secret{{Use: UseTLS, Problem: "x"}} }, wanted{
			"TLSReady": "False/SecretInvalid", "Ready": "False/InvalidReference",
		}},
		"certificate gone": {func(o *MailRelay) { o.Secrets = []Secret{{Use: UseTLS, Problem: "x", Missing: true, Kept: true}} }, wanted{
			"TLSReady": "False/SecretInvalid", "Ready": "True/Serving",
		}},
		"certificate near its end": {func(o *MailRelay) {
			o.Certificates = []Certificate{{Expires: now.Add(999 * time.Hour)}, {Expires: now.Add(time.Hour)}}
		}, wanted{"TLSReady": "True/ExpiringSoon"}},
		"certificate at its end": {func(o *MailRelay) { o.Certificates = []Certificate{{Expires: now}} }, wanted{
			"TLSReady": "False/ExpiringSoon", "Ready": "True/Serving",
		}},
		"certificate young": {func(o *MailRelay) { o.Certificates = []Certificate{{Expires: now.Add(999 * time.Hour)}} }, wanted{
			"TLSReady": "True/CertificateValid",
		}},
		"no users": {func(o *MailRelay) { o.Secrets = []Secret{{Use: UseUsers, Problem: "x"}} }, wanted{
			"Ready": "False/InvalidReference", "TLSReady": "True/CertificateValid",
		}},
		"no credentials": {func(o *MailRelay) { o.Secrets = []Secret{{Use: UseUpstream, Problem: "x"}} }, wanted{
			"Ready": "True/Serving", "UpstreamReady": "False/SecretInvalid",
		}},
		"no key of a webhook": {func(o *MailRelay) { o.Secrets = []Secret{{Use: UseService, Problem: "x"}} }, wanted{
			"Ready": "False/InvalidReference", "UpstreamReady": "True/CredentialsPresent",
		}},
		"the key of a webhook gone": {func(o *MailRelay) { o.Secrets = []Secret{{Use: UseService, Problem: "x", Kept: true}} }, wanted{
			"Ready": "True/Serving",
		}},
		"credentials gone": {func(o *MailRelay) { o.Secrets = []Secret{{Use: UseUpstream, Problem: "x", Kept: true}} }, wanted{
			"UpstreamReady": "False/SecretInvalid",
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test.want.check(t, observed(test.change).Conditions()) })
	}
}

func TestMessages(t *testing.T) {
	tests := map[string]struct {
		change func(o *MailRelay)
		kind   string
		want   string
	}{
		"listener": {func(o *MailRelay) {
			o.Pods[0].Ready = false
			o.Pods[0].Status.Listeners = []status.Listener{{Name: "smtps", Error: "no certificate"}}
		}, "Ready", "1 of 2 pods serve. Listener smtps of outbound-0: no certificate."},
		"self-test": {func(o *MailRelay) {
			o.Pods[0].Ready, o.Pods[0].Status.NotReady = false, "the spool takes no writes"
		}, "Ready", "1 of 2 pods serve. outbound-0: the spool takes no writes."},
		"self-test, for long": {func(o *MailRelay) {
			o.Pods[0].Ready, o.Pods[0].Created, o.Pods[0].Status.NotReady = false, now.Add(-time.Hour), "the spool takes no writes"
		}, "Stalled", "Pod outbound-0 does not become ready, and no other is replaced meanwhile. It says: the spool takes no writes."},
		"stuck": {func(o *MailRelay) { o.Pods[0].Ready, o.Pods[0].Created = false, now.Add(-time.Hour) }, "Stalled", "See kubectl describe pod outbound-0."},
		"stuck, and why": {func(o *MailRelay) {
			o.Pods[0].Ready, o.Pods[0].Created, o.Pods[0].Trouble = false, now.Add(-time.Hour), "Its image p:v9 cannot be had."
		}, "Stalled", "Its image p:v9 cannot be had. It is replaced first"},
		"an upgrade by hand":    {func(o *MailRelay) { o.Upgrade = &Upgrade{From: "v1", To: "v2", Manual: true} }, "UpgradePending", "The pods run v1, the operator brings v2."},
		"what pods cannot read": {func(o *MailRelay) { o.Omitted = []string{"filters[].icap"} }, "ConfigCurrent", "too old for: filters[].icap."},
		"who is waited for": {func(o *MailRelay) {
			o.Pods[0].Updated, o.Pods[1].Status = false, nil
		}, "Reconciling", "waits until these are ready and answer: outbound-1."},
		"kept users": {func(o *MailRelay) {
			o.Secrets = []Secret{{Use: UseUsers, Problem: "The Secret smtp-users is gone.", Kept: true}}
		}, "Ready", "smtp-users is gone. The last good copy is in use."},
		"kept password of a filter": {func(o *MailRelay) {
			o.Secrets = []Secret{{Use: UseService, Problem: "The Secret rspamd is gone.", Kept: true}}
		}, "Ready", "rspamd is gone. The last good copy is in use."},
		"rejected": {func(o *MailRelay) {
			o.Pods[0].Status.Generation, o.Pods[0].Status.ConfigError = 1, strings.Repeat("ü", 9999)
		}, "ConfigCurrent", "…"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := meta.FindStatusCondition(observed(test.change).Conditions(), test.kind)
			if !strings.Contains(c.Message, test.want) || len(c.Message) > maxMessage {
				t.Errorf("%s says %q", test.kind, c.Message)
			}
		})
	}
}

func TestTransitionTimeIsKept(t *testing.T) {
	o := observed(func(*MailRelay) {})
	first := o.Conditions()
	o.Relay.Status.Conditions = append(first, metav1.Condition{Type: "OfAnOldVersion", Status: "True", Reason: "X"})
	o.Now = now.Add(time.Hour)
	o.Pods[0].Status = nil
	second := o.Conditions()
	if ready := meta.FindStatusCondition(second, "Ready"); !ready.LastTransitionTime.Time.Equal(now) || ready.ObservedGeneration != 3 {
		t.Errorf("Ready changed at %v, generation %d", ready.LastTransitionTime, ready.ObservedGeneration)
	}
	if queue := meta.FindStatusCondition(second, "QueueHealthy"); !queue.LastTransitionTime.Time.Equal(o.Now) {
		t.Errorf("QueueHealthy changed at %v", queue.LastTransitionTime)
	}
	if meta.FindStatusCondition(second, "OfAnOldVersion") != nil {
		t.Error("a condition that nobody decides upon stayed")
	}
	if meta.FindStatusCondition(first, "QueueHealthy").Status != metav1.ConditionTrue {
		t.Error("the conditions there were have been changed")
	}
}

// What stands in the way of a deletion is said with what to do.
func TestDeletionSaysWhatToDo(t *testing.T) {
	tests := map[string]struct {
		change    func(o *MailRelay)
		condition string
		want      string
	}{
		"delivers": {func(*MailRelay) {}, "Ready", "deliver what they have, and go (spec.drain.onDelete is Deliver)"},
		"hands over": {func(o *MailRelay) { o.Relay.Spec.Drain.OnDelete = v1alpha1.DeleteHandoff }, "Ready",
			"give what they have to MailRelay other"},
		"keeps all":  {func(o *MailRelay) { o.Relay.Spec.Drain.OnDelete = v1alpha1.DeleteRetain }, "Ready", "all its volume claims are kept"},
		"is refused": {func(o *MailRelay) { o.Refused = "no such class." }, "Ready", "But the API server refuses an object: no such class."},
		"nobody takes it": {func(o *MailRelay) { o.HeirProblem = "there is no MailRelay other" }, "Draining",
			"none takes any, and it delivers by itself: there is no MailRelay other. Mend that, name another relay in spec.drain.handoffTo, or set spec.drain.onDelete to Deliver or Retain."},
		"nobody takes it now": {func(o *MailRelay) { o.Draining.Step = v1alpha1.StepWaitingForPeers }, "Draining", "status.draining tells why"},
		"in time":             {func(*MailRelay) {}, "Draining", "gives what it has to the pods of MailRelay other, then goes."},
		"late":                {func(o *MailRelay) { o.Overdue = true }, "Draining", "raise timeoutSeconds, or set onTimeout to Force or onDelete to Retain"},
		"late and forced": {func(o *MailRelay) { o.Overdue, o.Relay.Spec.Drain.OnTimeout = true, v1alpha1.DrainForce }, "Draining",
			"It goes, and its volume claim is kept."},
		"kept": {func(o *MailRelay) { o.Stranded = []string{"spool-out-1"} }, "QueueHealthy", "A MailRelay made again as "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := observed(func(o *MailRelay) {
				o.Deleting, o.HandsOver, o.Heir, o.Pods[0].Surplus = true, true, "other", true
				o.Draining = &v1alpha1.DrainingPod{Pod: o.Pods[0].Name, Step: v1alpha1.StepHandingOff}
			})
			test.change(o)
			if c := meta.FindStatusCondition(o.Conditions(), test.condition); c == nil || !strings.Contains(c.Message, test.want) {
				t.Errorf("%+v", c)
			}
		})
	}
}
