package apply_test

import (
	"context"
	"os"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/test/kubetest"
)

var server kubetest.Server

func TestMain(m *testing.M) { os.Exit(kubetest.Run(m, &server)) }

type fixture struct {
	*apply.Applier
	t         *testing.T
	namespace string
	requests  kubetest.Requests
	now       time.Time
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, namespace: server.Namespace(t), now: time.Now()}
	f.restart()
	return f
}

// restart forgets what the applier remembers.
func (f *fixture) restart() {
	f.t.Helper()
	c, err := client.New(f.requests.Count(server.Config), client.Options{Scheme: server.Scheme})
	if err != nil {
		f.t.Fatal(err)
	}
	f.Applier = apply.New(apply.Options{
		Client:  c,
		Live:    func(o client.Object) bool { _, secret := o.(*corev1.Secret); return secret },
		Recheck: time.Minute,
		Now:     func() time.Time { return f.now },
	})
}

// expect applies and compares whether that wrote, by what the applier says and by the requests made.
func (f *fixture) expect(object client.Object, want bool) {
	f.t.Helper()
	f.requests.Writes()
	changed, err := f.Apply(context.Background(), object)
	if err != nil {
		f.t.Fatal(err)
	}
	if writes := f.requests.Writes(); changed != want || (len(writes) > 0) != want {
		f.t.Errorf("changed %v, requests %v; want %v", changed, writes, want)
	}
}

func (f *fixture) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: f.namespace, Labels: map[string]string{"app.kubernetes.io/instance": "outbound"}}
}

func (f *fixture) configMap(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: f.meta("outbound-config"), Data: data}
}

func (f *fixture) secret(password string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: f.meta("outbound-keys-00"), Data: map[string][]byte{"password": []byte(password)}}
}

func (f *fixture) statefulSet(replicas int32) *appsv1.StatefulSet {
	labels := map[string]string{"app": "relay"}
	return &appsv1.StatefulSet{
		ObjectMeta: f.meta("outbound"),
		Spec: appsv1.StatefulSetSpec{
			Replicas:       ptr.To(replicas),
			ServiceName:    "outbound-pods",
			Selector:       &metav1.LabelSelector{MatchLabels: labels},
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{
						Name: "relay", Image: "relay:1",
						Ports:     []corev1.ContainerPort{{Name: "smtp", ContainerPort: 2525}},
						Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("0.1")}},
						LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
							HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8081)},
						}},
					}},
					Volumes: []corev1.Volume{{Name: "run", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
				},
			},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "spool"},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1024Mi")}},
				},
			}},
		},
	}
}

func (f *fixture) get(object client.Object) {
	f.t.Helper()
	if err := server.Client.Get(context.Background(), client.ObjectKeyFromObject(object), object); err != nil {
		f.t.Fatal(err)
	}
}

// Each kind that the operator applies is written once, also when the operator starts anew.
func TestSecondApplyMakesNoRequest(t *testing.T) {
	f := setUp(t)
	one := intstr.FromInt32(1)
	objects := map[string]func() client.Object{
		"ConfigMap":   func() client.Object { return f.configMap(map[string]string{"index.json": "{}"}) },
		"Secret":      func() client.Object { return f.secret("hunter2") },
		"StatefulSet": func() client.Object { return f.statefulSet(2) },
		"Service": func() client.Object {
			return &corev1.Service{ObjectMeta: f.meta("outbound"), Spec: corev1.ServiceSpec{
				Type:                  corev1.ServiceTypeLoadBalancer,
				ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
				Selector:              map[string]string{"postrider.dev/serving": "true"},
				Ports:                 []corev1.ServicePort{{Name: "smtp", Port: 25, TargetPort: intstr.FromInt32(2525)}},
			}}
		},
		"PodDisruptionBudget": func() client.Object {
			return &policyv1.PodDisruptionBudget{ObjectMeta: f.meta("outbound"), Spec: policyv1.PodDisruptionBudgetSpec{
				MaxUnavailable: &one, Selector: &metav1.LabelSelector{}, UnhealthyPodEvictionPolicy: ptr.To(policyv1.AlwaysAllow),
			}}
		},
	}
	for name, object := range objects {
		t.Run(name, func(t *testing.T) {
			f.t = t
			f.restart()
			f.expect(object(), true)
			f.expect(object(), false)
			f.now = f.now.Add(time.Hour)
			f.expect(object(), false)
			f.restart()
			f.expect(object(), false)
		})
	}
}

func TestChangesAreApplied(t *testing.T) {
	f := setUp(t)
	f.expect(f.configMap(map[string]string{"a": "1", "b": "2"}), true)
	f.expect(f.configMap(map[string]string{"a": "1", "b": "3"}), true)

	f.restart()
	f.expect(f.configMap(map[string]string{"a": "1"}), true)
	live := f.configMap(nil)
	f.get(live)
	if _, stale := live.Data["b"]; stale {
		t.Error("a key that is desired no longer is still there")
	}

	f.expect(f.secret("one"), true)
	f.expect(f.secret("two"), true)
	kept := f.secret("")
	f.get(kept)
	if string(kept.Data["password"]) != "two" {
		t.Errorf("the Secret holds %q", kept.Data["password"])
	}
}

func TestForeignChanges(t *testing.T) {
	f := setUp(t)
	f.expect(f.statefulSet(3), true)

	scaled := f.statefulSet(0)
	f.get(scaled)
	scaled.Spec.Replicas = ptr.To(int32(1))
	if err := server.Client.Update(t.Context(), scaled); err != nil {
		t.Fatal(err)
	}
	f.expect(f.statefulSet(3), true)
	f.get(scaled)
	if *scaled.Spec.Replicas != 3 {
		t.Errorf("a direct scale was not reverted: %d replicas", *scaled.Spec.Replicas)
	}

	scaled.Labels["team"] = "mail"
	scaled.OwnerReferences = append(scaled.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "u"})
	if err := server.Client.Update(t.Context(), scaled); err != nil {
		t.Fatal(err)
	}
	f.expect(f.statefulSet(3), false)
}

func TestDeletedObjectsComeBack(t *testing.T) {
	f := setUp(t)
	f.expect(f.configMap(nil), true)
	if err := f.Delete(t.Context(), f.configMap(nil)); err != nil {
		t.Fatal(err)
	}
	f.now = f.now.Add(time.Minute)
	f.expect(f.configMap(nil), true)
	if err := f.Delete(t.Context(), f.secret("never made")); err != nil {
		t.Errorf("deleting what is not there: %v", err)
	}
}

// A Secret that is pruned and wanted again within the time in which ours are not read is made again: without it, no
// configuration that names it is ever complete.
func TestPrunedSecretComesBackAtOnce(t *testing.T) {
	f := setUp(t)
	f.expect(f.secret("ours"), true)
	if err := f.Prune(t.Context(), []client.Object{f.secret("")}, nil); err != nil {
		t.Fatal(err)
	}
	f.expect(f.secret("ours"), true)
	f.get(f.secret(""))
}

func TestSecretIsReadAgainAfterAWhile(t *testing.T) {
	f := setUp(t)
	f.expect(f.secret("ours"), true)
	if err := server.Client.Update(t.Context(), f.secret("theirs")); err != nil {
		t.Fatal(err)
	}
	f.expect(f.secret("ours"), false)
	f.now = f.now.Add(2 * time.Minute)
	f.expect(f.secret("ours"), true)
}

// The annotation of a Secret tells nothing about its values.
func TestSecretAnnotationHoldsNoDigestOfTheValues(t *testing.T) {
	f := setUp(t)
	digests := map[string]bool{}
	for _, password := range []string{"one", "two"} {
		f.expect(f.secret(password), true)
		live := f.secret("")
		f.get(live)
		digests[live.Annotations[apply.DigestAnnotation]] = true
	}
	if len(digests) != 1 {
		t.Error("the annotation differs with the password")
	}
}

func TestPrune(t *testing.T) {
	f := setUp(t)
	keep, drop := f.configMap(nil), f.configMap(nil)
	drop.Name = "outbound-domains-00"
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: f.meta("spool-outbound-0"), Spec: f.statefulSet(1).Spec.VolumeClaimTemplates[0].Spec}
	for _, object := range []client.Object{keep, drop, claim} {
		f.expect(object.DeepCopyObject().(client.Object), true)
	}
	if err := f.Prune(t.Context(), []client.Object{keep, drop, claim}, []client.Object{keep}); err != nil {
		t.Fatal(err)
	}
	f.get(keep)
	f.get(claim)
	if err := server.Client.Get(t.Context(), client.ObjectKeyFromObject(drop), drop); !apierrors.IsNotFound(err) {
		t.Errorf("what is desired no longer: %v", err)
	}
}

func TestErrorsNameTheObject(t *testing.T) {
	f := setUp(t)
	bad := f.configMap(nil)
	bad.Name = "Not A Name"
	if _, err := f.Apply(t.Context(), bad); err == nil || !apierrors.IsInvalid(err) {
		t.Errorf("got %v", err)
	}
}
