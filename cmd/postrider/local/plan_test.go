package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/manifest"
	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/smtptest"
)

func mailRelay(namespace, name string, listeners ...v1alpha1.Listener) v1alpha1.MailRelay {
	return v1alpha1.MailRelay{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.MailRelaySpec{Replicas: 3, Hostname: "mx.example.com", Listeners: listeners},
	}
}

func nothing(string, string) ([]byte, bool) { return nil, false }

func TestRelaysThatCannotRunSideBySide(t *testing.T) {
	smtp := v1alpha1.Listener{Name: "smtp", Port: 25}
	set := &manifest.Set{Relays: []v1alpha1.MailRelay{
		mailRelay("a", "one", smtp), mailRelay("a", "two", smtp), mailRelay("b", "one", v1alpha1.Listener{Name: "smtp", Port: 26}),
	}}
	_, err := Plans(set, "127.0.0.1", "", nothing)
	for _, want := range []string{
		"a/two: listener smtp would listen on 127.0.0.1:2525, which listener smtp of one has",
		"b/one: there is one of that name in namespace a",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %q", err, want)
		}
	}
}

func TestSecretsBecomeMaterial(t *testing.T) {
	cert, private := smtptest.NewCA().PairPEM("mx.example.com")
	secret := func(namespace, name string, data map[string][]byte) corev1.Secret {
		return corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data}
	}
	ref := func(name string) *v1alpha1.SecretReference {
		return &v1alpha1.SecretReference{Name: v1alpha1.SecretName(name)}
	}
	relay := mailRelay("mail", "one",
		v1alpha1.Listener{Name: "a", Port: 25, TLS: &v1alpha1.ListenerTLS{Mode: "Opportunistic", SecretRef: ref("good")}},
		v1alpha1.Listener{Name: "b", Port: 465, TLS: &v1alpha1.ListenerTLS{Mode: "Implicit", SecretRef: ref("bad")}},
		v1alpha1.Listener{Name: "c", Port: 587, Auth: &v1alpha1.ListenerAuth{Users: &v1alpha1.Users{SecretRef: *ref("elsewhere")}}},
	)
	set := &manifest.Set{Relays: []v1alpha1.MailRelay{relay}, Secrets: []corev1.Secret{
		secret("mail", "good", map[string][]byte{"tls.crt": cert, "tls.key": private}),
		secret("mail", "bad", map[string][]byte{"tls.crt": cert}),
		secret("other", "elsewhere", map[string][]byte{"users": []byte("u:$2y$10$x")}),
	}}
	plans, err := Plans(set, "127.0.0.1", "192.0.2.53:53", nothing)
	if err != nil {
		t.Fatal(err)
	}
	p := plans[0]
	if len(p.Material) != 2 || len(p.Certificates) != 1 || p.Certificates[0].Secret != "good" {
		t.Errorf("material %d files, certificates %+v", len(p.Material), p.Certificates)
	}
	if len(p.Secrets) != 2 || p.Secrets[0].Missing || !strings.Contains(p.Secrets[0].Problem, `no key "tls.key"`) ||
		!p.Secrets[1].Missing || !strings.Contains(p.Secrets[1].Problem, "there is no Secret elsewhere in the manifests") {
		t.Errorf("secrets %+v", p.Secrets)
	}
	again, err := Plans(&manifest.Set{Relays: set.Relays}, "127.0.0.1", "", func(_, file string) ([]byte, bool) {
		data, ok := p.Material[file]
		return data, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	if kept := again[0]; len(kept.Material) != 2 || len(kept.Certificates) != 1 || len(kept.Secrets) != 3 {
		t.Errorf("without the Secrets %d files, %d certificates and problems %+v", len(kept.Material), len(kept.Certificates), kept.Secrets)
	}
	if p.Relay.Spec.Replicas != 1 || p.Relay.Spec.DNS.Resolvers[0] != "192.0.2.53:53" || set.Relays[0].Spec.Replicas != 3 {
		t.Errorf("the relay that runs: %+v", p.Relay.Spec)
	}
}

func TestConfigurationIsReplacedAsAWhole(t *testing.T) {
	dir := t.TempDir()
	write := func(hostname string) int64 {
		t.Helper()
		relay := mailRelay("mail", "one", v1alpha1.Listener{Name: "smtp", Port: 25})
		relay.Spec.Hostname = v1alpha1.DomainName(hostname)
		files, err := render.Render(render.Input{Relay: &relay})
		if err != nil {
			t.Fatal(err)
		}
		generation, err := writeConfig(dir, files)
		if err != nil {
			t.Fatal(err)
		}
		return generation
	}
	if err := os.WriteFile(filepath.Join(dir, "dkim-old.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if a, b, c := write("a.example"), write("a.example"), write("b.example"); a != 1 || b != 1 || c != 2 {
		t.Errorf("generations %d, %d, %d; want 1, 1, 2", a, b, c)
	}
	got, err := config.Load(dir)
	if err != nil || got.Relay.Hostname != "b.example" {
		t.Errorf("the relay would read %+v, error %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "dkim-old.pem")); !os.IsNotExist(err) {
		t.Errorf("a file that no longer belongs to it: %v", err)
	}
}
