package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// needed maps what must be on the machine to the Debian package that brings it.
var needed = []struct{ file, pkg string }{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"/usr/lib/cni/bridge", "containernetworking-plugins"},
	{"iptables", "iptables"},
	{"ip", "iproute2"},
	{"conntrack", "conntrack"},
	{"socat", "socat"},
	{"nsenter", "util-linux"},
	{"unshare", "util-linux"},
	{"mount", "mount"},
}

// preflight says in one error all that keeps the cluster from running here.
func (c *cluster) preflight() error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster needs root: it makes namespaces, mounts and cgroups (without root: make try)")
	}
	if err := missingPackages(); err != nil {
		return err
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"} {
		if _, err := os.Stat(filepath.Join(c.bin, name)); err != nil {
			return fmt.Errorf("%w: make kube builds it", err)
		}
	}
	if len(hierarchies()) == 0 {
		return errors.New("no cgroup file system is mounted under /sys/fs/cgroup; a kubelet cannot run without")
	}
	return nil
}

func missingPackages() error {
	var missing []string
	for _, n := range needed {
		if _, err := exec.LookPath(n.file); err != nil && !strings.Contains(strings.Join(missing, " "), n.pkg) {
			missing = append(missing, n.pkg)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("programs are missing; on Debian: apt-get install %s", strings.Join(missing, " "))
	}
	return nil
}
