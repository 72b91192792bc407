// Package metrics owns what the operator's metrics say of the three kinds: the conditions in their status, as numbers to
// alert on. It reads caches when it is scraped, writes nothing and decides nothing: the conditions are the truth.
package metrics

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/desired"
)

// patience is how long a scrape waits for the caches.
const patience = 5 * time.Second

// Collector serves the conditions of all objects in the caches. There is a series for each condition of a MailRelay, and
// numbers alone for the other kinds: of SendingDomains there may be ten thousand.
type Collector struct {
	reader client.Reader

	condition, replicas, ready, stranded, domains, policies *prometheus.Desc
}

// New makes a collector that reads from caches.
func New(reader client.Reader) *Collector {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &Collector{
		reader: reader,
		condition: describe("postrider_mailrelay_condition", "1 for each condition of a MailRelay, with the status and reason that it has.",
			"namespace", "mailrelay", "type", "status", "reason"),
		replicas: describe("postrider_mailrelay_replicas", "Pods that a MailRelay asks for.", "namespace", "mailrelay"),
		ready:    describe("postrider_mailrelay_ready_replicas", "Pods of a MailRelay that serve.", "namespace", "mailrelay"),
		stranded: describe("postrider_mailrelay_stranded_volumes", "Volume claims that hold mail, or may, and have no pod that delivers it; those of MailRelays that were deleted too.",
			"namespace", "mailrelay"),
		domains: describe("postrider_sendingdomains", "SendingDomains by the MailRelay they refer to, and the status of each condition.",
			"namespace", "mailrelay", "type", "status"),
		policies: describe("postrider_ratelimitpolicies", "RateLimitPolicies by the status of each condition.",
			"namespace", "type", "status"),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.condition, c.replicas, c.ready, c.stranded, c.domains, c.policies} {
		to <- d
	}
}

// Collect implements prometheus.Collector. A cache that cannot be read makes the scrape fail: no numbers are better than
// numbers that say that there is nothing.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.relays(ctx, to); err != nil {
		to <- prometheus.NewInvalidMetric(c.condition, err)
	}
	if err := c.countDomains(ctx, to); err != nil {
		to <- prometheus.NewInvalidMetric(c.domains, err)
	}
	if err := c.countPolicies(ctx, to); err != nil {
		to <- prometheus.NewInvalidMetric(c.policies, err)
	}
}

func (c *Collector) relays(ctx context.Context, to chan<- prometheus.Metric) error {
	var list v1alpha1.MailRelayList
	if err := c.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	there := map[client.ObjectKey]bool{}
	for i := range list.Items {
		r := &list.Items[i]
		there[client.ObjectKeyFromObject(r)] = true
		for _, condition := range r.Status.Conditions {
			to <- gauge(c.condition, 1, r.Namespace, r.Name, condition.Type, string(condition.Status), condition.Reason)
		}
		to <- gauge(c.replicas, int(r.Spec.Replicas), r.Namespace, r.Name)
		to <- gauge(c.ready, int(r.Status.ReadyReplicas), r.Namespace, r.Name)
		to <- gauge(c.stranded, len(r.Status.StrandedVolumes), r.Namespace, r.Name)
	}
	return c.orphans(ctx, to, there)
}

// orphans counts the claims that deleted relays left behind.
func (c *Collector) orphans(ctx context.Context, to chan<- prometheus.Metric, there map[client.ObjectKey]bool) error {
	var list corev1.PersistentVolumeClaimList
	if err := c.reader.List(ctx, &list, client.UnsafeDisableDeepCopy, client.HasLabels{desired.RelayLabel}); err != nil {
		return err
	}
	left := map[client.ObjectKey]int{}
	for i := range list.Items {
		claim := &list.Items[i]
		relay := client.ObjectKey{Namespace: claim.Namespace, Name: claim.Labels[desired.RelayLabel]}
		if !there[relay] && claim.Annotations[desired.VolumeAnnotation] != desired.VolumeEmpty {
			left[relay]++
		}
	}
	for relay, n := range left {
		to <- gauge(c.stranded, n, relay.Namespace, relay.Name)
	}
	return nil
}

func (c *Collector) countDomains(ctx context.Context, to chan<- prometheus.Metric) error {
	var list v1alpha1.SendingDomainList
	if err := c.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	sum := tally{}
	for i := range list.Items {
		d := &list.Items[i]
		sum.add(d.Status.Conditions, d.Namespace, string(d.Spec.RelayRef.Name))
	}
	sum.send(c.domains, to)
	return nil
}

func (c *Collector) countPolicies(ctx context.Context, to chan<- prometheus.Metric) error {
	var list v1alpha1.RateLimitPolicyList
	if err := c.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	sum := tally{}
	for i := range list.Items {
		sum.add(list.Items[i].Status.Conditions, list.Items[i].Namespace)
	}
	sum.send(c.policies, to)
	return nil
}

// tally counts objects by labels, which are joined by a character that no name has.
type tally map[string]int

const joint = "\x00"

func (t tally) add(conditions []metav1.Condition, labels ...string) {
	for _, c := range conditions {
		t[strings.Join(append(labels, c.Type, string(c.Status)), joint)]++
	}
}

func (t tally) send(d *prometheus.Desc, to chan<- prometheus.Metric) {
	for labels, n := range t {
		to <- gauge(d, n, strings.Split(labels, joint)...)
	}
}

func gauge(d *prometheus.Desc, value int, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
}
