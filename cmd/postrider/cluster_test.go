package main

import (
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/manifest"
	"github.com/postrider/postrider/test/kubetest"
)

var server kubetest.Server

func TestMain(m *testing.M) { os.Exit(kubetest.Run(m, &server)) }

// objectsOf are the objects of manifests.
func objectsOf(t *testing.T, files ...string) []client.Object {
	t.Helper()
	kinds, err := manifest.NewKinds()
	if err != nil {
		t.Fatal(err)
	}
	set, err := kinds.Load(manifest.Source{Paths: files})
	if err != nil {
		t.Fatal(err)
	}
	return set.Objects()
}

// apply creates the objects of manifests in the namespace default.
func apply(t *testing.T, files ...string) {
	t.Helper()
	for _, o := range objectsOf(t, files...) {
		if err := server.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// In a cluster the objects come from the API server, and the pods are asked by exec. Here there are no pods, so
// that what is known of them is said to be nothing.
func TestStatusInACluster(t *testing.T) {
	apply(t, "../../config/samples/quickstart.yaml", "../../config/samples/mailrelay.yaml", "../../config/samples/sendingdomain.yaml", "../../config/samples/ratelimitpolicy.yaml")
	kubeconfig := server.KubeConfig(t)
	code, _, complaint := cli(t, "status", "outbound", "-n", "default", "--kubeconfig", kubeconfig)
	if code != 1 || !strings.Contains(complaint, "MailRelay default/outbound has no pods yet") {
		t.Errorf("before the operator has seen it: exit code %d, %s", code, complaint)
	}

	relay := &v1alpha1.MailRelay{}
	if err := server.Client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "outbound"}, relay); err != nil {
		t.Fatal(err)
	}
	relay.Status = v1alpha1.MailRelayStatus{Selector: "app.kubernetes.io/instance=outbound", Replicas: 1}
	if err := server.Client.Status().Update(t.Context(), relay); err != nil {
		t.Fatal(err)
	}
	code, out, complaint := cli(t, "status", "outbound", "-n", "default", "--kubeconfig", kubeconfig)
	if code != 1 || !strings.Contains(complaint, "no pod with app.kubernetes.io/instance=outbound runs in namespace default") {
		t.Errorf("without pods: exit code %d, %s", code, complaint)
	}
	for _, want := range []string{"mailrelay.postrider.dev/outbound", "sendingdomain.postrider.dev/shop", "ratelimitpolicy.postrider.dev/gentle"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is missing:\n%s", want, out)
		}
	}
	for _, foreign := range []string{"mx1", "example-com", "gmail-cap"} {
		if strings.Contains(out, foreign) {
			t.Errorf("%s belongs to another relay:\n%s", foreign, out)
		}
	}
	code, _, complaint = cli(t, "queue", "ls", "absent", "-n", "default", "--kubeconfig", kubeconfig)
	if code != 1 || !strings.Contains(complaint, `"absent" not found`) {
		t.Errorf("a relay that is not there: exit code %d, %s", code, complaint)
	}
}
