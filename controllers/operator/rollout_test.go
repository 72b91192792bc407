package operator_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/config"
)

// spell is what conditions said for a while.
type spell struct{ ready, reconciling string }

// spells follows a relay's status until it rests after stop was called, and returns what it said, in order, from the first on that
// is of a newer generation.
func (f *fixture) spells(relay *v1alpha1.MailRelay) (stop func() []spell) {
	f.t.Helper()
	watcher, err := client.NewWithWatch(server.Config, client.Options{Scheme: server.Scheme})
	if err != nil {
		f.t.Fatal(err)
	}
	events, err := watcher.Watch(context.Background(), &v1alpha1.MailRelayList{}, client.InNamespace(f.namespace))
	if err != nil {
		f.t.Fatal(err)
	}
	var mu sync.Mutex
	before, seen := relay.Generation, []spell(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range events.ResultChan() {
			r, is := e.Object.(*v1alpha1.MailRelay)
			if !is || r.Name != relay.Name || r.Status.ObservedGeneration <= before {
				continue
			}
			s := spell{ready: said(r, "Ready"), reconciling: said(r, "Reconciling")}
			mu.Lock()
			if len(seen) == 0 || seen[len(seen)-1] != s {
				seen = append(seen, s)
			}
			mu.Unlock()
		}
	}()
	return func() []spell {
		f.t.Helper()
		f.eventually("the last status is seen", func() error {
			mu.Lock()
			defer mu.Unlock()
			if len(seen) == 0 || seen[len(seen)-1].reconciling != "" {
				return fmt.Errorf("%v so far", seen)
			}
			return nil
		})
		events.Stop()
		<-done
		return seen
	}
}

// said is "Status/Reason" of a condition; empty when it is absent.
func said(r *v1alpha1.MailRelay, kind string) string {
	c := meta.FindStatusCondition(r.Status.Conditions, kind)
	if c == nil {
		return ""
	}
	return string(c.Status) + "/" + c.Reason
}

// A rollout in which all goes well is one during which the relay is ready, from the first status on that knows of it.
func TestRelayIsReadyThroughARollout(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 3)
	before := f.podUIDs()
	stop := f.spells(relay)
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Pod.Annotations = map[string]string{"shape": "new"} })
	fewest := 3
	f.eventually("all pods are replaced", func() error {
		now := f.podUIDs()
		fewest = min(fewest, len(now))
		for name, uid := range before {
			if now[name] == uid || now[name] == "" {
				return fmt.Errorf("%s is %q", name, now[name])
			}
		}
		return nil
	})
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "Reconciling": ""})
	if want, got := []spell{{"True/Serving", "True/RollingOut"}, {"True/Serving", ""}}, stop(); !slices.Equal(got, want) {
		t.Errorf("the status said %v, want %v", got, want)
	}
	if fewest < 2 || relay.Status.UpdatedReplicas != 3 {
		t.Errorf("%d pods were left at a time, %d are new", fewest, relay.Status.UpdatedReplicas)
	}
}

// A pod that is ready but does not answer may be busy with its spool: the next one waits for it.
func TestRolloutWaitsForTheSpool(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 2)
	before := f.podUIDs()
	f.node.set(func(n *node) { n.silent["outbound-1"] = true })
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Pod.Annotations = map[string]string{"shape": "new"} })
	f.eventually("the pod that does not answer is replaced first", func() error {
		if now := f.podUIDs(); now["outbound-1"] == before["outbound-1"] || now["outbound-1"] == "" {
			return fmt.Errorf("the pods are %v", now)
		}
		return nil
	})
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "Reconciling": "True/RollingOut"})
	time.Sleep(2 * time.Second)
	if now := f.podUIDs(); now["outbound-0"] != before["outbound-0"] {
		t.Fatal("a pod was replaced while the other did not answer")
	}
	f.get(relay)
	if c := meta.FindStatusCondition(relay.Status.Conditions, "Reconciling"); c == nil || !strings.Contains(c.Message, "outbound-1") {
		t.Errorf("what it waits for is not said: %+v", c)
	}
	f.node.set(func(n *node) { delete(n.silent, "outbound-1") })
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "Reconciling": ""})
	if now := f.podUIDs(); now["outbound-0"] == before["outbound-0"] {
		t.Error("the other pod was not replaced")
	}
}

// A version that cannot be had costs one pod, which is said; it recovers when the spec is corrected.
func TestStuckRolloutRecovers(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 3)
	before := f.podUIDs()
	f.node.set(func(n *node) { n.missing["v404"] = true })
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Upgrade, r.Spec.Version = v1alpha1.UpgradeManual, "v404" })
	f.expectRelay(relay, map[string]string{"Reconciling": "True/RollingOut", "Ready": "True/Serving"})
	f.eventually("a pod is replaced", func() error {
		if maps.Equal(f.podUIDs(), before) {
			return fmt.Errorf("all are there")
		}
		return nil
	})
	f.ahead.Store(int64(3 * time.Minute))
	f.expectRelay(relay, map[string]string{"Stalled": "True/RolloutStuck", "Ready": "False/RolloutStuck", "Reconciling": "", "Available": "True/MinimumReplicasAvailable"})
	if c := meta.FindStatusCondition(relay.Status.Conditions, "Stalled"); !strings.Contains(c.Message, "postrider:v404") || !strings.Contains(c.Message, "spec.version") {
		t.Errorf("the message does not help: %s", c.Message)
	}
	kept := 0
	for name, uid := range f.podUIDs() {
		if uid == before[name] {
			kept++
		}
	}
	if kept != 2 {
		t.Errorf("%d pods were kept", kept)
	}
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Version = "test" })
	f.expectRelay(relay, map[string]string{"Stalled": "", "Ready": "True/Serving", "Reconciling": ""})
	if relay.Status.ReadyReplicas != 3 {
		t.Errorf("%d pods serve", relay.Status.ReadyReplicas)
	}
}

// upgrade runs an operator that brings another image in place of the one there is.
func (f *fixture) upgrade(image string) {
	f.t.Helper()
	f.image = image
	f.restart()
}

// An operator that brings another version touches nothing where upgrades are made by hand, and says what waits.
func TestUpgradeByHand(t *testing.T) {
	f := setUp(t)
	relay := f.relay("outbound", 2)
	relay.Spec.Upgrade = v1alpha1.UpgradeManual
	f.create(relay)
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "Reconciling": "", "UpgradePending": ""})
	set := &appsv1.StatefulSet{ObjectMeta: f.meta("outbound")}
	f.get(set)
	before, shape := f.podUIDs(), set.Generation

	f.upgrade("postrider:v2")
	f.expectRelay(relay, map[string]string{"UpgradePending": "True/ManualUpgrade", "Ready": "True/Serving", "Reconciling": "", "ConfigCurrent": "True/InForce"})
	time.Sleep(2 * time.Second)
	if f.get(set); set.Generation != shape || !maps.Equal(f.podUIDs(), before) {
		t.Errorf("something was changed: %v, %v; %d, %d", before, f.podUIDs(), shape, set.Generation)
	}

	f.delete(&corev1.Pod{ObjectMeta: f.meta("outbound-1")})
	f.eventually("a pod that is lost comes back as it was", func() error {
		if image := f.images()["outbound-1"]; image != "postrider:test" || f.podUIDs()["outbound-1"] == before["outbound-1"] {
			return fmt.Errorf("its image is %q", image)
		}
		return nil
	})
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Pod.Annotations = map[string]string{"shape": "new"} })
	f.expectRelay(relay, map[string]string{"UpgradePending": "True/ManualUpgrade", "Ready": "True/Serving", "Reconciling": ""})
	var pod corev1.Pod
	pod.ObjectMeta = f.meta("outbound-0")
	if f.get(&pod); pod.Annotations["shape"] != "new" || pod.Spec.Containers[0].Image != "postrider:test" {
		t.Errorf("what spec.pod asks for is not there, or more than that: %v, %s", pod.Annotations, pod.Spec.Containers[0].Image)
	}

	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Version = "v2" })
	f.expectRelay(relay, map[string]string{"UpgradePending": "", "Ready": "True/Serving", "Reconciling": ""})
	if relay.Status.Version != "v2" || relay.Status.Pods[1].Version != "v2" {
		t.Errorf("the status says %s and %+v", relay.Status.Version, relay.Status.Pods)
	}
	for name, image := range f.images() {
		if image != "postrider:v2" {
			t.Errorf("%s is made of %s", name, image)
		}
	}
}

// Images that are named by their digest alone: the operator's own version is the one it brings, a relay that was told to run a
// version stays as it is when the next operator comes, and only another version is looked for by its tag.
func TestUpgradeByHandByDigest(t *testing.T) {
	f := setUp(t)
	const first, second = "postrider@sha256:1111", "postrider@sha256:2222"
	f.version = "v1"
	f.upgrade(first)
	relay := f.relay("outbound", 1)
	relay.Spec.Upgrade, relay.Spec.Version = v1alpha1.UpgradeManual, "v1"
	f.create(relay)
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "Reconciling": "", "UpgradePending": ""})
	before := f.podUIDs()

	f.version = "v2"
	f.upgrade(second)
	f.expectRelay(relay, map[string]string{"UpgradePending": "True/ManualUpgrade", "Ready": "True/Serving", "Reconciling": ""})
	c := meta.FindStatusCondition(relay.Status.Conditions, v1alpha1.ConditionUpgradePending)
	if !strings.HasPrefix(c.Message, "The pods run v1, the operator brings v2.") || !maps.Equal(f.podUIDs(), before) {
		t.Errorf("%q, and the pods are %v, were %v", c.Message, f.podUIDs(), before)
	}
	for _, step := range []struct{ version, image, pending string }{{"v2", second, ""}, {"v1", "postrider:v1", "True/ManualUpgrade"}} {
		change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Version = v1alpha1.Version(step.version) })
		f.eventually("the pods run "+step.version, func() error {
			if image := f.images()["outbound-0"]; image != step.image {
				return fmt.Errorf("they are made of %q, not %s", image, step.image)
			}
			return nil
		})
		f.expectRelay(relay, map[string]string{"UpgradePending": step.pending, "Ready": "True/Serving", "Reconciling": ""})
	}
}

// images are those of the pods.
func (f *fixture) images() map[string]string {
	f.t.Helper()
	var pods corev1.PodList
	if err := server.Client.List(context.Background(), &pods, client.InNamespace(f.namespace)); err != nil {
		f.t.Fatal(err)
	}
	images := map[string]string{}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil {
			images[p.Name] = p.Spec.Containers[0].Image
		}
	}
	return images
}

// alone lets the relays of other tests go.
func (f *fixture) alone() {
	f.t.Helper()
	var list v1alpha1.MailRelayList
	if err := server.Client.List(context.Background(), &list); err != nil {
		f.t.Fatal(err)
	}
	for i := range list.Items {
		r := &list.Items[i]
		if r.Namespace == f.namespace {
			continue
		}
		f.eventually("a relay of another test goes", func() error {
			if !f.get(r) {
				return nil
			}
			if r.DeletionTimestamp == nil {
				f.delete(r)
			}
			r.Finalizers = nil
			return cmp.Or(client.IgnoreNotFound(server.Client.Update(context.Background(), r)), errors.New("it is there"))
		})
	}
}

// Relays are upgraded a few at a time, and a version that does not run stops with them.
func TestUpgradeTakesTurns(t *testing.T) {
	f := setUp(t)
	f.alone()
	f.upgrades = 1
	a, b := f.serving("a", 1), f.serving("b", 1)
	f.node.set(func(n *node) { n.missing["v2"] = true })
	f.upgrade("postrider:v2")
	relays := map[string]*v1alpha1.MailRelay{"a": a, "b": b}
	first, second := "", ""
	f.eventually("one waits for its turn", func() error {
		for name, other := range map[string]string{"a": "b", "b": "a"} {
			f.get(relays[name])
			if said(relays[name], "UpgradePending") == "True/WaitingForTurn" && f.images()[other+"-0"] == "postrider:v2" {
				first, second = other, name
				return nil
			}
		}
		return fmt.Errorf("none does")
	})
	f.restart() // another operator lets nobody begin before those that have begun are done
	time.Sleep(2 * time.Second)
	if image := f.images()[second+"-0"]; image != "postrider:test" {
		t.Fatalf("another relay begins after a restart: %s", image)
	}
	f.ahead.Store(int64(3 * time.Minute))
	f.expectRelay(relays[first], map[string]string{"Stalled": "True/RolloutStuck"})
	time.Sleep(2 * time.Second)
	if image := f.images()[second+"-0"]; image != "postrider:test" {
		t.Fatalf("another relay takes up a version that does not run: %s", image)
	}
	f.expectRelay(relays[second], map[string]string{"UpgradePending": "True/WaitingForTurn", "Ready": "True/Serving", "Reconciling": ""})

	f.node.set(func(n *node) { delete(n.missing, "v2") })
	for _, r := range relays {
		f.expectRelay(r, map[string]string{"UpgradePending": "", "Ready": "True/Serving", "Reconciling": "", "Stalled": ""})
		if r.Status.Version != "v2" {
			t.Errorf("%s runs %s", r.Name, r.Status.Version)
		}
	}
}

// The configuration is in a format that the oldest of the pods reads.
func TestFormatIsThatOfTheOldestPod(t *testing.T) {
	f := setUp(t)
	relay := f.relay("outbound", 1)
	relay.Spec.Upgrade, relay.Spec.Version = v1alpha1.UpgradeManual, "v0"
	f.node.set(func(n *node) { n.formats["v0"] = config.Oldest })
	f.create(relay)
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "UpgradePending": "True/ManualUpgrade", "ConfigCurrent": "True/InForce"})
	if got := f.format(); got != config.Oldest {
		t.Errorf("format %d for a pod that reads %d", got, config.Oldest)
	}
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Version = "test" })
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "UpgradePending": "", "Reconciling": ""})
	f.eventually("the newest format", func() error {
		if got := f.format(); got != config.Format {
			return fmt.Errorf("it is %d", got)
		}
		return nil
	})
}

// format is that of the configuration.
func (f *fixture) format() int {
	f.t.Helper()
	s := &corev1.Secret{ObjectMeta: f.meta("outbound-material")}
	f.get(s)
	var index config.Index
	if err := json.Unmarshal(s.Data[config.IndexFile], &index); err != nil {
		f.t.Fatal(err)
	}
	return index.Format
}
