package manifest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/test/kubetest"
)

var server kubetest.Server

func TestMain(m *testing.M) { os.Exit(kubetest.Run(m, &server)) }

// TestTheServerSaysTheSame puts every manifest of this package's tests to a real API server, and holds what it
// says against what Load says.
func TestTheServerSaysTheSame(t *testing.T) {
	k := kinds(t)
	for _, file := range append(invalidFiles(t), "testdata/valid.yaml", "testdata/inbound.yaml") {
		documents, _ := readFile(file, nil)
		for _, d := range documents {
			if d.object.GroupVersionKind().GroupVersion() != v1alpha1.GroupVersion {
				continue
			}
			t.Run(filepath.Base(file), func(t *testing.T) {
				compareCreate(t, k, server.Client, d.object)
			})
		}
	}
	t.Run("table", func(t *testing.T) { compareTable(t, k, server.Client) })
}

// compareCreate creates u as kubectl does, strictly and then leniently, so that the server shows what lies behind
// unknown fields too.
func compareCreate(t *testing.T, k *Kinds, c client.Client, u *unstructured.Unstructured) {
	u.SetNamespace(metav1.NamespaceDefault)
	ours := Source{}.local(k, u)
	create := func(validation string) error {
		return c.Create(context.Background(), u.DeepCopy(), client.FieldValidation(validation), client.DryRunAll)
	}
	strict, lenient := create(metav1.FieldValidationStrict), create(metav1.FieldValidationIgnore)
	var unknown, rest []string
	for _, p := range ours {
		if p.Message == "unknown field" {
			unknown = append(unknown, `unknown field "`+p.Field+`"`)
		} else {
			rest = append(rest, p.Field+": "+p.Message)
		}
	}
	if diff := cmp.Diff(unknownFields(strict), unknown); diff != "" {
		t.Errorf("unknown fields (-server +local):\n%s", diff)
	}
	switch server, faults := causes(lenient); {
	case faults:
		if diff := cmp.Diff(server, sorted(rest)); diff != "" {
			t.Errorf("problems (-server +local):\n%s", diff)
		}
	case lenient != nil && len(rest) == 0:
		t.Errorf("the server refuses what we take: %v", lenient)
	case lenient == nil && len(rest) > 0:
		t.Errorf("the server takes what we refuse: %v", rest)
	}
}

// local is what Load says about one object.
func (s Source) local(k *Kinds, u *unstructured.Unstructured) []Problem {
	b := builder{kinds: k, source: s, set: &Set{}, seen: map[string]document{}}
	b.add(document{object: u.DeepCopy()})
	return b.problems
}

var unknownField = regexp.MustCompile(`unknown field "[^"]*"`)

func unknownFields(err error) []string {
	if err == nil {
		return nil
	}
	return unknownField.FindAllString(err.Error(), -1)
}

// causes are the fields that the server finds fault with; false if its answer is of another kind.
func causes(err error) ([]string, bool) {
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Details == nil || len(status.ErrStatus.Details.Causes) == 0 {
		return nil, false
	}
	var found []string
	for _, c := range status.ErrStatus.Details.Causes {
		if strings.HasPrefix(c.Field, ".") { // the scale subresource's path, of which the schema has spoken already
			continue
		}
		found = append(found, strings.TrimPrefix(c.Field, wholeObject)+": "+c.Message)
	}
	return sorted(found), true
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}

// compareTable stores objects with their status, and holds what kubectl prints of them against what Print does.
func compareTable(t *testing.T, k *Kinds, c client.Client) {
	kubeconfig := server.KubeConfig(t)
	binaries, err := kubetest.Binaries("../..")
	if err != nil {
		t.Fatal(err)
	}
	var stored []runtime.Object
	for _, o := range table(time.Now().Truncate(time.Second)) {
		stored = append(stored, store(t, c, o))
	}
	for _, wide := range []bool{false, true} {
		args := []string{"--kubeconfig", kubeconfig, "--cache-dir", t.TempDir(), "get", "mr,sd,rlp"}
		if wide {
			args = append(args, "-o", "wide")
		}
		kubectl := exec.Command(filepath.Join(binaries, "kubectl"), args...)
		want, err := kubectl.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", kubectl, err, want)
		}
		var got bytes.Buffer
		if err := k.Print(&got, stored, wide); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ageless(string(want)), ageless(got.String())); diff != "" {
			t.Errorf("wide %t (-kubectl +Print):\n%s", wide, diff)
		}
	}
}

// store creates an object with a spec that the server takes, then its status, and reads it back.
func store(t *testing.T, c client.Client, o runtime.Object) runtime.Object {
	t.Helper()
	ctx := context.Background()
	full := o.(client.Object)
	if r, ok := full.(*v1alpha1.MailRelay); ok {
		set, err := kinds(t).Load(Source{Paths: []string{"testdata/valid.yaml"}})
		if err != nil {
			t.Fatal(err)
		}
		r.Spec = set.Relays[0].Spec
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(full)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: fields}
	status := u.Object["status"]
	u.SetCreationTimestamp(metav1.Time{})
	if err := c.Create(ctx, u); err != nil {
		t.Fatal(err)
	}
	u.Object["status"] = status
	if err := c.Status().Update(ctx, u); err != nil {
		t.Fatal(err)
	}
	return u
}

var age = regexp.MustCompile(`\b\d+(m\d+s|[smhd])\b +|\b\d+s$`)

// ageless takes out ages, which go on while the test runs.
func ageless(table string) string { return age.ReplaceAllString(table, "AGE ") }
