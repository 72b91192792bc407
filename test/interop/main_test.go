//go:build interop

package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/smtptest"
	"github.com/postrider/postrider/test/peers"
)

const (
	root = "../.."
	// resolver and resolver6 are where Unbound answers.
	resolver  = "127.0.0.53"
	resolver6 = "fd00::53"
)

// world is what all scenarios share.
var world struct {
	// dir is theirs; it is short, and everybody may enter it.
	dir string
	ca  *smtptest.CA
	dns *peers.Unbound
	// scenarios counts them.
	scenarios atomic.Int32
}

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	if world.dir = os.Getenv("POSTRIDER_INTEROP"); world.dir == "" {
		return 1, errors.New("no namespaces: run make interop")
	}
	world.ca = smtptest.NewCA()
	if err := os.WriteFile(caFile(), world.ca.PEM(), 0o644); err != nil {
		return 1, err
	}
	if err := assign(resolver6); err != nil {
		return 1, err
	}
	if world.dns, err = peers.StartUnbound(filepath.Join(world.dir, "unbound"), resolver, resolver6); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.dns.Stop()) }()
	return m.Run(), nil
}

// caFile holds the authority that signs every certificate here.
func caFile() string { return filepath.Join(world.dir, "ca.pem") }

// place is where one scenario happens: a directory and a range of loopback addresses.
type place struct {
	t      *testing.T
	dir    string
	number int32
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, number: world.scenarios.Add(1)}
	p.dir = filepath.Join(world.dir, fmt.Sprint(p.number))
	p.must(os.Mkdir(p.dir, 0o755))
	return p
}

// path is a path in the scenario's directory.
func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

// ip is a loopback address of the scenario's range.
func (p *place) ip(host int) string { return fmt.Sprintf("127.0.%d.%d", p.number, host) }

// ip6 is an IPv6 address of the scenario's range.
func (p *place) ip6(host int) string {
	p.t.Helper()
	address := fmt.Sprintf("fd00::%x:%x", p.number, host)
	p.must(assign(address))
	return address
}

// assign gives the loopback interface an address: it has none of IPv6 but ::1, and Postfix insists on 127.0.0.0/8 too.
func assign(address string) error {
	prefix := "/32"
	if strings.Contains(address, ":") {
		prefix = "/128"
	}
	if out, err := exec.Command("ip", "address", "replace", address+prefix, "dev", "lo").CombinedOutput(); err != nil {
		return fmt.Errorf("ip address replace %s: %w: %s", address, err, out)
	}
	return nil
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// stopAfter ends a peer with the scenario.
func (p *place) stopAfter(stop func() error) {
	p.t.Cleanup(func() {
		if err := stop(); err != nil {
			p.t.Error(err)
		}
	})
}

// dns publishes the records of a name.
func (p *place) dns(name string, records ...string) {
	p.t.Helper()
	p.must(world.dns.Set(name, records...))
}

// postfix starts a Postfix with a certificate for its name.
func (p *place) postfix(o peers.PostfixOptions) *peers.Postfix {
	p.t.Helper()
	for _, address := range strings.Split(o.Address, ", ") {
		p.must(assign(address))
	}
	o.Dir = p.path("postfix")
	o.CertPEM, o.KeyPEM = world.ca.PairPEM(o.Hostname)
	postfix, err := peers.NewPostfix(o)
	p.must(err)
	p.must(postfix.Start())
	p.stopAfter(postfix.Stop)
	return postfix
}

// eventually waits until there is no error, and fails with the last one when that takes too long.
func eventually(t *testing.T, what string, is func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for err := is(); err != nil; err = is() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// python runs a script with Debian's Python and this input, and reads its output as JSON.
func python(script string, input []byte, into any) error {
	cmd := exec.Command("/usr/bin/python3", script)
	var complaint bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &complaint
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", script, err, complaint.String())
	}
	return json.Unmarshal(out, into)
}

// lines is a text with lines that end in CRLF.
func lines(text ...string) string { return strings.Join(text, "\r\n") + "\r\n" }
