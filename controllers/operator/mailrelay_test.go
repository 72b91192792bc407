package operator_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
)

func TestMailRelayServes(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	f.expectRelay(relay, map[string]string{
		"Available": "True/MinimumReplicasAvailable", "QueueHealthy": "True/Healthy", "TLSReady": "True/CertificateValid",
		"UpstreamReady": "True/CredentialsPresent", "Stalled": "",
	})
	for _, child := range []client.Object{
		&appsv1.StatefulSet{ObjectMeta: f.meta("outbound")},
		&corev1.Service{ObjectMeta: f.meta("outbound")},
		&corev1.Service{ObjectMeta: f.meta("outbound-pods")},
		&corev1.ConfigMap{ObjectMeta: f.meta("outbound-config")},
		&corev1.Secret{ObjectMeta: f.meta("outbound-material")},
		&policyv1.PodDisruptionBudget{ObjectMeta: f.meta("outbound")},
		&networkingv1.NetworkPolicy{ObjectMeta: f.meta("outbound")},
		&corev1.ServiceAccount{ObjectMeta: f.meta("outbound")},
	} {
		if !f.get(child) {
			t.Errorf("there is no %T %s", child, child.GetName())
		} else if !metav1.IsControlledBy(child, relay) {
			t.Errorf("%T %s does not go with the relay", child, child.GetName())
		}
	}
	if relay.Status.Replicas != 2 || relay.Status.ReadyReplicas != 2 || relay.Status.UpdatedReplicas != 2 || relay.Status.Version != "v1" {
		t.Errorf("the status counts %+v", relay.Status)
	}

	f.node.set(func(n *node) { n.queued["outbound-1"] = 7 })
	f.eventually("the queue depth is shown", func() error {
		f.get(relay)
		if q := relay.Status.Queue; q == nil || q.Queued != 7 || q.OldestMessageTime == nil {
			return fmt.Errorf("it is %+v", q)
		}
		return nil
	})

	f.node.set(func(n *node) { n.silent["outbound-1"] = true })
	f.expectRelay(relay, map[string]string{"QueueHealthy": "Unknown/StatusUnavailable", "Ready": "True/Serving"})
	if relay.Status.Queue != nil || relay.Status.Pods[1].State != v1alpha1.PodUnreachable || relay.Status.Pods[1].Queued != nil {
		t.Errorf("a pod that does not answer is shown as %+v, the queue as %+v", relay.Status.Pods[1], relay.Status.Queue)
	}

	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.NetworkPolicy = v1alpha1.NetworkPolicyUnmanaged })
	f.eventually("the NetworkPolicy goes", func() error {
		if f.get(&networkingv1.NetworkPolicy{ObjectMeta: f.meta("outbound")}) {
			return fmt.Errorf("it is still there")
		}
		return nil
	})
}

// Nothing is written at rest, however often the operator looks, and nothing when it starts anew.
func TestAtRestNothingIsWritten(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	policy := f.policy("cap", "outbound")
	f.create(policy)
	f.expectPolicy(policy, map[string]string{"Ready": "True/Programmed"})
	domain := f.domain("example", "example.com")
	domain.Spec.DNS = v1alpha1.DomainDNS{Gates: []v1alpha1.DNSGate{}}
	f.create(domain)
	f.expectDomain(domain, map[string]string{"Ready": "True/Verified"})
	f.expectRelay(relay, map[string]string{"ConfigCurrent": "True/InForce"})
	time.Sleep(3 * time.Second) // echoes of the last writes
	f.requests.Writes()
	for i := range 3 {
		change(f, relay, func(r *v1alpha1.MailRelay) { r.Annotations = map[string]string{"look": fmt.Sprint(i)} })
		change(f, domain, func(d *v1alpha1.SendingDomain) { d.Annotations = map[string]string{"look": fmt.Sprint(i)} })
		time.Sleep(500 * time.Millisecond)
	}
	if writes := f.requests.Writes(); len(writes) > 0 {
		t.Errorf("nothing has changed, and the operator asked for %q", writes)
	}

	f.restart()
	time.Sleep(3 * time.Second)
	if writes := f.requests.Writes(); len(writes) > 0 {
		t.Errorf("an operator that starts anew asked for %q", writes)
	}
}

func TestConfigurationReachesPods(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	first := *relay.Status.Pods[0].ConfigGeneration

	began := time.Now()
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Postmaster = "postmaster@example.com" })
	f.expectRelay(relay, map[string]string{"ConfigCurrent": "True/InForce"})
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, pod := range relay.Status.Pods {
		if pod.ConfigGeneration == nil || *pod.ConfigGeneration != first+1 {
			t.Errorf("pod %s has %v, after %d", pod.Name, pod.ConfigGeneration, first)
		}
	}
	if relay.Status.UpdatedReplicas != 2 {
		t.Error("a change of the configuration made pods outdated")
	}

	f.node.set(func(n *node) { n.stale["outbound-0"] = true })
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Postmaster = "ops@example.com" })
	f.expectRelay(relay, map[string]string{"ConfigCurrent": "False/Propagating", "Ready": "True/Serving"})
	f.node.set(func(n *node) { delete(n.stale, "outbound-0") })
	f.expectRelay(relay, map[string]string{"ConfigCurrent": "True/InForce"})
}

// The generation never falls, even when the Secret that holds the index is gone.
func TestGenerationSurvivesTheLossOfItsIndex(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 1)
	before := *relay.Status.Pods[0].ConfigGeneration
	f.delete(&corev1.Secret{ObjectMeta: f.meta("outbound-material")})
	f.restart()
	f.eventually("the index is made again", func() error {
		f.get(relay)
		if g := relay.Status.Pods[0].ConfigGeneration; g == nil || *g <= before {
			return fmt.Errorf("the pod has %v, it had %d", g, before)
		}
		return nil
	})
}

func TestRolloutTakesOnePodAtATime(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 3)
	before := f.podUIDs()
	f.node.set(func(n *node) { n.unready["outbound-2"] = true })
	f.expectRelay(relay, map[string]string{"Ready": "False/NotEnoughReplicas"})
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Pod.Annotations = map[string]string{"shape": "new"} })
	f.eventually("the unready pod goes first", func() error {
		if now := f.podUIDs(); now["outbound-2"] == "" || now["outbound-2"] == before["outbound-2"] {
			return fmt.Errorf("the pods are %v", now)
		}
		return nil
	})
	time.Sleep(2 * time.Second)
	if now := f.podUIDs(); now["outbound-0"] != before["outbound-0"] || now["outbound-1"] != before["outbound-1"] {
		t.Fatal("a ready pod was replaced while another was not ready")
	}
	f.node.set(func(n *node) { delete(n.unready, "outbound-2") })
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "Reconciling": ""})
	for name, uid := range f.podUIDs() {
		if uid == before[name] {
			t.Errorf("%s was not replaced", name)
		}
	}
}

func (f *fixture) podUIDs() map[string]string {
	f.t.Helper()
	var pods corev1.PodList
	if err := server.Client.List(context.Background(), &pods, client.InNamespace(f.namespace)); err != nil {
		f.t.Fatal(err)
	}
	uids := map[string]string{}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil {
			uids[p.Name] = string(p.UID)
		}
	}
	return uids
}

// leftovers says what there is that bears a relay's label, but for claims.
func (f *fixture) leftovers(relay string) error {
	lists := []client.ObjectList{
		&appsv1.StatefulSetList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{}, &corev1.SecretList{}, &corev1.PodList{},
		&policyv1.PodDisruptionBudgetList{}, &networkingv1.NetworkPolicyList{}, &corev1.ServiceAccountList{},
	}
	for _, list := range lists {
		err := server.Client.List(context.Background(), list, client.InNamespace(f.namespace), client.MatchingLabels{"postrider.dev/relay": relay})
		if err != nil {
			return err
		}
		if n := meta.LenList(list); n > 0 {
			return fmt.Errorf("%d in %T are left", n, list)
		}
	}
	return nil
}

func TestPaused(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 1)
	change(f, relay, func(r *v1alpha1.MailRelay) {
		r.Spec.Reconciliation = v1alpha1.ReconciliationPaused
		r.Spec.Replicas = 2
	})
	f.expectRelay(relay, map[string]string{"Paused": "True/Paused"})
	f.node.set(func(n *node) { n.queued["outbound-0"] = 5 })
	f.eventually("the status is still true", func() error {
		if f.get(relay); relay.Status.Queue == nil || relay.Status.Queue.Queued != 5 {
			return fmt.Errorf("the queue is %+v", relay.Status.Queue)
		}
		return nil
	})
	set := &appsv1.StatefulSet{ObjectMeta: f.meta("outbound")}
	if f.get(set); *set.Spec.Replicas != 1 {
		t.Error("a paused relay was scaled")
	}
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Reconciliation = v1alpha1.ReconciliationActive })
	f.expectRelay(relay, map[string]string{"Paused": "", "Ready": "True/Serving"})
	if relay.Status.ReadyReplicas != 2 {
		t.Errorf("%d pods serve", relay.Status.ReadyReplicas)
	}
}
