package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// makeNamespaces makes the network, with the node's address on a bridge of its own, and the mount namespace.
func (c *cluster) makeNamespaces() error {
	if err := c.mountPoint(filepath.Dir(first().netns())); err != nil {
		return err
	}
	for _, argv := range [][]string{
		{"ip", "netns", "add", namespace},
		{"ip", "-n", namespace, "link", "set", "lo", "up"},
		{"ip", "-n", namespace, "link", "add", bridge, "type", "bridge"},
		{"ip", "-n", namespace, "addr", "add", nodeCIDR, "dev", bridge},
		{"ip", "-n", namespace, "link", "set", bridge, "up"},
		// Nothing lies beyond, but the API server and the kubelet look for a default route to find their address.
		{"ip", "-n", namespace, "route", "add", "default", "dev", bridge},
	} {
		if _, err := command(argv...); err != nil {
			return fmt.Errorf("making the network: %w", err)
		}
	}
	if err := forwards(first()); err != nil {
		return err
	}
	// A file can keep a mount namespace only on a mount that is not shared with it.
	run := c.path("run")
	for _, argv := range [][]string{{"mount", "--bind", run, run}, {"mount", "--make-private", run}} {
		if _, err := command(argv...); err != nil {
			return fmt.Errorf("making the mount namespace: %w", err)
		}
	}
	return c.makeMountNamespace(first())
}

// forwards has a node's network hand packets on.
func forwards(n node) error {
	if _, err := command("nsenter", "--net="+n.netns(), "--", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"); err != nil {
		return fmt.Errorf("making the network: %w", err)
	}
	return nil
}

// redirected are paths that kubelet, containerd and CNI plugins hold to whatever they are told. In the mount namespace
// each leads into our directory.
var redirected = []string{"/var/lib/kubelet", "/var/lib/cni", "/var/log/containers", "/run/containerd", "/run/netns"}

func (c *cluster) makeMountNamespace(n node) error {
	if err := os.WriteFile(c.mountns(n), nil, 0o600); err != nil {
		return err
	}
	script := "set -e; "
	for _, path := range redirected {
		private := c.path("redirected"+n.suffix, filepath.Base(filepath.Dir(path))+"-"+filepath.Base(path))
		if err := os.MkdirAll(private, 0o755); err != nil {
			return err
		}
		if err := c.mountPoint(path); err != nil {
			return err
		}
		script += fmt.Sprintf("mount --bind %s %s; ", private, path)
	}
	// A kubelet wants shared mounts inside, for volumes that propagate.
	script += "mount --make-rshared /"
	if _, err := command("unshare", "--mount="+c.mountns(n), "--propagation=private", "sh", "-c", script); err != nil {
		return fmt.Errorf("making the mount namespace: %w", err)
	}
	return nil
}

// mountPoint makes a directory to mount on when there is none, and notes that it is ours to remove.
func (c *cluster) mountPoint(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	made, err := os.OpenFile(c.path(madeFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(made, path)
	return errors.Join(err, made.Close())
}

// madeFile lists the mount points that we made.
const madeFile = "made"

// removeMountPoints removes those, unless somebody else has put something into them since.
func (c *cluster) removeMountPoints() error {
	made, err := os.ReadFile(c.path(madeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, path := range strings.Fields(string(made)) {
		entries, err := os.ReadDir(path)
		if err != nil || len(entries) > 0 {
			continue
		}
		// ip(8) mounts its directory on itself.
		for mounted(path) {
			if _, err := command("umount", path); err != nil {
				return err
			}
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return err
}

// removeNamespaces takes both away. What was mounted in the one and configured in the other goes with them.
func (c *cluster) removeNamespaces() error {
	for _, n := range []node{second(), first()} {
		if err := c.removeNode(n); err != nil {
			return err
		}
	}
	for mounted(c.path("run")) {
		if _, err := command("umount", c.path("run")); err != nil {
			return err
		}
	}
	return nil
}

// removeNode takes away the namespaces of one node.
func (c *cluster) removeNode(n node) error {
	for mounted(c.mountns(n)) {
		if _, err := command("umount", c.mountns(n)); err != nil {
			return err
		}
	}
	_, err := os.Stat(n.netns())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = command("ip", "netns", "delete", filepath.Base(n.netns()))
	}
	return err
}
