package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/postrider/postrider/cmd/postrider/local"
	"github.com/postrider/postrider/controllers/manifest"
)

func newLocal(s streams) *cobra.Command {
	var o local.Options
	c := &cobra.Command{
		Use:   "local -f PATH... --data DIR",
		Short: "Run the MailRelays of manifests on this machine, without a cluster",
		Long: `Run the MailRelays of manifests on this machine, without a cluster.

The manifests are judged by the same CustomResourceDefinitions, and become the relays' configuration by the same
code, as in a cluster; Secrets are read from them too. Listeners listen at their container ports: 25 is 2525, any
other port below 1024 is that port + 2000. Changed manifests are taken up within seconds, or on SIGHUP.

The data directory keeps queues, DKIM keys and state. Look into it with postrider status --data DIR and
postrider queue ls --data DIR.`,
		Example: "  postrider local -f config/samples/quickstart.yaml --data /var/lib/postrider",
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkLocal(o); err != nil {
				return err
			}
			kinds, err := manifest.NewKinds()
			if err != nil {
				return err
			}
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP)
			defer signal.Stop(reload)
			o.Kinds, o.Source.Stdin, o.Version, o.Reload = kinds, s.in, version, reload
			o.Log = slog.New(slog.NewJSONHandler(s.err, nil))
			log.SetLogger(logr.FromSlogHandler(o.Log.Handler()))
			o.Say = func(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }
			return local.Run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringSliceVarP(&o.Source.Paths, "filename", "f", nil, "manifest file, directory of manifests, or - for standard input")
	f.StringVar(&o.DataDir, "data", "", "directory for queues, keys and state")
	f.StringVar(&o.Bind, "bind", "127.0.0.1", "IP address that listeners listen on")
	f.StringVar(&o.Resolver, "resolver", "", "address and port of the DNS server to ask, in place of that of the manifests")
	f.StringVarP(&o.Source.Namespace, "namespace", "n", "", "namespace of objects that name none; default \"default\"")
	return c
}

func checkLocal(o local.Options) error {
	var wrong []error
	if len(o.Source.Paths) == 0 {
		wrong = append(wrong, errors.New("-f PATH is required"))
	}
	if o.DataDir == "" {
		wrong = append(wrong, errors.New("--data DIR is required"))
	}
	if net.ParseIP(o.Bind) == nil {
		wrong = append(wrong, fmt.Errorf("--bind %q is not an IP address", o.Bind))
	}
	if o.Resolver != "" {
		if _, err := netip.ParseAddrPort(o.Resolver); err != nil {
			wrong = append(wrong, fmt.Errorf("--resolver must be the address and port of a DNS server, such as 192.0.2.53:53: %w", err))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return usageError{err}
	}
	return nil
}
