package api_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/postrider/postrider/api/v1alpha1"
)

// TestGitOpsSeesNoDifference: what was applied from a repository is what is there, whichever way it was applied, and goes on to
// be when the operator has done its part. Nothing that the server fills in or changes looks like drift.
func TestGitOpsSeesNoDifference(t *testing.T) {
	for how, flags := range map[string][]string{
		"by the client, as Argo CD does":        nil,
		"by the server, as Flux and Argo CD do": {"--server-side", "--field-manager=gitops"},
	} {
		t.Run(how, func(t *testing.T) {
			k := newKubectl(t)
			samples := []string{"-k", filepath.Join("..", "..", "config", "samples")}
			k.must(append(append([]string{"apply"}, flags...), samples...)...)
			k.operate()
			if flags == nil {
				// The three-way merge of what was applied, what is to be and what is there: Argo CD computes the same.
				for line := range strings.Lines(k.must(append([]string{"apply"}, samples...)...)) {
					if strings.Contains(line, "postrider.dev/") && !strings.HasSuffix(line, " unchanged\n") {
						t.Error(strings.TrimSpace(line))
					}
				}
			}
			if out, err := k.run(append(append([]string{"diff"}, flags...), samples...)...); err != nil {
				t.Errorf("%v:\n%s", err, out)
			}
			if out, err := k.run(append(append([]string{"diff"}, flags...), "-f", k.changed())...); err == nil {
				t.Errorf("a difference that there is, is not seen:\n%s", out)
			}
		})
	}
}

// kubectl is the real one, in a namespace of its own.
type kubectl struct {
	t         *testing.T
	config    string
	namespace string
}

func newKubectl(t *testing.T) *kubectl {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "gitops-"}}
	if err := server.Create(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	k := &kubectl{t: t, config: filepath.Join(t.TempDir(), "kubeconfig"), namespace: n.Name}
	if err := os.WriteFile(k.config, server.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *kubectl) run(args ...string) (string, error) {
	binaries, err := findBinaries()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(k.t.Context(), filepath.Join(binaries, "kubectl"), append([]string{"--kubeconfig=" + k.config, "-n", k.namespace}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

func (k *kubectl) must(args ...string) string {
	k.t.Helper()
	out, err := k.run(args...)
	if err != nil {
		k.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// operate does to the relays what the operator does to the objects that users write: a finalizer, and a status.
func (k *kubectl) operate() {
	k.t.Helper()
	ctx := context.Background()
	var relays v1alpha1.MailRelayList
	if err := server.List(ctx, &relays, client.InNamespace(k.namespace)); err != nil || len(relays.Items) < 4 {
		k.t.Fatalf("%d relays, %v", len(relays.Items), err)
	}
	for i := range relays.Items {
		relay := &relays.Items[i]
		before := relay.DeepCopy()
		controllerutil.AddFinalizer(relay, "postrider.dev/mailrelay")
		if err := server.Patch(ctx, relay, client.MergeFrom(before), client.FieldOwner("postrider")); err != nil {
			k.t.Fatal(err)
		}
		before = relay.DeepCopy()
		relay.Status.ObservedGeneration = relay.Generation
		if err := server.Status().Patch(ctx, relay, client.MergeFrom(before), client.FieldOwner("postrider")); err != nil {
			k.t.Fatal(err)
		}
	}
}

// changed is a sample with another number of replicas.
func (k *kubectl) changed() string {
	k.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "samples", "mailrelay.yaml"))
	if err != nil {
		k.t.Fatal(err)
	}
	file := filepath.Join(k.t.TempDir(), "changed.yaml")
	if err := os.WriteFile(file, bytes.Replace(text, []byte("replicas: 2"), []byte("replicas: 3"), 1), 0o600); err != nil {
		k.t.Fatal(err)
	}
	return file
}
