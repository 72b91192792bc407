package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postrider/postrider/relay/admin"
)

// Ports of the doors, on Options.Bind.
const (
	operatorPort = 8443
	metricsPort  = 9090
)

// doors are the ways in for people and machines that watch or steer the relay.
type doors struct {
	relay        *Relay
	certificates admin.Certificates
	token        atomic.Pointer[string]
	// secured is closed when the first certificates are loaded: the TLS doors open then.
	secured chan struct{}
}

func newDoors(r *Relay) *doors { return &doors{relay: r, secured: make(chan struct{})} }

// serve keeps the doors open until ctx is done.
func (d *doors) serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx) // one that fails closes the others
	metrics := d.relay.metrics.handler()
	open := func(listener net.Listener, err error, h http.Handler) {
		group.Go(func() error {
			if err != nil {
				return err
			}
			return d.door(ctx, listener, h)
		})
	}
	if path := d.relay.options.AdminSocket; path != "" {
		listener, err := listenUnix(path)
		open(listener, err, admin.Socket(d.relay, metrics))
	}
	if address := d.relay.options.HealthAddress; address != "" {
		listener, err := net.Listen("tcp", address)
		open(listener, err, admin.Health(d.relay))
	}
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-d.secured:
			return d.serveSecured(ctx, metrics)
		}
	})
	return group.Wait()
}

func (d *doors) serveSecured(ctx context.Context, metrics http.Handler) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range []struct {
		port    int
		clients tls.ClientAuthType
		handler http.Handler
	}{
		{operatorPort, tls.RequireAndVerifyClientCert, admin.Secured(admin.Operator(d.relay), d.relay.receiver, d.kin)},
		{metricsPort, tls.VerifyClientCertIfGiven, admin.Metrics(metrics, d.metricsToken)},
	} {
		listener, err := net.Listen("tcp", net.JoinHostPort(d.relay.options.Bind, strconv.Itoa(s.port)))
		if err != nil {
			return fmt.Errorf("admin port: %w", err)
		}
		secured := tls.NewListener(listener, d.certificates.Config(s.clients))
		group.Go(func() error { return d.door(ctx, secured, s.handler) })
	}
	return group.Wait()
}

func (d *doors) door(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(d.relay.log.Handler(), slog.LevelDebug),
	}
	if l.Addr().Network() != "unix" { // an admin's act there may take its time
		server.WriteTimeout = 30 * time.Second
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// configure takes up the certificates and the token of a new configuration.
func (d *doors) configure(s *settings) {
	a := s.config.Relay.Admin
	if a == nil {
		return
	}
	if err := d.certificates.Load(s.config.Path(a.CertFile), s.config.Path(a.KeyFile), s.config.Path(a.CAFile)); err != nil {
		d.relay.log.Error("the admin ports keep the certificate they have", "error", err)
		return
	}
	d.takeToken(s, a.MetricsTokenFile)
	select {
	case <-d.secured:
	default:
		close(d.secured)
	}
}

// takeToken takes up the token of the metrics port. One that cannot be read leaves that before in force; one that is
// no longer named is withdrawn.
func (d *doors) takeToken(s *settings, file string) {
	if file == "" {
		d.token.Store(nil)
		return
	}
	token, err := os.ReadFile(s.config.Path(file))
	if err != nil {
		d.relay.log.Error("the metrics port keeps the token it has", "error", err)
		return
	}
	trimmed := strings.TrimSpace(string(token))
	d.token.Store(&trimmed)
}

// kin are the relays whose pods may come to the door of the hand-off; the zero Kin before a configuration names them.
func (d *doors) kin() admin.Kin {
	s := d.relay.settings.Load()
	if s == nil || s.config.Relay.Admin == nil {
		return admin.Kin{}
	}
	return admin.Kin{Self: s.config.Relay.Admin.ServerName, Givers: s.config.Relay.Givers}
}

func (d *doors) metricsToken() string {
	if token := d.token.Load(); token != nil {
		return *token
	}
	return ""
}

// listenUnix opens the socket for our own user alone. A socket that a killed process left behind is replaced.
func listenUnix(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	listener, err := private().Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return listener, os.Chmod(path, 0o600) // where the file does not take the mode of the socket, as it does on Linux
}
