// Command cluster brings up a real one-node Kubernetes cluster on this machine and takes it down again: etcd, the
// control plane, containerd, kubelet and kube-proxy, all in one network and one mount namespace of their own. A second
// node, in namespaces of its own, comes and goes on demand.
//
//	cluster up            bring it up; does nothing when it is up
//	cluster down          take it down; leaves nothing behind
//	cluster status        say what runs
//	cluster kubeconfig    print the path of an administrator's kubeconfig that works outside the namespace
//	cluster load FILE...  load images from docker-archive files
//	cluster volumes       make the volumes that nobody claims any more available again
//	cluster node up [FILE...]  bring up the second node, with images from docker-archive files
//	cluster node cut      cut it off: no network, no kubelet; what runs there runs on unseen
//	cluster node off      end all that runs there, at once
//	cluster node down     take it away
//	cluster daemon stop|start kube-apiserver  as it says: SIGKILL, and up again
//	cluster exec CMD...   run a command inside the network, with kubectl in PATH, KUBECONFIG and POSTRIDER_CLUSTER set
//
// It owns /var/lib/postrider-cluster, the network namespace "postrider" and the cgroup "postrider-cluster", and touches
// nothing else. It is for demonstrations and tests: etcd does not sync, and a reboot ends it.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: cluster up | down | status | kubeconfig | load FILE... | volumes | node up|cut|off|down | daemon stop|start NAME | exec CMD...")
	}
	if args[0] == "pause" {
		return pause()
	}
	c, err := here()
	if err != nil {
		return err
	}
	switch args[0] {
	case "up":
		return c.up()
	case "down":
		return c.down()
	case "status":
		return c.status()
	case "kubeconfig":
		fmt.Println(c.kubeconfig("admin-outside"))
		return nil
	case "load":
		return c.load(args[1:])
	case "volumes":
		return c.volumes()
	case "node":
		return c.node(args[1:])
	case "daemon":
		return c.daemon(args[1:])
	case "exec":
		return c.exec(args[1:])
	case "forward":
		return c.forward()
	}
	return fmt.Errorf("there is no command %q; see the comment in hack/cluster/main.go", strings.Join(args, " "))
}
