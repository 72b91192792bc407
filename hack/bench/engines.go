package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/test/daemon"
)

// engine is a mail server under test.
type engine interface {
	name() string
	// start starts it in dir with an empty queue and a smart host on 127.0.0.1, and returns where it listens.
	start(ctx context.Context, dir string, sinkPort int) (address string, err error)
	stop() error
}

// postrider is this project's relay.
type postrider struct {
	binary string
	relay  *daemon.Daemon
}

func (*postrider) name() string { return "postrider" }

func (p *postrider) start(ctx context.Context, dir string, sinkPort int) (string, error) {
	port, err := daemon.FreePort()
	if err != nil {
		return "", err
	}
	p.relay, err = daemon.New(p.binary, dir, config.Relay{
		Namespace: "bench", Name: "bench", Hostname: "relay.bench.example", Postmaster: "ops@bench.example",
		Listeners: []config.Listener{{Name: "smtp", Port: port, Mode: config.ModeRelay, TLS: config.TLSNone}},
		Access:    config.Access{TrustedCIDRs: []string{"127.0.0.0/8"}, UndeclaredSenders: config.SendersAccept},
		Queue:     config.Queue{RetryInitialSeconds: 300, RetryMaxSeconds: 14400, MaxMessageAgeSeconds: 432000, MaxMessageBytes: 50 << 20},
		Routes:    []config.Route{{Name: "sink", SmartHosts: []config.SmartHost{{Host: "127.0.0.1", Port: sinkPort, TLS: config.HopNone}}}},
	})
	if err != nil {
		return "", err
	}
	return p.relay.Address(), p.relay.Start(ctx)
}

func (p *postrider) stop() error { return p.relay.Stop() }

// postfix is Debian's, with configuration, queue and log of its own. The one that the machine may run is left alone.
type postfix struct{ dir string }

func (*postfix) name() string { return "postfix" }

func (p *postfix) start(ctx context.Context, dir string, sinkPort int) (string, error) {
	port, err := daemon.FreePort()
	if err != nil {
		return "", err
	}
	p.dir = filepath.Join(dir, "config")
	for _, sub := range []string{"config", "queue", "data"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return "", err
		}
	}
	main := fmt.Sprintf(mainCF, dir, sinkPort)
	master := fmt.Sprintf(masterCF, port)
	if err := errors.Join(
		os.WriteFile(filepath.Join(p.dir, "main.cf"), []byte(main), 0o644),
		os.WriteFile(filepath.Join(p.dir, "master.cf"), []byte(master), 0o644),
		command(ctx, "chown", "postfix", filepath.Join(dir, "data")),
		command(ctx, "postfix", "-c", p.dir, "start"),
	); err != nil {
		return "", err
	}
	return address(port), listens(ctx, address(port))
}

func (p *postfix) stop() error { return command(context.Background(), "postfix", "-c", p.dir, "stop") }

func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// mainCF is Debian's defaults but for where things are, who may relay and the smart host.
const mainCF = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file = %[1]s/mail.log
maillog_file_prefixes = %[1]s
myhostname = relay.bench.example
mydestination =
alias_maps =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:%[2]d
`

// masterCF is Debian's, without chroot, for the services that take part.
const masterCF = `127.0.0.1:%d inet n - n - - smtpd
pickup    unix  n - n 60   1 pickup
cleanup   unix  n - n -    0 cleanup
qmgr      unix  n - n 300  1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -    - trivial-rewrite
bounce    unix  - - n -    0 bounce
defer     unix  - - n -    0 bounce
trace     unix  - - n -    0 bounce
verify    unix  - - n -    1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -    - proxymap
proxywrite unix - - n -    1 proxymap
smtp      unix  - - n -    - smtp
relay     unix  - - n -    - smtp
showq     unix  n - n -    - showq
error     unix  - - n -    - error
retry     unix  - - n -    - error
discard   unix  - - n -    - discard
local     unix  - n n -    - local
anvil     unix  - - n -    1 anvil
scache    unix  - - n -    1 scache
postlog   unix-dgram n - n - 1 postlogd
`
