// Package kubetest runs a real kube-apiserver with its etcd, and our definitions in it, for the tests of one
// package. Everything else of a cluster is missing, but for what a test starts itself.
package kubetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/postrider/postrider/api/v1alpha1"
)

// Server is a running API server.
type Server struct {
	// Config is an administrator's.
	Config *rest.Config
	// Client reads and writes without a cache, as an administrator.
	Client client.Client
	Scheme *runtime.Scheme
	env    *envtest.Environment
}

// Run starts a server, puts it in server, runs the tests and stops it. It returns the exit code for TestMain.
func Run(m *testing.M, server *Server) int {
	if err := server.start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := server.env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the API server:", err)
	}
	return code
}

func (s *Server) start() error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	binaries, err := Binaries(root)
	if err != nil {
		return err
	}
	s.Scheme = runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(s.Scheme), v1alpha1.AddToScheme(s.Scheme)); err != nil {
		return err
	}
	s.env = &envtest.Environment{
		BinaryAssetsDirectory: binaries,
		CRDDirectoryPaths:     []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	if s.Config, err = s.env.Start(); err != nil {
		return fmt.Errorf("starting kube-apiserver from %s: %w", binaries, err)
	}
	s.Client, err = client.New(s.Config, client.Options{Scheme: s.Scheme})
	return err
}

// Binaries is the directory of kube-apiserver and etcd: KUBEBUILDER_ASSETS, or where make kube builds them.
func Binaries(root string) (string, error) {
	dir := os.Getenv("KUBEBUILDER_ASSETS")
	if dir == "" {
		dir = filepath.Join(root, "bin", "kube")
	}
	if _, err := os.Stat(filepath.Join(dir, "kube-apiserver")); err != nil {
		return "", fmt.Errorf("no kube-apiserver (%w): run make kube", err)
	}
	return dir, nil
}

// find is a program, and the root of the module.
func find(t *testing.T, program string) (path, root string) {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	binaries, err := Binaries(root)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(binaries, program), root
}

// moduleRoot is the directory above the test's own that holds go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the test's directory")
		}
	}
}

// KubeConfig writes an administrator's kubeconfig and returns its path.
func (s *Server) KubeConfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, s.env.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// SigningKey is the file with the private key, in PEM, that the server signs tokens of ServiceAccounts with: for a
// test that needs one which no server would make.
func (s *Server) SigningKey() string {
	return filepath.Join(s.env.ControlPlane.APIServer.CertDir, "sa-signer.key")
}

// Controllers runs controllers of a real kube-controller-manager until the test ends.
func (s *Server) Controllers(t *testing.T, names ...string) {
	t.Helper()
	program, _ := find(t, "kube-controller-manager")
	cmd := exec.Command(program, "--kubeconfig="+s.KubeConfig(t), "--leader-elect=false",
		"--secure-port=0", "--controllers="+strings.Join(names, ","))
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting kube-controller-manager: %v; run make kube", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// Apply applies the objects in files of YAML documents, named from the root of the module.
func (s *Server) Apply(t *testing.T, files ...string) {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		s.ApplyObjects(t, parse(t, data)...)
	}
}

// ApplyObjects applies objects.
func (s *Server) ApplyObjects(t *testing.T, objects ...*unstructured.Unstructured) {
	t.Helper()
	for _, u := range objects {
		err := s.Client.Apply(context.Background(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("test"), client.ForceOwnership)
		if err != nil {
			t.Fatalf("%s %s: %v", u.GetKind(), u.GetName(), err)
		}
	}
}

// Kustomize returns what kubectl makes of a directory with a kustomization, named from the root of the module, with
// strings replaced, old and new by turns.
func Kustomize(t *testing.T, dir string, replace ...string) []*unstructured.Unstructured {
	t.Helper()
	kubectl, root := find(t, "kubectl")
	out, err := exec.Command(kubectl, "kustomize", filepath.Join(root, dir)).Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		t.Fatalf("kubectl kustomize %s: %v", dir, err)
	}
	return parse(t, []byte(strings.NewReplacer(replace...).Replace(string(out))))
}

// parse reads YAML documents.
func parse(t *testing.T, data []byte) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		u := &unstructured.Unstructured{}
		if err := d.Decode(&u.Object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, u)
	}
}

// Namespace makes a namespace for one test. It is not deleted: nothing in a bare API server would empty it.
func (s *Server) Namespace(t *testing.T) string {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := s.Client.Create(context.Background(), n); err != nil {
		t.Fatal(err)
	}
	return n.Name
}

// Requests records requests, as the API server receives them.
type Requests struct {
	mu     sync.Mutex
	writes []string
	reads  map[string]int
}

// Count returns a configuration whose requests r records.
func (r *Requests) Count(config *rest.Config) *rest.Config {
	counted := rest.CopyConfig(config)
	counted.Wrap(func(next http.RoundTripper) http.RoundTripper { return recorder{requests: r, next: next} })
	return counted
}

// Writes returns the requests that write, "METHOD path", since the last call, but for Leases.
func (r *Requests) Writes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	writes := r.writes
	r.writes = nil
	return writes
}

// MetadataOnly follows the path of a read that asked for nothing but the metadata of objects.
const MetadataOnly = " (metadata)"

// Reads returns how often a path was read; a watch counts once.
func (r *Requests) Reads(path string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads[path]
}

type recorder struct {
	requests *Requests
	next     http.RoundTripper
}

func (r recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	path := request.URL.Path
	if strings.Contains(request.Header.Get("Accept"), "as=PartialObjectMetadata") {
		path += MetadataOnly
	}
	r.requests.note(request.Method, path)
	return r.next.RoundTrip(request)
}

func (r *Requests) note(method, path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case method == http.MethodGet && r.reads == nil:
		r.reads = map[string]int{path: 1}
	case method == http.MethodGet:
		r.reads[path]++
	case !strings.Contains(path, "/leases"):
		r.writes = append(r.writes, method+" "+path)
	}
}
