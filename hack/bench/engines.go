package main

import (
	"context"
	"fmt"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/test/daemon"
	"github.com/postrider/postrider/test/peers"
)

// engine is a mail server under test.
type engine interface {
	name() string
	// start starts it in dir with an empty queue and a smart host on 127.0.0.1, and returns where it listens.
	start(ctx context.Context, dir string, sinkPort int) (address string, err error)
	stop() error
	// cpu is the processor time that it took until it was stopped; 0 when that is not known.
	cpu() time.Duration
}

// postrider is this project's relay, of today or of an earlier day.
type postrider struct {
	as     string
	binary string
	relay  *daemon.Daemon
}

func (p *postrider) name() string { return p.as }

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

func (p *postrider) cpu() time.Duration { return p.relay.CPU() }

// postfix is Debian's.
type postfix struct{ *peers.Postfix }

func (*postfix) name() string { return "postfix" }

func (p *postfix) start(_ context.Context, dir string, sinkPort int) (string, error) {
	port, err := daemon.FreePort()
	if err != nil {
		return "", err
	}
	p.Postfix, err = peers.NewPostfix(peers.PostfixOptions{
		Dir: dir, Address: "127.0.0.1", Port: port, Hostname: "relay.bench.example", RelayHost: fmt.Sprintf("[127.0.0.1]:%d", sinkPort),
	})
	if err != nil {
		return "", err
	}
	return address(port), p.Start()
}

func (p *postfix) stop() error { return p.Stop() }

// cpu is not known: Postfix is many processes.
func (*postfix) cpu() time.Duration { return 0 }
