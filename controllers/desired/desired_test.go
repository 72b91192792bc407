package desired

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/render"
)

var update = flag.Bool("update", false, "write the golden files anew")

const smallRelay = `
metadata: {name: outbound, namespace: mail, uid: 00000000-0000-0000-0000-000000000001}
spec:
  replicas: 1
  hostname: mx1.example.com
  postmaster: ops@example.com
  listeners: [{name: smtp, port: 25, mode: Relay}]
  service: {type: ClusterIP}
  queue: {storage: {size: 1Gi, reclaim: WhenDrained}}
`

const fullRelay = `
metadata: {name: outbound, namespace: mail, uid: 00000000-0000-0000-0000-000000000001}
spec:
  replicas: 3
  hostname: mx1.example.com
  postmaster: ops@example.com
  listeners:
  - {name: smtp, port: 25, mode: Relay}
  - {name: submission, port: 587, mode: Submission, tls: {mode: Required, secretRef: {name: mx1}}, auth: {users: {secretRef: {name: people}}}}
  - {name: submissions, port: 465, mode: Submission, tls: {mode: Implicit, secretRef: {name: mx1}}, auth: {users: {secretRef: {name: people}}}}
  service:
    type: LoadBalancer
    annotations: {example.com/pool: mail}
    loadBalancerClass: example.com/metal
    sourceRanges: [192.0.2.0/24]
    ipFamilyPolicy: PreferDualStack
  queue: {storage: {size: 20Gi, storageClassName: fast, reclaim: Retain}}
  networkPolicy: Managed
  pod:
    labels: {team: mail, postrider.dev/relay: mine}
    annotations: {example.com/scrape: "yes"}
    resources: {requests: {cpu: "1"}, limits: {memory: 1Gi}}
    nodeSelector: {disk: ssd}
    affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [n1]}]}]}}}
    tolerations: [{key: mail, operator: Exists}]
    topologySpreadConstraints: [{maxSkew: 1, topologyKey: rack, whenUnsatisfiable: DoNotSchedule}]
    priorityClassName: mail
    imagePullSecrets: [{name: registry}]
`

func inputOf(t *testing.T, text string) Input {
	t.Helper()
	relay := &v1alpha1.MailRelay{}
	if err := yaml.UnmarshalStrict([]byte(text), relay); err != nil {
		t.Fatal(err)
	}
	files := &render.Files{
		Relay:    map[string][]byte{"relay.json": []byte("{}\n")},
		Material: map[string][]byte{"tls-mx1.crt": []byte("certificate")},
	}
	files.Domains[3] = map[string][]byte{"domains-03.json": []byte("[]\n")}
	files.Keys[51] = map[string][]byte{"dkim-a.pem": []byte("key")}
	return Input{
		Relay:             relay,
		Files:             files,
		Index:             []byte("{\"generation\": 7}\n"),
		Replicas:          relay.Spec.Replicas,
		Image:             "example.com/postrider:v1",
		Version:           "v1",
		OperatorNamespace: "postrider-system",
	}
}

func TestGolden(t *testing.T) {
	for name, in := range map[string]Input{
		"small": inputOf(t, smallRelay),
		"full":  inputOf(t, fullRelay),
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			for _, object := range Objects(in) {
				data, err := yaml.Marshal(applied(t, object))
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&out, "---\n%s", data)
			}
			compare(t, filepath.Join("testdata", name+".golden.yaml"), out.Bytes())
		})
	}
}

// applied is an object as it is applied: without status.
func applied(t *testing.T, object client.Object) map[string]any {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	delete(content, "status")
	return content
}

func compare(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (go test -update writes it anew): -want +got\n%s", file, diff)
	}
}

// Every object says what it is, belongs to the relay and is found by its label.
func TestMeta(t *testing.T) {
	for _, object := range Objects(inputOf(t, fullRelay)) {
		gvk, err := apiutil.GVKForObject(object, clientgoscheme.Scheme)
		if err != nil {
			t.Fatal(err)
		}
		if got := object.GetObjectKind().GroupVersionKind(); got != gvk {
			t.Errorf("%s says it is a %v; it is a %v", object.GetName(), got, gvk)
		}
		owners := object.GetOwnerReferences()
		if len(owners) != 1 || owners[0].Kind != "MailRelay" || owners[0].UID == "" || !*owners[0].Controller {
			t.Errorf("%s %s is owned by %v", gvk.Kind, object.GetName(), owners)
		}
		if object.GetLabels()[RelayLabel] != "outbound" || object.GetNamespace() != "mail" {
			t.Errorf("%s %s: labels %v in %q", gvk.Kind, object.GetName(), object.GetLabels(), object.GetNamespace())
		}
	}
}

// What reaches running pods by itself must not change the template, since that restarts them.
func TestTemplateStays(t *testing.T) {
	before := templateOf(t, inputOf(t, fullRelay))
	for name, change := range map[string]func(in *Input){
		"a domain":   func(in *Input) { in.Files.Domains[4] = map[string][]byte{"domains-04.json": []byte("[]")} },
		"a key":      func(in *Input) { in.Files.Keys[9] = map[string][]byte{"dkim-b.pem": []byte("key")} },
		"generation": func(in *Input) { in.Index = []byte(`{"generation": 8}`) },
		"a listener": func(in *Input) { in.Relay.Spec.Listeners = in.Relay.Spec.Listeners[:1] },
		"replicas":   func(in *Input) { in.Replicas = 9 },
		"a user":     func(in *Input) { in.Files.Material["users-people.htpasswd"] = []byte("anna:$2y$") },
	} {
		t.Run(name, func(t *testing.T) {
			in := inputOf(t, fullRelay)
			change(&in)
			if diff := cmp.Diff(before, templateOf(t, in)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func templateOf(t *testing.T, in Input) corev1.PodTemplateSpec {
	t.Helper()
	objects := Objects(in)
	set, ok := objects[len(objects)-1].(*appsv1.StatefulSet)
	if !ok {
		t.Fatalf("the last object is a %T; pods come after what they need", objects[len(objects)-1])
	}
	return set.Spec.Template
}

// Every file of the configuration is in an object that is mounted.
func TestEverythingIsMounted(t *testing.T) {
	in := inputOf(t, fullRelay)
	for i := range in.Files.Domains {
		in.Files.Domains[i] = map[string][]byte{fmt.Sprintf("domains-%02d.json", i): nil}
	}
	for i := range in.Files.Keys {
		in.Files.Keys[i] = map[string][]byte{fmt.Sprintf("dkim-%d.pem", i): nil}
	}
	mounted := map[string]bool{}
	for _, source := range templateOf(t, in).Spec.Volumes[0].Projected.Sources {
		switch {
		case source.ConfigMap != nil && *source.ConfigMap.Optional:
			mounted["ConfigMap "+source.ConfigMap.Name] = true
		case source.Secret != nil && *source.Secret.Optional:
			mounted["Secret "+source.Secret.Name] = true
		}
	}
	files := map[string]bool{"index.json": true}
	for name := range in.Files.All() {
		files[name] = true
	}
	for _, object := range Objects(in) {
		names := contents(object)
		if len(names) > 0 && !mounted[object.GetObjectKind().GroupVersionKind().Kind+" "+object.GetName()] {
			t.Errorf("%s is not mounted", object.GetName())
		}
		for _, name := range names {
			delete(files, name)
		}
	}
	if len(files) > 0 {
		t.Errorf("in no object: %v", slices.Sorted(maps.Keys(files)))
	}
}

func contents(object client.Object) []string {
	switch o := object.(type) {
	case *corev1.ConfigMap:
		return slices.Collect(maps.Keys(o.Data))
	case *corev1.Secret:
		return slices.Collect(maps.Keys(o.Data))
	default:
		return nil
	}
}

func TestKinds(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(in *Input)
		kind   string
		want   bool
	}{
		{"several pods have a budget", func(in *Input) { in.Replicas = 2 }, "PodDisruptionBudget", true},
		{"one pod has none", func(in *Input) { in.Replicas = 1 }, "PodDisruptionBudget", false},
		{"a managed network policy", func(*Input) {}, "NetworkPolicy", true},
		{"an unmanaged one", func(in *Input) { in.Relay.Spec.NetworkPolicy = v1alpha1.NetworkPolicyUnmanaged }, "NetworkPolicy", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := inputOf(t, smallRelay)
			c.change(&in)
			got := slices.ContainsFunc(Objects(in), func(o client.Object) bool {
				return o.GetObjectKind().GroupVersionKind().Kind == c.kind
			})
			if got != c.want {
				t.Errorf("%s: %v", c.kind, got)
			}
		})
	}
}

func TestClaimTemplateNeverChanges(t *testing.T) {
	in := inputOf(t, smallRelay)
	size := resource.MustParse("512Mi")
	in.ClaimSize = &size
	got := claimTemplate(in).Spec.Resources.Requests[corev1.ResourceStorage]
	if got.Cmp(size) != 0 {
		t.Errorf("the template asks for %s; the one that exists for %s", got.String(), size.String())
	}
}
