package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/test/kubetest"
)

var server kubetest.Server

func TestMain(m *testing.M) { os.Exit(kubetest.Run(m, &server)) }

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ask returns the status code of a request, 0 while nobody answers.
func ask(t *testing.T, url string) int {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	response, err := c.Get(url)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !check(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// It comes before a manager has run: klog's logger, which each run sets, is read by what is left of the one before.
func TestFlags(t *testing.T) {
	t.Setenv("RELAY_IMAGE", "")
	c := command()
	c.SetArgs([]string{"--namespace=x"})
	if err := c.Execute(); err == nil || !strings.Contains(err.Error(), "--relay-image") {
		t.Errorf("without an image: %v", err)
	}
	if _, err := ownNamespace(""); err == nil || !strings.Contains(err.Error(), "--namespace") {
		t.Errorf("outside of a cluster: %v", err)
	}
}

func TestManagerLeadsAndIsHealthy(t *testing.T) {
	t.Setenv("KUBECONFIG", server.KubeConfig(t))
	namespace, health, metrics := server.Namespace(t), freeAddress(t), freeAddress(t)
	c := command()
	c.SetArgs([]string{
		"--leader-elect", "--relay-image=postrider:test", "--namespace=" + namespace,
		"--health-probe-bind-address=" + health, "--metrics-bind-address=" + metrics,
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.ExecuteContext(ctx) }()
	eventually(t, "the manager is ready", func() bool { return ask(t, "http://"+health+"/readyz") == http.StatusOK })
	eventually(t, "the metrics ask who is there", func() bool { return ask(t, "https://"+metrics+"/metrics") == http.StatusUnauthorized })
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: leaderLock}}
	eventually(t, "it leads", func() bool {
		err := server.Client.Get(context.Background(), client.ObjectKeyFromObject(lease), lease)
		return err == nil && lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != ""
	})
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}
