//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// sigkill ends the relay process in a pod with SIGKILL, from the node, as the kernel would when memory is short.
func (s setup) sigkill(t *testing.T, ordinal int) {
	t.Helper()
	pid, err := s.process(ordinal)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// process finds the relay process of a pod: it is in the pod's cgroup.
func (s setup) process(ordinal int) (int, error) {
	pod, err := get[corev1.Pod](s.namespace, "pod", s.pod(ordinal))
	if err != nil {
		return 0, err
	}
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		groups, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(groups), string(pod.UID)) {
			continue // it has ended meanwhile, or is none of the pod's
		}
		command, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if err == nil && strings.HasPrefix(string(command), "/relay\x00serve") {
			return strconv.Atoi(filepath.Base(filepath.Dir(file)))
		}
	}
	return 0, fmt.Errorf("no relay process in pod %s", pod.Name)
}

// serving checks that the relay of a pod runs, is ready and has restarted so often.
func (s setup) serving(ordinal int, restarts int32) error {
	pod, err := get[corev1.Pod](s.namespace, "pod", s.pod(ordinal))
	if err != nil {
		return err
	}
	if len(pod.Status.ContainerStatuses) == 0 {
		return errors.New("the pod has no container yet")
	}
	container := pod.Status.ContainerStatuses[0]
	if !container.Ready || container.RestartCount != restarts {
		return fmt.Errorf("ready %v, %d restarts, not %d", container.Ready, container.RestartCount, restarts)
	}
	return nil
}
