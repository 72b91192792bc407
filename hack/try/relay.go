package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/controllers/manifest"
)

// smtpPort is the container port of the sample's listener on port 25.
const smtpPort = 2525

// relay is `postrider local` as a process, in a directory of its own.
type relay struct {
	program string
	dir     string
	bind    string
	process *exec.Cmd
	output  bytes.Buffer
	ended   chan error
	// ids are the spool ids by recipient.
	ids map[string]string
}

// newRelay writes the manifests to run: the sample, with the port of the world's MX hosts.
func newRelay(program, sample string, w *world) (*relay, error) {
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("%w: make build builds it", err)
	}
	bind, err := freeAddress(smtpPort)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "postrider-try")
	if err != nil {
		return nil, err
	}
	r := &relay{program: program, dir: dir, bind: bind, ids: map[string]string{}}
	if err := writeManifests(sample, filepath.Join(dir, "manifests"), w.port); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return r, nil
}

// writeManifests copies the sample, one file per object, with another MX port: 25 belongs to root.
func writeManifests(sample, dir string, port int) error {
	kinds, err := manifest.NewKinds()
	if err != nil {
		return err
	}
	set, err := kinds.Load(manifest.Source{Paths: []string{sample}})
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for i := range set.Relays {
		for j := range set.Relays[i].Spec.Routes {
			if mx := set.Relays[i].Spec.Routes[j].MX; mx != nil {
				mx.Port = int32(port)
			}
		}
	}
	for i, o := range set.Objects() {
		data, err := yaml.Marshal(o)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (r *relay) data() string    { return filepath.Join(r.dir, "data") }
func (r *relay) address() string { return net.JoinHostPort(r.bind, fmt.Sprint(smtpPort)) }

// run starts the process.
func (r *relay) run(w *world) error {
	r.process = exec.Command(r.program, "local", "-f", filepath.Join(r.dir, "manifests"), "--data", r.data(), "--bind", r.bind, "--resolver", w.dns.Addr())
	r.process.Stdout, r.process.Stderr = &r.output, &r.output
	if err := r.process.Start(); err != nil {
		return err
	}
	r.ended = make(chan error, 1)
	go func() { r.ended <- r.process.Wait() }() // ends with the process, which finish stops
	return nil
}

// reload makes the process read its manifests and ask DNS again.
func (r *relay) reload() error { return r.process.Process.Signal(syscall.SIGHUP) }

// cli runs `postrider ARGS --data DIR` and returns what it prints.
func (r *relay) cli(ctx context.Context, args ...string) (string, error) {
	c := exec.CommandContext(ctx, r.program, append(args, "--data", r.data())...)
	var complaint bytes.Buffer
	c.Stderr = &complaint
	out, err := c.Output()
	if err != nil {
		err = fmt.Errorf("postrider %s: %w\n%s%s", strings.Join(args, " "), err, out, &complaint)
	}
	return string(out), err
}

// finish stops the process and removes all traces. After a failure, the end of its log says more.
func (r *relay) finish(failed error) error {
	if r.process != nil {
		failed = errors.Join(failed, r.stop())
	}
	if failed != nil {
		log := r.output.Bytes()
		fmt.Fprintf(os.Stderr, "\nThe end of the relay's log:\n%s", log[max(0, len(log)-4000):])
	}
	return errors.Join(failed, os.RemoveAll(r.dir))
}

func (r *relay) stop() error {
	if err := r.process.Process.Signal(os.Interrupt); err != nil {
		return fmt.Errorf("postrider local ended early: %w", <-r.ended)
	}
	select {
	case err := <-r.ended:
		return err
	case <-time.After(10 * time.Second):
		return errors.Join(errors.New("postrider local does not stop"), r.process.Process.Kill())
	}
}
