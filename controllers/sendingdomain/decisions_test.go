package sendingdomain

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/dkimkey"
)

var start = time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)

func record(result v1alpha1.RecordResult) []v1alpha1.DNSRecord {
	return []v1alpha1.DNSRecord{{Purpose: v1alpha1.PurposeMX, Name: "example.com", Type: "MX", Result: result}}
}

func TestOneFailedLookUpKeepsTheVerdict(t *testing.T) {
	const pass, failed, missing = v1alpha1.ResultPass, v1alpha1.ResultLookupFailed, v1alpha1.ResultMissing
	tests := map[string]struct {
		found []v1alpha1.RecordResult
		want  []v1alpha1.RecordResult
	}{
		"none before":     {[]v1alpha1.RecordResult{failed}, []v1alpha1.RecordResult{failed}},
		"three":           {[]v1alpha1.RecordResult{pass, failed, failed, failed, pass}, []v1alpha1.RecordResult{pass, pass, pass, failed, pass}},
		"not in a row":    {[]v1alpha1.RecordResult{pass, failed, failed, pass, failed, failed}, []v1alpha1.RecordResult{pass, pass, pass, pass, pass, pass}},
		"missing is said": {[]v1alpha1.RecordResult{pass, failed, missing, failed}, []v1alpha1.RecordResult{pass, pass, missing, missing}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var m memory
			var records []v1alpha1.DNSRecord
			for i, f := range test.found {
				records = m.settle(records, record(f), start.Add(time.Duration(i)*time.Hour))
				if records[0].Result != test.want[i] {
					t.Errorf("look %d: %s, want %s", i, records[0].Result, test.want[i])
				}
			}
		})
	}
}

func TestLastCheckedChangesWithTheResult(t *testing.T) {
	var m memory
	first := m.settle(nil, record(v1alpha1.ResultPass), start)
	second := m.settle(first, record(v1alpha1.ResultPass), start.Add(time.Hour))
	third := m.settle(second, record(v1alpha1.ResultMissing), start.Add(2*time.Hour))
	if !second[0].LastChecked.Time.Equal(start) || !third[0].LastChecked.Time.Equal(start.Add(2*time.Hour)) {
		t.Errorf("got %v and %v", second[0].LastChecked, third[0].LastChecked)
	}
}

func TestPlan(t *testing.T) {
	var m memory
	wait := func(result v1alpha1.RecordResult, now time.Time) time.Duration {
		m.plan(record(result), time.Hour, now)
		return m.next.Sub(now)
	}
	for _, calm := range []v1alpha1.RecordResult{v1alpha1.ResultPass, v1alpha1.ResultWeak, v1alpha1.ResultNotRequired} {
		if w := wait(calm, start); w > time.Hour || w < 54*time.Minute {
			t.Errorf("%s: looked again after %v", calm, w)
		}
	}
	if w := wait(v1alpha1.ResultMissing, start); w < eager || w > eager+eagerJitter {
		t.Errorf("amiss: looked again after %v", w)
	}
	if w := wait(v1alpha1.ResultMismatch, start.Add(59*time.Minute)); w > eager+eagerJitter {
		t.Errorf("amiss for 59 minutes: looked again after %v", w)
	}
	if w := wait(v1alpha1.ResultMismatch, start.Add(61*time.Minute)); w != patient {
		t.Errorf("amiss for 61 minutes: looked again after %v", w)
	}
	wait(v1alpha1.ResultPass, start.Add(62*time.Minute))
	if w := wait(v1alpha1.ResultMissing, start.Add(63*time.Minute)); w > eager+eagerJitter {
		t.Errorf("amiss again: looked again after %v", w)
	}
	m = memory{failures: map[string]int{"MX example.com": 1}}
	if w := wait(v1alpha1.ResultPass, start); w > eager+eagerJitter {
		t.Errorf("after a failed look-up: looked again after %v", w)
	}
}

func set(name string, algorithms ...v1alpha1.DKIMAlgorithm) dkimkey.Set {
	s := dkimkey.Set{Name: name}
	for _, a := range algorithms {
		k := dkimkey.Key{Selector: name, Algorithm: a}
		if a == v1alpha1.Ed25519 {
			k.Selector += "-ed25519"
		}
		s.Keys = append(s.Keys, k)
	}
	return s
}

func TestChoose(t *testing.T) {
	const rsa, edwards = v1alpha1.RSA2048, v1alpha1.Ed25519
	both := []v1alpha1.DKIMAlgorithm{rsa, edwards}
	older, newer := set("pr20260901-a", rsa), set("pr20260902-a", rsa, edwards)
	tests := map[string]struct {
		sets            []dkimkey.Set
		algorithms      []v1alpha1.DKIMAlgorithm
		active          string
		wantPending     string
		signing, waits  int
		expectedWarning bool
	}{
		"the first set waits":           {[]dkimkey.Set{newer}, both, "", "pr20260902-a", 0, 2, false},
		"the only set is active":        {[]dkimkey.Set{newer}, both, "pr20260902-a", "", 2, 0, false},
		"an algorithm is added":         {[]dkimkey.Set{older, newer}, both, "pr20260901-a", "pr20260902-a", 1, 2, false},
		"an algorithm is taken out":     {[]dkimkey.Set{newer}, both[:1], "pr20260902-a", "", 1, 0, false},
		"only Ed25519":                  {[]dkimkey.Set{newer}, both[1:], "", "pr20260902-a-ed25519", 0, 1, false},
		"only Ed25519, active":          {[]dkimkey.Set{newer}, both[1:], "pr20260902-a-ed25519", "", 1, 0, false},
		"the active set is lost":        {[]dkimkey.Set{newer}, both, "pr20260801-a", "pr20260902-a", 0, 2, true},
		"an older set is never pending": {[]dkimkey.Set{set("pr20260801-a", rsa, edwards), newer}, both, "pr20260902-a", "", 2, 0, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			k := choose(test.sets, test.algorithms, test.active)
			if k.active != test.active || k.pending != test.wantPending || len(k.sign) != test.signing || len(k.wait) != test.waits || (k.warning != "") != test.expectedWarning {
				t.Errorf("got %+v", k)
			}
		})
	}
}

func TestActivate(t *testing.T) {
	published := func(name string, result v1alpha1.RecordResult) v1alpha1.DNSRecord {
		return v1alpha1.DNSRecord{Purpose: v1alpha1.PurposeDKIM, Name: name + "._domainkey.example.com", Result: result}
	}
	both := set("pr20260902-a", v1alpha1.RSA2048, v1alpha1.Ed25519)
	tests := map[string]struct {
		gates   []v1alpha1.DNSGate
		records []v1alpha1.DNSRecord
		active  bool
	}{
		"both are published": {[]v1alpha1.DNSGate{v1alpha1.GateDKIM}, []v1alpha1.DNSRecord{
			published("pr20260902-a", v1alpha1.ResultPass), published("pr20260902-a-ed25519", v1alpha1.ResultWeak),
		}, true},
		"one is published": {[]v1alpha1.DNSGate{v1alpha1.GateDKIM}, []v1alpha1.DNSRecord{
			published("pr20260902-a", v1alpha1.ResultPass), published("pr20260902-a-ed25519", v1alpha1.ResultMissing),
		}, false},
		"no answer":        {[]v1alpha1.DNSGate{v1alpha1.GateDKIM}, nil, false},
		"nothing gates":    {nil, nil, true},
		"another is there": {[]v1alpha1.DNSGate{v1alpha1.GateDKIM}, []v1alpha1.DNSRecord{published("pr20260801-a", v1alpha1.ResultPass)}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := &pass{
				domain: &v1alpha1.SendingDomain{
					ObjectMeta: metav1.ObjectMeta{Name: "example"},
					Spec:       v1alpha1.SendingDomainSpec{Domain: "example.com", DNS: v1alpha1.DomainDNS{Gates: test.gates}},
				},
				records: test.records,
				keys:    choose([]dkimkey.Set{both}, []v1alpha1.DKIMAlgorithm{v1alpha1.RSA2048, v1alpha1.Ed25519}, ""),
			}
			p.activate()
			if (p.keys.active == "pr20260902-a") != test.active || (p.keys.pending == "") != test.active || (len(p.keys.sign) == 2) != test.active {
				t.Errorf("got %+v", p.keys)
			}
		})
	}
}
