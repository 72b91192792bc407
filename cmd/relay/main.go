// Command relay is the engine of one relay pod. "relay serve" relays mail; "relay ctl METHOD PATH" asks the one
// that runs beside it, through the admin socket; "relay salvage" reads a damaged spool.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/postrider/postrider/relay"
)

// version is set by the linker.
var version = "dev"

const (
	configDir = "/etc/postrider"
	dataDir   = "/var/spool/postrider"
	socket    = "/run/postrider/admin.sock"
	usage     = `usage: relay serve [flags]             relay mail until SIGTERM
       relay ctl [flags] METHOD PATH   ask the relay that runs here; a body is read from standard input
       relay salvage --data-dir DIR --out NEW   bring what can be read of a damaged spool into a new one
       relay version`
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	switch args[0] {
	case "serve":
		return serve(args[1:])
	case "ctl":
		return ctl(args[1:])
	case "salvage":
		return salvage(args[1:])
	case "version":
		fmt.Println(version)
		return nil
	default:
		return fmt.Errorf("unknown command %q\n%s", args[0], usage)
	}
}

func serve(args []string) error {
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}
	log, flush := newLog(os.Stdout)
	defer flush()
	o := relay.Options{Pod: hostname, PodUID: os.Getenv("POD_UID"), Version: version, Log: log}
	flags := flag.NewFlagSet("relay serve", flag.ExitOnError)
	flags.StringVar(&o.ConfigDir, "config-dir", configDir, "directory of the configuration")
	flags.StringVar(&o.DataDir, "data-dir", dataDir, "directory of the spool")
	flags.StringVar(&o.AdminSocket, "admin-socket", socket, "Unix socket for relay ctl; empty for none")
	flags.StringVar(&o.Bind, "bind", "", "address to listen on; empty for all")
	flags.StringVar(&o.HealthAddress, "health-address", ":8081", "host:port of /healthz and /readyz; empty for none")
	drain := flags.Duration("endpoint-drain", 0, "how long new clients are still served after SIGTERM, while load balancers learn of it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.DrainEndpoints = func() { time.Sleep(*drain) }
	useProcessors()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	var collecting sync.WaitGroup
	defer collecting.Wait()
	defer stop()
	collecting.Go(func() { spaceCollections(ctx) })
	return relay.Run(ctx, o)
}

func ctl(args []string) error {
	flags := flag.NewFlagSet("relay ctl", flag.ExitOnError)
	path := flags.String("admin-socket", socket, "Unix socket of the relay")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return errors.New(usage)
	}
	method, target := strings.ToUpper(flags.Arg(0)), flags.Arg(1)
	var body io.Reader
	if method == http.MethodPost {
		body = os.Stdin
	}
	request, err := http.NewRequest(method, "http://relay"+target, body)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", *path)
		},
	}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, target, response.Status)
	}
	return nil
}
