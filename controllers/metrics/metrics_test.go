package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/metrics"
	"github.com/postrider/postrider/test/metricdoc"
)

// cache plays the operator's caches.
type cache struct {
	relays   []v1alpha1.MailRelay
	domains  []v1alpha1.SendingDomain
	policies []v1alpha1.RateLimitPolicy
	claims   []corev1.PersistentVolumeClaim
	broken   error
}

func (c *cache) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errors.New("not needed")
}

func (c *cache) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	switch l := list.(type) {
	case *v1alpha1.MailRelayList:
		l.Items = c.relays
	case *corev1.PersistentVolumeClaimList:
		l.Items = c.claims
	case *v1alpha1.SendingDomainList:
		l.Items = c.domains
	case *v1alpha1.RateLimitPolicyList:
		l.Items = c.policies
	}
	return c.broken
}

func conditions(list ...string) []metav1.Condition {
	var all []metav1.Condition
	for _, text := range list {
		parts := strings.Split(text, "/")
		all = append(all, metav1.Condition{Type: parts[0], Status: metav1.ConditionStatus(parts[1]), Reason: parts[2]})
	}
	return all
}

func scrape(t *testing.T, c *metrics.Collector) (code int, text string) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	var b bytes.Buffer
	_, _ = b.ReadFrom(w.Body)
	return w.Code, b.String()
}

func TestConditionsAreNumbers(t *testing.T) {
	c := &cache{
		relays: []v1alpha1.MailRelay{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "mail", Name: "mx1"},
			Spec:       v1alpha1.MailRelaySpec{Replicas: 3},
			Status:     v1alpha1.MailRelayStatus{ReadyReplicas: 2, StrandedVolumes: []v1alpha1.StrandedVolume{{Claim: "spool-mx1-4"}}, Conditions: conditions("Ready/False/NotEnoughReplicas", "ConfigCurrent/Unknown/StatusUnavailable")},
		}},
		policies: []v1alpha1.RateLimitPolicy{{ObjectMeta: metav1.ObjectMeta{Namespace: "mail"},
			Status: v1alpha1.RateLimitPolicyStatus{Conditions: conditions("Programmed/True/Programmed")}}},
	}
	for relay, volume := range map[string]string{"mx1": "stranded", "gone": "kept", "empty": "empty", "lost": ""} {
		c.claims = append(c.claims, corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "mail",
			Labels: map[string]string{"postrider.dev/relay": relay}, Annotations: map[string]string{"postrider.dev/volume": volume}}})
	}
	for i := range 5000 {
		d := v1alpha1.SendingDomain{ObjectMeta: metav1.ObjectMeta{Namespace: "mail", Name: fmt.Sprint("d", i)},
			Spec: v1alpha1.SendingDomainSpec{RelayRef: v1alpha1.RelayReference{Name: "mx1"}}}
		d.Status.Conditions = conditions("SPFVerified/True/Pass", "DKIMVerified/True/Pass")
		if i < 7 {
			d.Status.Conditions = conditions("SPFVerified/False/Missing", "DKIMVerified/True/Pass")
		}
		c.domains = append(c.domains, d)
	}
	code, text := scrape(t, metrics.New(c))
	metricdoc.Conventional(t, text)
	for _, want := range []string{
		`postrider_mailrelay_condition{mailrelay="mx1",namespace="mail",reason="NotEnoughReplicas",status="False",type="Ready"} 1`,
		`postrider_mailrelay_condition{mailrelay="mx1",namespace="mail",reason="StatusUnavailable",status="Unknown",type="ConfigCurrent"} 1`,
		`postrider_mailrelay_replicas{mailrelay="mx1",namespace="mail"} 3`,
		`postrider_mailrelay_ready_replicas{mailrelay="mx1",namespace="mail"} 2`,
		`postrider_mailrelay_stranded_volumes{mailrelay="mx1",namespace="mail"} 1`,
		`postrider_mailrelay_stranded_volumes{mailrelay="gone",namespace="mail"} 1`,
		`postrider_mailrelay_stranded_volumes{mailrelay="lost",namespace="mail"} 1`,
		`postrider_sendingdomains{mailrelay="mx1",namespace="mail",status="False",type="SPFVerified"} 7`,
		`postrider_sendingdomains{mailrelay="mx1",namespace="mail",status="True",type="SPFVerified"} 4993`,
		`postrider_sendingdomains{mailrelay="mx1",namespace="mail",status="True",type="DKIMVerified"} 5000`,
		`postrider_ratelimitpolicies{namespace="mail",status="True",type="Programmed"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	if series := strings.Count(text, "\npostrider_"); code != http.StatusOK || series != 11 {
		t.Errorf("%d, %d series:\n%s", code, series, text)
	}
}

func TestAScrapeFailsWhenACacheDoes(t *testing.T) {
	if code, text := scrape(t, metrics.New(&cache{broken: errors.New("not synced")})); code != http.StatusInternalServerError {
		t.Errorf("%d: %s", code, text)
	}
}

func TestEveryMetricIsListed(t *testing.T) {
	metricdoc.Listed(t, "../../docs/metrics.md", "operator", metricdoc.Of(t, metrics.New(nil)))
}
