//go:build interop

package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"
	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/relay/status"
)

const (
	// hostname is the relay's, in its certificate too.
	hostname = "relay.test"
	// relayHost is the last octet of the relay's address.
	relayHost = 1

	user     = "newsletter"
	password = "correct horse"
)

// Ports in the container of the listeners.
const (
	portSMTP       = 2525
	portSubmission = 2587
	portImplicit   = 2465
)

// relay is `postrider local` with one MailRelay.
type relay struct {
	*place
	process *exec.Cmd
	ended   chan error
	// bind is the address that it listens on, dns where it asks, host:port.
	bind, dns string
}

// relay starts one with these manifests; {net} and {net6} in them are the ranges of the place, {hostname} is the
// relay's name.
func (p *place) relay(manifests ...string) *relay {
	p.t.Helper()
	return p.relayAt(p.ip(relayHost), resolver, manifests...)
}

// relayAt is relay at an address, with a resolver.
func (p *place) relayAt(bind, dns string, manifests ...string) *relay {
	p.t.Helper()
	r := &relay{place: p, bind: bind, dns: net.JoinHostPort(dns, "53")}
	r.write(manifests...)
	r.start()
	return r
}

// write writes the manifests; a relay that runs takes them up.
func (r *relay) write(manifests ...string) {
	r.t.Helper()
	text := strings.NewReplacer("{net}", fmt.Sprintf("127.0.%d", r.number),
		"{net6}", fmt.Sprintf("fd00::%x:", r.number), "{hostname}", hostname).Replace(strings.Join(manifests, "\n---\n"))
	next := r.path("next.yaml")
	r.must(os.WriteFile(next, []byte(text), 0o600))
	r.must(os.Rename(next, r.path("manifests.yaml")))
}

func (r *relay) start() {
	r.t.Helper()
	log, err := os.OpenFile(r.path("relay.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	r.must(err)
	defer log.Close() // the process has its own handle
	r.process = exec.Command(postrider(), "local", "-f", r.path("manifests.yaml"), "--data", r.path("d"), "--bind", r.bind, "--resolver", r.dns)
	r.process.Stdout, r.process.Stderr = log, log
	r.process.Env = append(os.Environ(), "SSL_CERT_FILE="+caFile())
	r.must(r.process.Start())
	r.ended = make(chan error, 1)
	go func() { r.ended <- r.process.Wait() }() // ends with the process
	r.stopAfter(r.stop)
	eventually(r.t, "the relay listens", func() error {
		text := r.log()
		if !strings.Contains(text, ": listener ") {
			return errors.New(text)
		}
		return nil
	})
}

func postrider() string { return filepath.Join(root, "bin", "postrider") }

// stop ends it, once; connections that it keeps are closed then. After a failure its log says more.
func (r *relay) stop() error {
	if r.process == nil {
		return nil
	}
	process := r.process
	r.process = nil
	if r.t.Failed() {
		r.t.Logf("the relay's log:\n%s", r.log())
	}
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("the relay ended early: %w:\n%s", <-r.ended, r.log())
	}
	select {
	case err := <-r.ended:
		return err
	case <-time.After(60 * time.Second):
		return errors.Join(errors.New("the relay does not stop"), process.Process.Kill())
	}
}

func (r *relay) log() string {
	log, err := os.ReadFile(r.path("relay.log"))
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-12000):])
}

// cli runs `postrider ARGS --data DIR` and returns what it prints.
func (r *relay) cli(args ...string) (string, error) {
	cmd := exec.Command(postrider(), append(args, "--data", r.path("d"))...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("postrider %s: %w: %s%s", strings.Join(args, " "), err, out, complaint.String())
	}
	return string(out), err
}

// status is what the relay says of itself.
func (r *relay) status() (status.Status, error) {
	out, err := r.cli("status", "-o", "json")
	if err != nil {
		return status.Status{}, err
	}
	var report struct{ Relays []status.Status }
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return status.Status{}, err
	}
	if len(report.Relays) != 1 {
		return status.Status{}, fmt.Errorf("%d relays report: %s", len(report.Relays), out)
	}
	return report.Relays[0], nil
}

// settles waits until nothing is queued, and wants the books to be right and to say this.
func (r *relay) settles(want status.Ledger) {
	r.t.Helper()
	eventually(r.t, "the queue is empty and the books are right", func() error {
		s, err := r.status()
		if err == nil && (s.Ledger != want || !s.Ledger.Balanced()) {
			err = fmt.Errorf("the ledger is %+v; want %+v; slowest %+v", s.Ledger, want, s.Slowest)
		}
		return err
	})
}

// address is host:port of a listener.
func (r *relay) address(port int) string { return net.JoinHostPort(r.bind, strconv.Itoa(port)) }

// dial connects as a mail client and greets.
func (r *relay) dial(port int) *textproto.Conn {
	r.t.Helper()
	c, err := textproto.Dial("tcp", r.address(port))
	r.must(err)
	r.t.Cleanup(func() { _ = c.Close() }) // it may be closed already
	_, _, err = c.ReadResponse(220)
	r.must(err)
	r.say(c, 250, "EHLO client.test")
	return c
}

// say sends a command and wants a reply.
func (r *relay) say(c *textproto.Conn, want int, command string) string {
	r.t.Helper()
	r.must(c.PrintfLine("%s", command))
	code, text, err := c.ReadResponse(want)
	if err != nil {
		r.t.Fatalf("%s: %d %s: %v; want %d", command, code, text, err, want)
	}
	return text
}

// secret is the manifest of a Secret.
func secret(name string, data map[string]string) string {
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name}, "stringData": data,
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// certificate is the manifest of a Secret with a certificate for the relay's name and address.
func (p *place) certificate(name string) string {
	cert, key := world.ca.PairPEM(hostname, p.ip(relayHost))
	return secret(name, map[string]string{"tls.crt": string(cert), "tls.key": string(key)})
}

// users is the manifest of a Secret with the user of these tests.
func users(name string) string {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return secret(name, map[string]string{"users": user + ":" + string(hash)})
}
