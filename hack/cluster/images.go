package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/postrider/postrider/hack/image/archive"
)

// load imports images from docker-archive files into the nodes that are up.
func (c *cluster) load(files []string) error {
	if len(files) == 0 {
		return errors.New("load needs the file of an image; make image writes bin/image.tar")
	}
	if !c.alive("containerd") {
		return errors.New("the cluster is not up: cluster up")
	}
	err := c.loadInto(first(), files)
	if err == nil && c.alive("containerd"+second().suffix) {
		err = c.loadInto(second(), files)
	}
	return err
}

func (c *cluster) loadInto(n node, files []string) error {
	for _, file := range files {
		if _, err := c.ctr(n, "images", "import", file); err != nil {
			return fmt.Errorf("loading %s into %s: %w", file, n.name, err)
		}
	}
	return nil
}

func (c *cluster) ctr(n node, args ...string) (string, error) {
	return command(append([]string{"ctr", "--address=" + c.socket(n), "--namespace=k8s.io"}, args...)...)
}

// loadPause makes the image of the process that holds a pod's namespaces: this program.
func (c *cluster) loadPause(n node) error {
	file := c.path("pause.tar")
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer os.Remove(file)
	err = archive.Write(f, archive.Image{
		Name:       pauseImage,
		User:       "65535:65535",
		Entrypoint: []string{"/cluster", "pause"},
		Files:      []archive.File{{Source: c.self, Path: "/cluster"}},
	})
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("packing %s: %w", pauseImage, err)
	}
	return c.loadInto(n, []string{file})
}

// pause waits to be ended.
func pause() error {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	<-ended
	return nil
}

// exec replaces this process by a command in the cluster's network.
func (c *cluster) exec(argv []string) error {
	if len(argv) == 0 {
		return errors.New("exec needs a command")
	}
	if _, err := os.Stat(first().netns()); err != nil {
		return errors.New("the cluster is not up: cluster up")
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return err
	}
	// Whatever it leaves running ends with the cluster.
	if err := joinCgroup(cgroupName, os.Getpid()); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"POSTRIDER_CLUSTER": c.dir,
		"KUBECONFIG":        c.kubeconfig("admin"),
		"PATH":              c.bin + ":" + os.Getenv("PATH"),
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return syscall.Exec(nsenter, append([]string{"nsenter", "--net=" + first().netns(), "--"}, argv...), os.Environ())
}
