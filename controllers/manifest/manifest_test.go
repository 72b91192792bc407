package manifest

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/postrider/postrider/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files")

func kinds(t *testing.T) *Kinds {
	t.Helper()
	k, err := NewKinds()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestLoad(t *testing.T) {
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	set, err := kinds(t).Load(Source{Paths: []string{"testdata/valid.yaml"}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Relays) != 1 || len(set.Domains) != 1 || len(set.Policies) != 1 || len(set.Secrets) != 1 || len(set.ConfigMaps) != 1 {
		t.Fatalf("%d relays, %d domains, %d policies, %d Secrets, %d ConfigMaps; want one of each", len(set.Relays), len(set.Domains), len(set.Policies), len(set.Secrets), len(set.ConfigMaps))
	}
	relay := set.Relays[0]
	if relay.Namespace != "default" || relay.Generation != 1 || !relay.CreationTimestamp.Time.Equal(now) {
		t.Errorf("metadata is %+v", relay.ObjectMeta)
	}
	if relay.Spec.Replicas != 1 || relay.Spec.Queue.Retry.InitialSeconds != 300 || relay.Spec.Access.UndeclaredSenders != v1alpha1.UndeclaredReject {
		t.Errorf("the defaults of the definition are not set: %+v", relay.Spec)
	}
	if relay.Status.ObservedGeneration != -1 {
		t.Errorf("status.observedGeneration is %d; the status of a manifest does not count", relay.Status.ObservedGeneration)
	}
	if got := set.Domains[0]; got.Namespace != "mail" || len(got.Spec.DNS.Gates) != 1 {
		t.Errorf("the domain is %+v", got)
	}
	if got := string(set.Secrets[0].Data["users"]); got != "newsletter:hash" {
		t.Errorf("stringData came out as %q", got)
	}
	want := []string{"testdata/valid.yaml, document 5: Deployment default/shop is passed over: only mail resources, Secrets and ConfigMaps are read"}
	if diff := cmp.Diff(want, set.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// Each sample is one that a user can start from.
func TestSamples(t *testing.T) {
	k := kinds(t)
	files, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("found %d samples: %v", len(files), err)
	}
	for _, file := range files {
		set, err := k.Load(Source{Paths: []string{file}})
		if err != nil {
			t.Errorf("%s: %v", file, err)
		} else if len(set.Relays)+len(set.Domains)+len(set.Policies) == 0 && filepath.Base(file) != "kustomization.yaml" {
			t.Errorf("%s declares nothing of ours", file)
		}
	}
}

// TestInvalid holds what is said about each wrong manifest against a golden file, whole.
func TestInvalid(t *testing.T) {
	k := kinds(t)
	files := invalidFiles(t)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			set, err := k.Load(Source{Paths: []string{file}})
			var invalid *Invalid
			if !errors.As(err, &invalid) || set != nil {
				t.Fatalf("set %v, error %v; want no set and what is wrong", set, err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

func invalidFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/invalid/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d invalid manifests: %v", len(files), err)
	}
	return files
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestSourcesAreReadInOrder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	domain := func(name string) string {
		return `{"apiVersion": "postrider.dev/v1alpha1", "kind": "SendingDomain", "metadata": {"name": "` + name + `"}, "spec": {"domain": "` + name + `.example", "relayRef": {"name": "r"}}}`
	}
	second, first := write("b.json", domain("two")+"\n"+domain("three")), write("a.yml", domain("one"))
	write("c.txt", "not a manifest")
	set, err := kinds(t).Load(Source{Paths: []string{dir, "-"}, Stdin: strings.NewReader(domain("four")), Namespace: "mail"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range set.Domains {
		names = append(names, d.Namespace+"/"+d.Name)
	}
	if diff := cmp.Diff([]string{"mail/one", "mail/two", "mail/three", "mail/four"}, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{first, second}, set.Files); diff != "" {
		t.Error(diff)
	}
}

func TestUnreadableSources(t *testing.T) {
	empty := t.TempDir()
	_, err := kinds(t).Load(Source{Paths: []string{"testdata/absent.yaml", empty, "-"}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"absent.yaml: open", empty + ": there is no .yaml", "-: there is no standard input"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not contain %q", err, want)
		}
	}
}

// table is three objects with a status, as `kubectl get` would find them.
func table(now time.Time) []runtime.Object {
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: "default", CreationTimestamp: metav1.NewTime(now.Add(-41 * 24 * time.Hour))}
	}
	kind := func(kind string) metav1.TypeMeta {
		return metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind}
	}
	condition := func(kind, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: "all is well", LastTransitionTime: metav1.NewTime(now)}
	}
	oldest := metav1.NewTime(now.Add(-(6*time.Minute + 12*time.Second)))
	return []runtime.Object{
		&v1alpha1.MailRelay{
			TypeMeta: kind("MailRelay"), ObjectMeta: meta("outbound"),
			Status: v1alpha1.MailRelayStatus{
				Replicas: 3, ReadyReplicas: 3, Conditions: []metav1.Condition{condition("Ready", "Serving")},
				Queue: &v1alpha1.QueueStatus{Queued: 1204, OldestMessageTime: &oldest},
			},
		},
		&v1alpha1.SendingDomain{
			TypeMeta: kind("SendingDomain"), ObjectMeta: meta("acme"),
			Spec: v1alpha1.SendingDomainSpec{Domain: "acme.io", RelayRef: v1alpha1.RelayReference{Name: "outbound"}},
			Status: v1alpha1.SendingDomainStatus{
				Conditions: []metav1.Condition{condition("Ready", "Verified"), condition("SPFVerified", "Pass"), condition("DKIMVerified", "Missing")},
				DKIM:       v1alpha1.DKIMStatus{ActiveSelector: "pr20260901-a"},
			},
		},
		&v1alpha1.RateLimitPolicy{
			TypeMeta: kind("RateLimitPolicy"), ObjectMeta: meta("gmail-cap"),
			Spec: v1alpha1.RateLimitPolicySpec{
				TargetRefs: []v1alpha1.TargetReference{{Kind: "MailRelay", Name: "outbound"}},
				Stage:      "Delivery", Key: "Site", Limits: v1alpha1.Limits{Messages: 600, PerSeconds: 60, MaxConnections: 20},
			},
		},
	}
}

func TestPrint(t *testing.T) {
	k, objects := kinds(t), table(time.Now())
	for _, c := range []struct {
		name string
		wide bool
		from []runtime.Object
	}{
		{"table", false, objects},
		{"table-wide", true, objects},
		{"table-one", false, objects[:1]},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := k.Print(&out, c.from, c.wide); err != nil {
				t.Fatal(err)
			}
			golden(t, "testdata/"+c.name+".txt", out.String())
		})
	}
	if err := k.Print(&bytes.Buffer{}, []runtime.Object{&metav1.Status{}}, false); err == nil {
		t.Error("an object of another kind is printed")
	}
}
