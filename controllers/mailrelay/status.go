package mailrelay

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/relay/status"
)

const (
	maxSlowest = 10
	maxPods    = 128
	maxReply   = 512
)

// status is what was observed, but for the conditions.
func (p *pass) status() v1alpha1.MailRelayStatus {
	s := v1alpha1.MailRelayStatus{
		ObservedGeneration: p.relay.Generation,
		Selector:           labels.SelectorFromSet(desired.Selector(p.relay.Name)).String(),
		Replicas:           int32(len(p.seen.pods)),
		Endpoint:           p.endpoint(),
		Queue:              p.queue(),
		Slowest:            p.slowest(),
		Version:            p.version(),
		Draining:           p.draining(),
		StrandedVolumes:    p.strandedVolumes(),
	}
	for _, pod := range p.seen.pods {
		if pod.ready() && !pod.cordoned() {
			s.ReadyReplicas++
		}
		if pod.updated {
			s.UpdatedReplicas++
		}
		if len(s.Pods) < maxPods {
			s.Pods = append(s.Pods, p.podStatus(pod))
		}
	}
	return s
}

func (p *pass) podStatus(pod pod) v1alpha1.PodStatus {
	s := v1alpha1.PodStatus{Name: pod.Name, State: v1alpha1.PodServing}
	answer := p.statuses[pod.Name]
	switch {
	case answer == nil:
		s.State = v1alpha1.PodUnreachable
		return s
	case pod.cordoned():
		s.State = v1alpha1.PodCordoned
		if d := p.leaving(); d != nil && d.Name == pod.Name {
			s.State = v1alpha1.PodDraining
		}
	}
	s.Queued, s.ConfigGeneration, s.Version = &answer.Queue.Queued, &answer.Generation, answer.Version
	return s
}

// queue is the sum over all pods; nil while that of one is unknown.
func (p *pass) queue() *v1alpha1.QueueStatus {
	if len(p.seen.pods) == 0 {
		return nil
	}
	var sum v1alpha1.QueueStatus
	for _, pod := range p.seen.pods {
		s := p.statuses[pod.Name]
		if s == nil {
			return nil
		}
		sum.Queued += s.Queue.Queued
		sum.Deferred += s.Queue.Deferred
		sum.Held += s.Queue.Held
		if t := whole(s.Queue.Oldest); t != nil && (sum.OldestMessageTime == nil || t.Before(sum.OldestMessageTime)) {
			sum.OldestMessageTime = t
		}
	}
	return &sum
}

// whole is a time as a status holds it, in whole seconds; otherwise what was written would never equal what is.
func whole(t *time.Time) *metav1.Time {
	if t == nil {
		return nil
	}
	w := metav1.NewTime(t.Truncate(time.Second))
	return &w
}

// slowest are the destinations whose mail has waited longest, joined over the pods.
func (p *pass) slowest() []v1alpha1.SlowDestination {
	joined := map[string]v1alpha1.SlowDestination{}
	for _, pod := range p.seen.pods {
		if s := p.statuses[pod.Name]; s != nil {
			for _, d := range s.Slowest {
				joined[d.Domain] = join(joined[d.Domain], d)
			}
		}
	}
	var list []v1alpha1.SlowDestination
	for _, d := range joined {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b v1alpha1.SlowDestination) int {
		return cmp.Or(age(a).Compare(age(b)), cmp.Compare(a.Domain, b.Domain))
	})
	return list[:min(len(list), maxSlowest)]
}

// join adds a pod's view of a destination; the one with the oldest message says why it waits.
func join(have v1alpha1.SlowDestination, d status.Destination) v1alpha1.SlowDestination {
	add := v1alpha1.SlowDestination{
		Domain: d.Domain, Queued: d.Queued, OldestMessageTime: whole(d.Oldest),
		Reason: string(d.Reason), Since: whole(&d.Since), Reply: cut(d.Reply),
	}
	if d.Since.IsZero() {
		add.Since = nil
	}
	if have.Domain != "" && !age(add).Before(age(have)) {
		add, have = have, add
	}
	add.Queued += have.Queued
	return add
}

// age is the time to order by; a destination without messages comes last.
func age(d v1alpha1.SlowDestination) time.Time {
	if d.OldestMessageTime == nil {
		return time.Unix(1<<40, 0)
	}
	return d.OldestMessageTime.Time
}

func cut(reply string) string { return cutAt(reply, maxReply) }

// cutAt shortens a text to at most so many octets.
func cutAt(text string, most int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= most {
		return text
	}
	const more = "…"
	return strings.ToValidUTF8(text[:most-len(more)], "") + more
}

// version is the one that the pods run; while they run several, the first in order.
func (p *pass) version() string {
	var versions []string
	for _, s := range p.statuses {
		versions = append(versions, s.Version)
	}
	if len(versions) == 0 {
		return p.relay.Status.Version
	}
	return slices.Min(versions)
}

// endpoint is the load balancer's address, once there is one, else the Service's name.
func (p *pass) endpoint() string {
	if p.seen.service != nil {
		for _, i := range p.seen.service.Status.LoadBalancer.Ingress {
			if e := cmp.Or(i.Hostname, i.IP); e != "" {
				return e
			}
		}
	}
	return p.relay.Name + "." + p.relay.Namespace + ".svc"
}
