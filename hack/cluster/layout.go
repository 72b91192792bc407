package main

import (
	"os"
	"path/filepath"
)

// Names and addresses. The addresses exist in the cluster's network namespace only, so that they collide with nothing.
const (
	namespace   = "postrider"
	bridge      = "node0"
	nodeName    = "node-0"
	nodeIP      = "10.213.0.1"
	nodeCIDR    = nodeIP + "/24"
	podCIDR     = "10.214.0.0/24"
	serviceCIDR = "10.215.0.0/16"
	// serviceIP is the first of serviceCIDR: the API server's Service.
	serviceIP = "10.215.0.1"
	apiPort   = "6443"

	cgroupName = "postrider-cluster"
	pauseImage = "postrider.local/pause:1"
)

// cluster is the one cluster of this machine.
type cluster struct {
	// dir is all its state.
	dir string
	// bin holds the Kubernetes programs; self is this program.
	bin, self string
}

func here() (*cluster, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return &cluster{dir: "/var/lib/postrider-cluster", bin: filepath.Join(filepath.Dir(self), "kube"), self: self}, nil
}

func (c *cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.dir}, parts...)...)
}

func (c *cluster) netns() string { return "/run/netns/" + namespace }

// mountns is the file that keeps the mount namespace: all that kubelet and containerd mount is in there, so that it
// ends with them.
func (c *cluster) mountns() string { return c.path("run", "mnt") }

func (c *cluster) socket() string { return c.path("run", "containerd.sock") }

func (c *cluster) kubeconfig(user string) string { return c.path("pki", user+".kubeconfig") }
