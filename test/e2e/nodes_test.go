//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// secondNode is the name of the node that comes and goes.
const secondNode = "node-1"

// clusterTool runs bin/cluster.
func clusterTool(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(root, "bin/cluster"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cluster %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// bringSecondNode brings the second node up, until the end of the scenario.
func bringSecondNode(t *testing.T) {
	t.Helper()
	begin := time.Now()
	if err := clusterTool("node", "up", filepath.Join(root, "bin/image.tar")); err != nil {
		t.Fatal(err)
	}
	t.Logf("the second node is up: after %.1f s", time.Since(begin).Seconds())
	t.Cleanup(func() {
		if err := clusterTool("node", "down"); err != nil {
			t.Error(err)
		}
	})
}

const sharedVolume = `---
apiVersion: v1
kind: PersistentVolume
metadata: {name: %[1]s-%[2]d}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: %[1]s
  local: {path: %[3]s}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%[4]s]}]
`

// volumes makes so many volumes of a class of their own, that any of the nodes can mount: to both they are what a shared
// file system would be. They go at the end of the scenario.
func volumes(t *testing.T, class string, count int, nodes ...string) (dirs []string) {
	t.Helper()
	manifest := fmt.Sprintf("apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: %s}\n"+
		"provisioner: kubernetes.io/no-provisioner\nvolumeBindingMode: WaitForFirstConsumer\n", class)
	for i := range count {
		dir := filepath.Join(world.cluster, "e2e", fmt.Sprintf("%s-%d", class, i))
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o770)); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
		manifest += fmt.Sprintf(sharedVolume, class, i, dir, strings.Join(nodes, ", "))
	}
	must(t)(kubectlIn(manifest, "apply", "-f", "-"))
	t.Cleanup(func() {
		if !t.Failed() {
			must(t)(kubectlIn(manifest, "delete", "--wait=false", "-f", "-"))
		}
	})
	return dirs
}

// podNow is the pod of an ordinal as it is.
func (s setup) podNow(ordinal int) (corev1.Pod, error) {
	return get[corev1.Pod](s.namespace, "pod", s.pod(ordinal))
}

// putOn has a pod that is elsewhere come back on a node.
func (s setup) putOn(t *testing.T, ordinal int, node, not string) {
	t.Helper()
	if pod, err := s.podNow(ordinal); err == nil && pod.Spec.NodeName == node {
		return
	}
	must(t)(kubectl("cordon", not))
	defer func() { must(t)(kubectl("uncordon", not)) }()
	must(t)(kubectl("delete", "pod", "-n", s.namespace, s.pod(ordinal)))
	eventually(t, 120*time.Second, s.pod(ordinal)+" is on "+node, func() error { return s.isOn(ordinal, node) })
}

// isOn checks that a pod is ready on a node.
func (s setup) isOn(ordinal int, node string) error {
	pod, err := s.podNow(ordinal)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName != node || pod.DeletionTimestamp != nil {
		return fmt.Errorf("%s is on %q, deleted %v", pod.Name, pod.Spec.NodeName, pod.DeletionTimestamp)
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("%s is not ready", pod.Name)
}

// evict asks for an eviction, as a drain does.
func (s setup) evict(ordinal int) error {
	request := fmt.Sprintf(`{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": %q, "name": %q}}`, s.namespace, s.pod(ordinal))
	_, err := kubectlIn(request, "create", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/eviction", s.namespace, s.pod(ordinal)), "-f", "-")
	return err
}

// start begins a load that goes on until stop is called, at the latest at the end of the scenario.
func (l *load) start(t *testing.T, connections int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(ctx, connections)
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// grows waits until so many more messages have been accepted.
func (l *load) grows(t *testing.T, by int, within time.Duration) {
	t.Helper()
	before := l.count()
	eventually(t, within, fmt.Sprintf("%d more are accepted", by), func() error {
		if now := l.count(); now < before+by {
			return fmt.Errorf("%d more", now-before)
		}
		return nil
	})
}

// settled checks the books of so many pods: nothing queued, and every recipient that was accepted is delivered.
func (s setup) settled(pods int) error {
	for ordinal := range pods {
		st, err := s.podStatus(ordinal)
		if err != nil {
			return err
		}
		l := st.Ledger
		if !l.Balanced() || l.Queued != 0 || l.Accepted+l.HandedIn != l.Delivered+l.HandedOut {
			return fmt.Errorf("the books of %s: %+v", s.pod(ordinal), l)
		}
	}
	return nil
}

// account ends the scenario's books: all that was answered 250 has arrived. It returns how much arrived twice.
func (l *load) account(t *testing.T, pods int) (duplicates int) {
	t.Helper()
	eventually(t, 3*time.Minute, "the books are settled", func() error { return l.settled(pods) })
	duplicates = l.lossless(t, time.Minute)
	t.Logf("accepted %d, lost 0, duplicates %d, %d sessions broken", l.count(), duplicates, len(l.errors))
	return duplicates
}

// trusting are the clients and pods of the cluster, on either node.
func trusting() []string { return []string{"10.213.0.0/24", "10.214.0.0/16"} }
