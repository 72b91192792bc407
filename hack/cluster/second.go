package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// The second node is joined to the first one's bridge by a pair of interfaces.
const (
	secondLink = "node1"
	secondEth  = "eth0"
)

// node does what is asked with the second node.
func (c *cluster) node(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: cluster node up [FILE...] | cut | off | down")
	}
	if len(c.dead()) > 0 {
		return errors.New("the cluster is not up: cluster up")
	}
	switch args[0] {
	case "up":
		return c.nodeUp(args[1:])
	case "cut":
		return c.nodeCut()
	case "off":
		return killCgroups(second().cgroup)
	case "down":
		return c.nodeDown()
	}
	return fmt.Errorf("a node cannot be told %q", args[0])
}

// nodeUp brings the second node up anew, whatever there is of it.
func (c *cluster) nodeUp(images []string) error {
	n := second()
	if err := c.nodeDown(); err != nil {
		return err
	}
	for _, s := range []struct {
		what string
		do   func() error
	}{
		{"network and mount namespace, cgroups", func() error {
			return errors.Join(c.joinNetwork(n), c.makeMountNamespace(n), makeCgroups(n.cgroup), c.writeNodeConfig(n))
		}},
		{"containerd and images", func() error {
			if err := c.startContainerd(n); err != nil {
				return err
			}
			return c.loadInto(n, images)
		}},
		{"kubelet, kube-proxy", func() error { return c.startKubelet(n) }},
		{"waiting for " + n.name, func() error { return c.awaitNode(n) }},
	} {
		if err := step(s.what, s.do); err != nil {
			return err
		}
	}
	return nil
}

// joinNetwork makes a node's network, and the way between its pods and those of the first.
func (c *cluster) joinNetwork(n node) error {
	other := namespace + n.suffix
	for _, argv := range [][]string{
		{"ip", "netns", "add", other},
		{"ip", "-n", other, "link", "set", "lo", "up"},
		{"ip", "-n", namespace, "link", "add", secondLink, "type", "veth", "peer", "name", secondEth, "netns", other},
		{"ip", "-n", namespace, "link", "set", secondLink, "master", bridge, "up"},
		{"ip", "-n", other, "addr", "add", n.ip + "/24", "dev", secondEth},
		{"ip", "-n", other, "link", "set", secondEth, "up"},
		{"ip", "-n", other, "route", "add", "default", "via", nodeIP},
		{"ip", "-n", namespace, "route", "replace", n.podCIDR, "via", n.ip},
	} {
		if _, err := command(argv...); err != nil {
			return fmt.Errorf("joining the network: %w", err)
		}
	}
	return forwards(n)
}

// nodeCut is a partition: nobody hears of the node any more, and what runs there runs on.
func (c *cluster) nodeCut() error {
	if _, err := command("ip", "-n", namespace, "link", "set", secondLink, "down"); err != nil {
		return err
	}
	return errors.Join(c.kill("kubelet"+second().suffix), c.kill("containerd"+second().suffix))
}

// nodeDown takes the second node away; it need not be there.
func (c *cluster) nodeDown() error {
	n := second()
	if err := killCgroups(n.cgroup); err != nil {
		return err
	}
	if err := errors.Join(c.removeNode(n), removeCgroups(n.cgroup)); err != nil {
		return err
	}
	for _, name := range []string{"containerd", "kubelet", "redirected", "run/containerd", "run/ipam"} {
		if err := os.RemoveAll(c.path(name + n.suffix)); err != nil {
			return err
		}
	}
	_, err := c.kubectl("delete", "node", n.name, "--ignore-not-found")
	return err
}

// daemon stops or starts a part of the control plane, for tests of what goes on without it.
func (c *cluster) daemon(args []string) error {
	if strings.Join(args, " ") == "stop kube-apiserver" {
		return c.kill("kube-apiserver")
	}
	if strings.Join(args, " ") == "start kube-apiserver" {
		if c.alive("kube-apiserver") {
			return nil
		}
		return c.startAPIServer()
	}
	return errors.New("usage: cluster daemon stop|start kube-apiserver")
}

// kill ends a daemon and waits for its end. One that has ended is no error.
func (c *cluster) kill(name string) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		pid, alive := c.process(name)
		if !alive {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not end", name)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("ending %s: %w", name, err)
		}
	}
}
