package mailrelay

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/status"
)

func at(minutes int) *time.Time {
	t := start.Add(time.Duration(minutes)*time.Minute + 123*time.Millisecond)
	return &t
}

// looked is a pass over two pods that said this; nil: they did not answer.
func looked(answers ...*status.Status) *pass {
	p := &pass{relay: &v1alpha1.MailRelay{ObjectMeta: metav1.ObjectMeta{Namespace: "mail", Name: "out"}}, statuses: map[string]*status.Status{}}
	for i, a := range answers {
		m := member(int32(i), "ru")
		p.seen.pods = append(p.seen.pods, m)
		if a != nil {
			p.statuses[m.Name] = a
		}
	}
	return p
}

func queue(queued int64, oldest *time.Time) status.Queue {
	return status.Queue{Queued: queued, Deferred: 1, Oldest: oldest}
}

func TestQueueIsTheSum(t *testing.T) {
	s := looked(&status.Status{Queue: queue(3, at(5))}, &status.Status{Queue: queue(4, at(2))}).status()
	if q := s.Queue; q == nil || q.Queued != 7 || q.Deferred != 2 || !q.OldestMessageTime.Time.Equal(start.Add(2*time.Minute)) {
		t.Errorf("got %+v", q)
	}
	if s.ReadyReplicas != 2 || s.UpdatedReplicas != 2 || s.Endpoint != "out.mail.svc" {
		t.Errorf("got %+v", s)
	}
	unknown := looked(&status.Status{Queue: queue(3, at(5))}, nil).status()
	if unknown.Queue != nil || unknown.Pods[1].State != v1alpha1.PodUnreachable || unknown.Pods[1].Queued != nil || *unknown.Pods[0].Queued != 3 {
		t.Errorf("a pod that does not answer makes %+v", unknown)
	}
	if q := looked().status().Queue; q != nil {
		t.Errorf("no pods hold %+v", q)
	}
}

func TestSlowestAreJoined(t *testing.T) {
	of := func(domain string, queued int64, oldest *time.Time, reason status.Reason) status.Destination {
		return status.Destination{Domain: domain, Queue: queue(queued, oldest), Reason: reason, Since: start, Reply: strings.Repeat("é", 400)}
	}
	slowest := looked(
		&status.Status{Slowest: []status.Destination{of("b.example", 1, at(9), status.Deferred), of("a.example", 2, at(8), status.Ready)}},
		&status.Status{Slowest: []status.Destination{of("a.example", 3, at(1), status.RateLimited), of("c.example", 1, nil, status.Held)}},
	).status().Slowest
	if len(slowest) != 3 || slowest[0].Domain != "a.example" || slowest[1].Domain != "b.example" || slowest[2].Domain != "c.example" {
		t.Fatalf("got %+v", slowest)
	}
	if a := slowest[0]; a.Queued != 5 || a.Reason != "RateLimited" || len(a.Reply) > maxReply {
		t.Errorf("got %+v", a)
	}
	many := &status.Status{}
	for i := range 30 {
		many.Slowest = append(many.Slowest, of(string(rune('a'+i)), 1, at(i), status.Deferred))
	}
	if got := looked(many).status().Slowest; len(got) != maxSlowest || got[0].Domain != "a" {
		t.Errorf("%d are shown", len(got))
	}
}

func TestEndpointAndVersion(t *testing.T) {
	p := looked(&status.Status{Version: "v2"}, &status.Status{Version: "v1"})
	p.seen.service = &corev1.Service{}
	p.seen.service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.1"}}
	if s := p.status(); s.Endpoint != "203.0.113.1" || s.Version != "v1" {
		t.Errorf("got %q, %q", s.Endpoint, s.Version)
	}
}

func TestCompare(t *testing.T) {
	base := func() v1alpha1.MailRelayStatus {
		return looked(&status.Status{Queue: queue(3, at(5)), Generation: 7}, &status.Status{Queue: queue(4, at(2)), Generation: 7}).status()
	}
	tests := map[string]struct {
		change func(s *v1alpha1.MailRelayStatus)
		want   change
	}{
		"nothing":         {func(*v1alpha1.MailRelayStatus) {}, changeNone},
		"the queue":       {func(s *v1alpha1.MailRelayStatus) { s.Queue.Queued++ }, changeCounts},
		"a pod's queue":   {func(s *v1alpha1.MailRelayStatus) { *s.Pods[0].Queued = 99 }, changeCounts},
		"slowest":         {func(s *v1alpha1.MailRelayStatus) { s.Slowest = []v1alpha1.SlowDestination{{Domain: "x"}} }, changeCounts},
		"a generation":    {func(s *v1alpha1.MailRelayStatus) { *s.Pods[0].ConfigGeneration = 8 }, changeMeaning},
		"queue unknown":   {func(s *v1alpha1.MailRelayStatus) { s.Queue = nil }, changeMeaning},
		"pod unknown":     {func(s *v1alpha1.MailRelayStatus) { s.Pods[0].Queued = nil }, changeMeaning},
		"ready replicas":  {func(s *v1alpha1.MailRelayStatus) { s.ReadyReplicas-- }, changeMeaning},
		"a condition":     {func(s *v1alpha1.MailRelayStatus) { s.Conditions = []metav1.Condition{{Type: "Ready"}} }, changeMeaning},
		"seen generation": {func(s *v1alpha1.MailRelayStatus) { s.ObservedGeneration++ }, changeMeaning},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before, after := base(), base()
			test.change(&after)
			if got := compare(before, after); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			if *before.Pods[0].Queued != 3 {
				t.Error("comparing changed the status")
			}
		})
	}
}
