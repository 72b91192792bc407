package docs

import (
	"errors"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/manifest"
)

// TestEveryManifestIsValid holds the YAML of all pages against the definitions: whole objects as the API server would,
// and parts of them by the names of their fields.
func TestEveryManifestIsValid(t *testing.T) {
	kinds, err := manifest.NewKinds()
	if err != nil {
		t.Fatal(err)
	}
	whole, parts := 0, 0
	for name, text := range pages(t) {
		for _, block := range found("(?ms)^```yaml\n(.*?)^```$", text) {
			for _, document := range documents(t, name, block) {
				if strings.Contains(document, "apiVersion: postrider.dev/") {
					whole++
					if _, err := kinds.Load(manifest.Source{Paths: []string{"-"}, Stdin: strings.NewReader(document)}); err != nil {
						t.Errorf("%s: %v\n%s", name, err, document)
					}
					continue
				}
				parts++
				if err := known(document); err != nil {
					t.Errorf("%s: %v\n%s", name, err, document)
				}
			}
		}
	}
	if whole < 12 || parts < 15 {
		t.Errorf("only %d objects and %d parts found: the test would prove nothing", whole, parts)
	}
}

// documents splits a block.
func documents(t *testing.T, name, block string) []string {
	t.Helper()
	var all []string
	for reader := kyaml.NewDocumentDecoder(io.NopCloser(strings.NewReader(block))); ; {
		buffer := make([]byte, len(block)+1)
		n, err := reader.Read(buffer)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, string(buffer[:n]))
	}
}

// known says whether a part of a manifest has fields of one of our kinds, or of a pod. What belongs to other programs
// says so: it has their apiVersion, or names its file in the first line.
func known(document string) error {
	if strings.Contains(document, "apiVersion: ") || strings.HasPrefix(document, "# values.yaml") {
		return yaml.Unmarshal([]byte(document), &map[string]any{})
	}
	var failed []error
	for _, into := range []any{
		&v1alpha1.MailRelaySpec{}, &v1alpha1.SendingDomainSpec{}, &v1alpha1.RateLimitPolicySpec{},
		&struct{ Spec v1alpha1.MailRelaySpec }{}, &struct{ Spec v1alpha1.SendingDomainSpec }{}, &struct{ Spec v1alpha1.RateLimitPolicySpec }{},
		&struct{ Spec corev1.PodSpec }{},
	} {
		err := yaml.UnmarshalStrict([]byte(document), into)
		if err == nil {
			return nil
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func TestMistakesInPartsAreFound(t *testing.T) {
	for _, document := range []string{"listenres: []", "spec: {drain: {onScaleDown: Handoff, timeout: 3}}", "match: {mxSuffixes: [a.example]}\nmatch: {}\n"} {
		if known(document) == nil {
			t.Errorf("nothing is found in %q", document)
		}
	}
	if err := known("spec: {replicas: 3}"); err != nil {
		t.Error(err)
	}
}
