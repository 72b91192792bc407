package main

import (
	"fmt"
	"os"
	"strings"
)

// down takes the cluster away, whole or not.
func (c *cluster) down() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("taking the cluster down needs root, as bringing it up did")
	}
	return step("taking the cluster down", c.remove)
}

// remove ends the processes, then takes away what they leave: namespaces with all mounts and interfaces, cgroups, files.
// Nothing is stopped in order, for nothing is kept.
func (c *cluster) remove() error {
	for _, remove := range []func() error{
		func() error { return killCgroups(cgroupName) }, c.removeNamespaces, func() error { return removeCgroups(cgroupName) },
		c.removeMountPoints, c.removeFiles,
	} {
		if err := remove(); err != nil {
			return err
		}
	}
	return nil
}

// removeFiles refuses while something is still mounted there: it would delete what is mounted.
func (c *cluster) removeFiles() error {
	if mounted(c.dir) {
		return fmt.Errorf("something is still mounted under %s", c.dir)
	}
	return os.RemoveAll(c.dir)
}

// mounted says whether anything is mounted at dir or below.
func mounted(dir string) bool {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && (fields[1] == dir || strings.HasPrefix(fields[1], dir+"/")) {
			return true
		}
	}
	return false
}
