// Package api_test holds the CustomResourceDefinitions against a real kube-apiserver: what is refused and why,
// what is filled in, what kubectl shows, and that the server takes what a relay consists of.
package api_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/postrider/postrider/api/v1alpha1"
)

// server is the API server that all tests of this package share. Each test uses names of its own.
var server struct {
	*envtest.Environment
	client.Client
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	binaries, err := findBinaries()
	if err != nil {
		return 0, err
	}
	server.Environment = &envtest.Environment{
		BinaryAssetsDirectory: binaries,
		CRDDirectoryPaths:     []string{filepath.Join("..", "..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	config, err := server.Start()
	if err != nil {
		return 0, fmt.Errorf("start kube-apiserver from %s: %w", binaries, err)
	}
	defer stop()
	scheme := clientgoscheme.Scheme
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return 0, err
	}
	if server.Client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

func stop() {
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop kube-apiserver:", err)
	}
}

// findBinaries is the directory of kube-apiserver and etcd.
func findBinaries() (string, error) {
	dir := os.Getenv("KUBEBUILDER_ASSETS")
	if dir == "" {
		dir = filepath.Join("..", "..", "bin", "kube")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, "kube-apiserver")); err != nil {
		return "", fmt.Errorf("no kube-apiserver (%w): run make kube", err)
	}
	return dir, nil
}

func TestServer(t *testing.T) {
	if err := server.List(context.Background(), &v1alpha1.MailRelayList{}); err != nil {
		t.Fatal(err)
	}
}
