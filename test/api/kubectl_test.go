package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
)

// columns are what kubectl get shows, and what -o wide adds.
var columns = map[string]struct{ narrow, wide string }{
	"mailrelays":        {"NAME READY STATUS REPLICAS AVAILABLE QUEUED OLDEST AGE", "DEFERRED DRAINING PTR TLS ENDPOINT VERSION MESSAGE"},
	"sendingdomains":    {"NAME DOMAIN RELAY READY SPF DKIM DMARC MX SELECTOR AGE", "MESSAGE"},
	"ratelimitpolicies": {"NAME STAGE KEY LIMIT PER(S) CONNS ACCEPTED PROGRAMMED AGE", "MESSAGE"},
}

func TestColumns(t *testing.T) {
	for resource, want := range columns {
		t.Run(resource, func(t *testing.T) {
			var narrow, wide []string
			for _, c := range table(t, resource).ColumnDefinitions {
				if name := strings.ToUpper(c.Name); c.Priority == 0 {
					narrow = append(narrow, name)
				} else {
					wide = append(wide, name)
				}
			}
			if got := strings.Join(narrow, " "); got != want.narrow {
				t.Errorf("shown:  %s\nwanted: %s", got, want.narrow)
			}
			if got := strings.Join(wide, " "); got != want.wide {
				t.Errorf("shown wide: %s\nwanted:     %s", got, want.wide)
			}
		})
	}
}

// A row shows the status that a controller wrote.
func TestRow(t *testing.T) {
	relay := &v1alpha1.MailRelay{}
	create(t, mailRelay, "row", relay)
	oldest := metav1.NewTime(time.Now().Add(-6 * time.Minute))
	relay.Status = v1alpha1.MailRelayStatus{
		ObservedGeneration: relay.Generation,
		Replicas:           3,
		ReadyReplicas:      2,
		Queue:              &v1alpha1.QueueStatus{Queued: 1204, OldestMessageTime: &oldest},
		Conditions:         []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonServing)},
	}
	wantRow(t, relay, "mailrelays", "row True Serving 3 2 1204 6m")

	domain := &v1alpha1.SendingDomain{}
	create(t, sendingDomain, "row", domain)
	domain.Status = v1alpha1.SendingDomainStatus{
		DKIM: v1alpha1.DKIMStatus{ActiveSelector: "pr20260901-a"},
		Conditions: []metav1.Condition{
			condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDNSGateFailed),
			condition(v1alpha1.ConditionSPFVerified, metav1.ConditionTrue, "Pass"),
			condition(v1alpha1.ConditionDKIMVerified, metav1.ConditionFalse, "Missing"),
			condition(v1alpha1.ConditionDMARCVerified, metav1.ConditionFalse, "Weak"),
			condition(v1alpha1.ConditionMXVerified, metav1.ConditionUnknown, "LookupFailed"),
		},
	}
	wantRow(t, domain, "sendingdomains", "row acme.example outbound False Pass Missing Weak LookupFailed pr20260901-a")

	policy := &v1alpha1.RateLimitPolicy{}
	create(t, rateLimitPolicy, "row", policy)
	policy.Status = v1alpha1.RateLimitPolicyStatus{
		Conditions: []metav1.Condition{
			condition(v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted),
			condition(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, v1alpha1.ReasonPartiallyProgrammed),
		},
		Targets: []v1alpha1.TargetStatus{{
			Ref:       v1alpha1.TargetReference{Kind: v1alpha1.TargetMailRelay, Name: "outbound"},
			Accepted:  true,
			Effective: &v1alpha1.Limits{Messages: 600, PerSeconds: 60, Burst: 10},
		}},
	}
	wantRow(t, policy, "ratelimitpolicies", "row Delivery Site 600 60 <nil> True False")
}

// The scale subresource reads and writes what kubectl scale and autoscalers do.
func TestScale(t *testing.T) {
	relay := &v1alpha1.MailRelay{}
	create(t, mailRelay, "scale", relay)
	relay.Status.Selector, relay.Status.Replicas = "postrider.dev/relay=scale", 1
	if err := server.Status().Update(t.Context(), relay); err != nil {
		t.Fatal(err)
	}
	var scale struct {
		Spec   struct{ Replicas int }
		Status struct {
			Replicas int
			Selector string
		}
	}
	get(t, "mailrelays/scale/scale", "application/json", &scale)
	if scale.Spec.Replicas != 1 || scale.Status.Replicas != 1 || scale.Status.Selector != "postrider.dev/relay=scale" {
		t.Errorf("scale is %+v", scale)
	}
}

func create(t *testing.T, text, name string, into client.Object) {
	t.Helper()
	if err := server.Create(t.Context(), parse(t, text, edits{"metadata.name": name})); err != nil {
		t.Fatal(err)
	}
	if err := server.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, into); err != nil {
		t.Fatal(err)
	}
}

func condition(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, LastTransitionTime: metav1.Now()}
}

// wantRow writes the status and wants the row of an object to begin with this.
func wantRow(t *testing.T, object client.Object, resource, want string) {
	t.Helper()
	if err := server.Status().Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	for _, row := range table(t, resource).Rows {
		if row.Cells[0] != object.GetName() {
			continue
		}
		if got := strings.Trim(fmt.Sprint(row.Cells), "[]"); !strings.HasPrefix(got, want) {
			t.Errorf("%s shows %s\nwanted: %s", resource, got, want)
		}
		return
	}
	t.Errorf("%s: no row for %s", resource, object.GetName())
}

func table(t *testing.T, resource string) *metav1.Table {
	t.Helper()
	var answer metav1.Table
	get(t, resource, "application/json;as=Table;v=v1;g=meta.k8s.io", &answer)
	return &answer
}

func get(t *testing.T, path, accept string, into any) {
	t.Helper()
	config := rest.CopyConfig(server.Config)
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	raw, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	data, err := raw.Get().AbsPath("/apis/postrider.dev/v1alpha1/namespaces/default/"+path).SetHeader("Accept", accept).DoRaw(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}
