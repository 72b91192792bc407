package main

import (
	"os"
	"path/filepath"
)

// Names and addresses. The addresses exist in the cluster's network namespace only, so that they collide with nothing.
const (
	namespace = "postrider"
	bridge    = "node0"
	nodeName  = "node-0"
	nodeIP    = "10.213.0.1"
	nodeCIDR  = nodeIP + "/24"
	// podsCIDR holds the pods of all nodes.
	podsCIDR    = "10.214.0.0/16"
	serviceCIDR = "10.215.0.0/16"
	// serviceIP is the first of serviceCIDR: the API server's Service.
	serviceIP = "10.215.0.1"
	secondIP  = "10.213.0.2"
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

// node is a machine of the cluster: a network namespace, a mount namespace and a cgroup with a kubelet in them.
type node struct {
	name, ip string
	// podCIDR holds its pods.
	podCIDR string
	// suffix is how its files, daemons and namespaces are told from those of the first node, which has none.
	suffix string
	// cgroup is the root of its pods, with a leaf for its daemons.
	cgroup string
}

// first is the node that is always there; the control plane shares its namespaces. second comes and goes.
func first() node {
	return node{name: nodeName, ip: nodeIP, podCIDR: "10.214.0.0/24", cgroup: cgroupName}
}

func second() node {
	return node{name: "node-1", ip: secondIP, podCIDR: "10.214.1.0/24", suffix: "-1", cgroup: cgroupName + "/node-1"}
}

func (n node) netns() string { return "/run/netns/" + namespace + n.suffix }

// mountns is the file that keeps the mount namespace: all that kubelet and containerd mount is in there, so that it
// ends with them.
func (c *cluster) mountns(n node) string { return c.path("run", "mnt"+n.suffix) }

func (c *cluster) socket(n node) string { return c.path("run", "containerd"+n.suffix+".sock") }

func (c *cluster) kubeconfig(user string) string { return c.path("pki", user+".kubeconfig") }
