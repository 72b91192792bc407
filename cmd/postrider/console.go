package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/cmd/postrider/console"
	"github.com/postrider/postrider/cmd/postrider/local"
	"github.com/postrider/postrider/relay/admin"
)

// shown is how many destinations the console shows.
const shown = 30

func newConsole(s streams) *cobra.Command {
	var t target
	var port uint16
	c := &cobra.Command{
		Use:   "console [NAME]",
		Short: "Open a small web page about relays: queues, why mail waits, DNS records, one message",
		Long: `Serve a small web page on this machine's loopback interface until you press Ctrl-C: the relays of a namespace, or one, the queue by
destination and age, why mail waits, the DNS records to publish, and the life of a message. It only reads. Pods are asked as by
the other commands, with your rights. Its address holds a secret: whoever on this machine has it can read what you can.`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				t.name = args[0]
			}
			return serveConsole(c.Context(), s, &consoleSource{t}, port)
		},
	}
	t.flags(c)
	c.Flags().Uint16Var(&port, "port", 0, "port to listen on; default any that is free")
	return c
}

func serveConsole(ctx context.Context, s streams, source console.Source, port uint16) error {
	if _, err := source.Relays(ctx); err != nil {
		return err
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer l.Close()
	site, err := console.New(source, l.Addr().String(), slog.New(slog.NewTextHandler(s.err, nil)))
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s\n", site.URL())
	fmt.Fprintln(s.err, "Open this address in a browser. Ctrl-C ends the console.")
	server := &http.Server{Handler: site, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.NewTextHandler(s.err, nil), slog.LevelWarn)}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return group.Wait()
}

// consoleSource reads for the console as the commands do.
type consoleSource struct{ target target }

// at is the target for one relay. A relay that is not the one that was named is not there.
func (s *consoleSource) at(name string) (*target, error) {
	if s.target.name != "" && name != s.target.name {
		return nil, fmt.Errorf("this console is about %s", s.target.name)
	}
	t := s.target
	t.name = name
	return &t, nil
}

// Relays implements console.Source.
func (s *consoleSource) Relays(ctx context.Context) ([]*v1alpha1.MailRelay, error) {
	switch {
	case s.target.dataDir != "":
		objects, err := local.Observe(ctx, s.target.dataDir, s.target.name, time.Now())
		return kindOf[*v1alpha1.MailRelay](objects), err
	case s.target.name != "":
		c, err := s.target.connect()
		if err != nil {
			return nil, err
		}
		relay, err := c.relay(ctx, s.target.name)
		return []*v1alpha1.MailRelay{relay}, err
	}
	c, err := s.target.connect()
	if err != nil {
		return nil, err
	}
	var list v1alpha1.MailRelayList
	if err := c.List(ctx, &list, client.InNamespace(c.namespace)); err != nil {
		return nil, err
	}
	relays := make([]*v1alpha1.MailRelay, len(list.Items))
	for i := range list.Items {
		relays[i] = &list.Items[i]
	}
	return relays, nil
}

// kindOf picks the objects of one kind.
func kindOf[T runtime.Object](objects []runtime.Object) []T {
	var found []T
	for _, o := range objects {
		if t, ok := o.(T); ok {
			found = append(found, t)
		}
	}
	return found
}

// Relay implements console.Source.
func (s *consoleSource) Relay(ctx context.Context, name string) (*console.Relay, error) {
	t, err := s.at(name)
	if err != nil {
		return nil, err
	}
	objects, err := t.objects(ctx)
	if err != nil {
		return nil, err
	}
	relays := kindOf[*v1alpha1.MailRelay](objects)
	if len(relays) == 0 {
		return nil, fmt.Errorf("there is no MailRelay %s", name)
	}
	r := &console.Relay{Object: relays[0]}
	for _, d := range kindOf[*v1alpha1.SendingDomain](objects) {
		r.Domains = append(r.Domains, domainOf(d))
	}
	var failed error
	if r.Processes, failed = t.reports(ctx); failed == nil {
		r.Queue, failed = t.ages(ctx, shown)
	}
	if failed != nil {
		r.Problems = append(r.Problems, failed.Error())
	}
	return r, nil
}

func domainOf(d *v1alpha1.SendingDomain) console.Domain {
	domain := console.Domain{Object: d}
	for _, r := range d.Status.Records {
		record := console.Record{DNSRecord: r}
		for i, line := range zoneLines(r) {
			record.Values = append(record.Values, console.Value{Text: r.Expected[i], Line: line})
		}
		domain.Records = append(domain.Records, record)
	}
	return domain
}

// Trace implements console.Source.
func (s *consoleSource) Trace(ctx context.Context, name, id string) ([]console.Trace, error) {
	t, err := s.at(name)
	if err != nil {
		return nil, err
	}
	return askAll(ctx, t, "/trace/"+url.PathEscape(id), func(process string, trace admin.Trace) console.Trace {
		return console.Trace{Process: process, Trace: trace}
	})
}

// Why implements console.Source.
func (s *consoleSource) Why(ctx context.Context, name, domain string) ([]console.Why, error) {
	t, err := s.at(name)
	if err != nil {
		return nil, err
	}
	return askAll(ctx, t, "/explain?"+url.Values{"domain": {domain}}.Encode(), func(process string, e admin.Explanations) console.Why {
		return console.Why{Process: process, Explanations: e}
	})
}
