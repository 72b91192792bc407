package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/test/daemon"
	"github.com/postrider/postrider/test/peers"
)

// work is what an engine is to do with the mail that it gets, the same for every one.
type work struct {
	// next is host:port of the next hop for all mail; hops are those of other recipient domains.
	next string
	hops map[string]string
	// connections to a next hop at the same time; 0 for what the engine allows by itself, which is 20 in relay and Postfix.
	connections int
	// hold keeps all mail back.
	hold bool

	// What follows is for the relay alone.

	// resolver is host:port of a DNS server; when set, mail goes by MX, to the port of next.
	resolver string
	// retry is the time from one attempt to the next; 0 for the default.
	retry time.Duration
	// keys sign all mail; nil for none.
	keys *keys
	// certificates are used on both sides; nil for plaintext.
	certificates *certificates
}

// engine is a mail server under test.
type engine interface {
	name() string
	// share is the part of a load that takes it about as long as the whole takes the relay.
	share() float64
	// start starts it in a directory of its own with an empty queue, and returns where it listens.
	start(ctx context.Context, dir string, w work) (address string, err error)
	// pid is that of its first process.
	pid() (int, error)
	stop() error
}

// Names of the engines in rows.
const (
	nameRelay    = "postrider"
	namePostfix  = "postfix"
	nameFloor    = "floor"
	nameBaseline = "baseline"
)

// relayEngine is this project's relay, of today or of an earlier day.
type relayEngine struct {
	*daemon.Daemon
	as     string
	binary string
}

func (r *relayEngine) name() string      { return r.as }
func (*relayEngine) share() float64      { return 1 }
func (r *relayEngine) pid() (int, error) { return r.PID(), nil }

// stop kills it: the queue is thrown away, and nobody waits for replies that a slow sink owes it.
func (r *relayEngine) stop() error { return r.Kill() }

func (r *relayEngine) start(ctx context.Context, dir string, w work) (string, error) {
	port, err := daemon.FreePort()
	if err != nil {
		return "", err
	}
	o := daemon.Options{Binary: r.binary, Dir: dir, Relay: w.relay(port), Files: map[string][]byte{}}
	if w.keys != nil {
		o.Domains = []config.Domain{w.keys.domain(senderDomain)}
		maps.Copy(o.Files, w.keys.files)
	}
	if w.certificates != nil {
		maps.Copy(o.Files, w.certificates.files)
	}
	if r.Daemon, err = daemon.New(o); err != nil {
		return "", err
	}
	if err := r.Start(ctx); err != nil {
		return "", err
	}
	if w.hold {
		_, err = r.Ask(ctx, "POST", "/directives", `{"act":"hold","all":true,"reason":"bench","seconds":86400}`)
		err = errors.Join(err, stopIf(err != nil, r))
	}
	return r.Address(), err
}

func stopIf(failed bool, e engine) error {
	if failed {
		return e.stop()
	}
	return nil
}

// relay is the configuration that the operator would render, but for the names of things.
func (w work) relay(port int) config.Relay {
	listener := config.Listener{Name: "smtp", Port: port, Mode: config.ModeRelay, TLS: config.TLSNone}
	if w.certificates != nil {
		listener.TLS, listener.CertFile, listener.KeyFile = config.TLSRequired, certFile, keyFile
	}
	c := config.Relay{
		Namespace: "bench", Name: "bench", Hostname: hostname, Postmaster: "ops@" + senderDomain,
		Listeners: []config.Listener{listener},
		Access:    config.Access{TrustedCIDRs: []string{"127.0.0.0/8"}, UndeclaredSenders: config.SendersAccept},
		Queue:     config.Queue{RetryInitialSeconds: 300, RetryMaxSeconds: 14400, MaxMessageAgeSeconds: 432000, MaxMessageBytes: 50 << 20},
		Routes:    w.routes(),
	}
	if w.retry > 0 {
		c.Queue.RetryInitialSeconds = int(w.retry.Seconds())
	}
	if w.resolver != "" {
		c.DNS.Resolvers = []string{w.resolver}
	}
	if w.connections > 0 {
		c.Policies = []config.RatePolicy{{Name: "bench/connections", Stage: config.StageDelivery, Key: config.KeySite, MaxConnections: w.connections}}
	}
	return c
}

func (w work) routes() []config.Route {
	if w.resolver != "" {
		return []config.Route{{Name: "mx", MX: &config.MX{Port: portOf(w.next), AllowCIDRs: []string{"127.0.0.0/8"}}}}
	}
	var routes []config.Route
	for _, domain := range slices.Sorted(maps.Keys(w.hops)) {
		routes = append(routes, config.Route{
			Name: domain, Match: config.Match{RecipientDomains: []string{domain}}, SmartHosts: []config.SmartHost{w.smartHost(w.hops[domain])},
		})
	}
	return append(routes, config.Route{Name: "all", SmartHosts: []config.SmartHost{w.smartHost(w.next)}})
}

func (w work) smartHost(address string) config.SmartHost {
	hop := config.SmartHost{Host: "127.0.0.1", Port: portOf(address), TLS: config.HopNone}
	if w.certificates != nil {
		hop.TLS, hop.CAFile = config.HopRequired, caFile
	}
	return hop
}

// portOf is the port of an address of ours.
func portOf(address string) int {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port) // 0 is refused by whoever is to dial it
	return n
}

// postfixEngine is Debian's Postfix.
type postfixEngine struct{ *peers.Postfix }

func (*postfixEngine) name() string        { return namePostfix }
func (*postfixEngine) share() float64      { return 0.2 }
func (p *postfixEngine) pid() (int, error) { return p.PID() }
func (p *postfixEngine) stop() error       { return p.Stop() }

func (p *postfixEngine) start(_ context.Context, dir string, w work) (string, error) {
	port, err := daemon.FreePort()
	if err != nil {
		return "", err
	}
	p.Postfix, err = peers.NewPostfix(peers.PostfixOptions{
		Dir: dir, Address: "127.0.0.1", Port: port, Hostname: hostname, RelayHost: fmt.Sprintf("[127.0.0.1]:%d", portOf(w.next)), Extra: w.mainCF(),
	})
	if err != nil {
		return "", err
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), p.Start()
}

// mainCF is what differs from Debian's Postfix.
func (w work) mainCF() string {
	var lines strings.Builder
	if len(w.hops) > 0 {
		var maps []string
		for domain, address := range w.hops {
			maps = append(maps, fmt.Sprintf("%s=smtp:[127.0.0.1]:%d", domain, portOf(address)))
		}
		fmt.Fprintf(&lines, "transport_maps = inline:{%s}\n", strings.Join(maps, ", "))
	}
	if w.connections > 0 {
		fmt.Fprintf(&lines, "default_destination_concurrency_limit = %d\ninitial_destination_concurrency = %[1]d\ndefault_process_limit = %d\n",
			w.connections, max(100, 2*w.connections))
	}
	if w.hold {
		lines.WriteString("smtpd_client_restrictions = check_client_access static:HOLD\n")
	}
	return lines.String()
}

// floorEngine is the floor program, hack/bench/floor: as little as a durable relay in Go can do.
type floorEngine struct {
	binary  string
	process *exec.Cmd
}

func (*floorEngine) name() string        { return nameFloor }
func (*floorEngine) share() float64      { return 1 }
func (f *floorEngine) pid() (int, error) { return f.process.Process.Pid, nil }

func (f *floorEngine) start(ctx context.Context, dir string, w work) (string, error) {
	port, err := daemon.FreePort()
	if err != nil {
		return "", err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	args := []string{"-listen", address, "-dir", filepath.Join(dir, "store")}
	if !w.hold {
		args = append(args, "-to", w.next)
	}
	if w.connections > 0 {
		args = append(args, "-connections", strconv.Itoa(w.connections))
	}
	f.process = exec.Command(f.binary, args...)
	f.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it must not outlive us
	if err := f.process.Start(); err != nil {
		return "", err
	}
	if err := listens(ctx, address); err != nil {
		return "", errors.Join(err, f.stop())
	}
	return address, nil
}

func (f *floorEngine) stop() error {
	if err := f.process.Process.Kill(); err != nil {
		return err
	}
	_ = f.process.Wait() // it says "killed"
	return nil
}

// listens waits until something listens.
func listens(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing listens on %s: %w", address, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
