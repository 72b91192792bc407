package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// daemons are all of them, in the order in which they start.
var daemons = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "containerd", "kubelet", "kube-proxy", "forward"}

// up brings the cluster up. One that is whole is left alone; the remains of one that is not are removed first.
func (c *cluster) up() error {
	if err := c.preflight(); err != nil {
		return err
	}
	if len(c.dead()) == 0 {
		fmt.Println("the cluster is up")
		return c.volumes()
	}
	if err := c.remove(); err != nil {
		return err
	}
	begin := time.Now()
	if err := c.bringUp(); err != nil {
		return fmt.Errorf("%w\n(logs are in %s; cluster down removes what was started)", err, c.path("log"))
	}
	fmt.Printf("the cluster is up after %.1f s; to use it:\n  export KUBECONFIG=%s PATH=%s:$PATH\n",
		time.Since(begin).Seconds(), c.kubeconfig("admin-outside"), c.bin)
	return nil
}

func (c *cluster) bringUp() error {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer listener.Close()
	for _, s := range []struct {
		what string
		do   func() error
	}{
		{"directories, certificates, configuration", func() error { return c.prepare(listener.Addr().String()) }},
		{"network and mount namespace, cgroups", func() error { return errors.Join(c.makeNamespaces(), makeCgroups(cgroupName)) }},
		{"etcd", c.startEtcd},
		{"containerd and the pause image", func() error { return c.startContainerd(first()) }},
		{"kube-apiserver", c.startAPIServer},
		{"kube-controller-manager, kube-scheduler", c.startControllers},
		{"kubelet, kube-proxy", func() error { return c.startKubelet(first()) }},
		{"address outside: " + listener.Addr().String(), func() error { return c.startForward(listener) }},
		{fmt.Sprintf("%d volumes of 10 GiB", volumeCount), c.volumes},
		{"waiting for the node", func() error { return c.awaitNode(first()) }},
	} {
		if err := step(s.what, s.do); err != nil {
			return err
		}
	}
	return nil
}

// step shows what is being done and how long it took.
func step(what string, do func() error) error {
	fmt.Printf("%-46s", what)
	begin := time.Now()
	if err := do(); err != nil {
		fmt.Println("failed")
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Printf("%6.1f s\n", time.Since(begin).Seconds())
	return nil
}

// prepare writes all files. outside is the API server's address for clients outside the namespace.
func (c *cluster) prepare(outside string) error {
	for _, dir := range []string{"run", "log/pods", "pki", "config", "volumes"} {
		if err := os.MkdirAll(c.path(dir), 0o711); err != nil {
			return err
		}
	}
	return errors.Join(c.makePKI(outside), c.writeConfig())
}

// dead lists the daemons that do not run.
func (c *cluster) dead() []string {
	var names []string
	for _, name := range daemons {
		if !c.alive(name) {
			names = append(names, name)
		}
	}
	return names
}

// status prints what runs; it is an error when that is not everything.
func (c *cluster) status() error {
	dead := c.dead()
	if len(dead) > 0 {
		return fmt.Errorf("not running: %s", strings.Join(dead, ", "))
	}
	out, err := c.kubectl("get", "nodes,pods", "--all-namespaces", "-o", "wide")
	fmt.Print(out)
	return err
}
