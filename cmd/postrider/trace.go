package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/cmd/postrider/life"
	"github.com/postrider/postrider/relay/admin"
)

// relayTrace is what one relay process knows of a message.
type relayTrace struct {
	Relay string `json:"relay"`
	admin.Trace
}

func newTrace(s streams) *cobra.Command {
	var t target
	var o output
	c := &cobra.Command{
		Use:   "trace [NAME] ID",
		Short: "Tell the life of a message: accepted, each attempt, what admins did, its bounces, what became of it",
		Long: `Tell the life of a message by its spool id, which stands in the reply to the client ("250 2.0.0 queued as ID"), in the
relay's Received field and in the log. What is over is known as far back as the relay's journal goes: its last 64 MiB.`,
		Args: arguments(cobra.RangeArgs(1, 2)),
		RunE: func(c *cobra.Command, args []string) error {
			args, err := t.take(args)
			if err := errors.Join(err, o.check()); err != nil {
				return err
			}
			if len(args) != 1 {
				return usageError{errors.New("name one message by its spool id")}
			}
			traces, err := askAll(c.Context(), &t, "/trace/"+url.PathEscape(args[0]), func(name string, trace admin.Trace) relayTrace {
				return relayTrace{name, trace}
			})
			if len(traces) == 0 && err == nil {
				err = fmt.Errorf("no relay process knows message %s: it is not queued, and older than what the journal keeps", args[0])
			}
			return errors.Join(err, printTraces(s, o, traces))
		},
	}
	t.flags(c)
	o.flags(c)
	return c
}

func printTraces(s streams, o output, traces []relayTrace) error {
	if o.structured() {
		return o.write(s.out, map[string]any{"relays": traces})
	}
	for _, t := range traces {
		if err := printTrace(s, "Message "+string(t.ID)+" on "+t.Relay, t.Trace); err != nil {
			return err
		}
		for _, dsn := range t.Reports {
			if err := printTrace(s, "\nDSN "+string(dsn.ID), dsn); err != nil {
				return err
			}
		}
	}
	return nil
}

func printTrace(s streams, title string, t admin.Trace) error {
	var rows [][]string
	for i := range t.Events {
		e := &t.Events[i]
		rows = append(rows, []string{"  " + e.At.UTC().Format("2006-01-02T15:04:05.000Z"), string(e.Type), "<" + e.Recipient + ">", life.Detail(e, t.ID == "" || e.SpoolID == string(t.ID))})
	}
	if _, err := fmt.Fprintln(s.out, title); err != nil {
		return err
	}
	if err := table(s.out, []string{"  TIME", "EVENT", "RECIPIENT", "DETAIL"}, rows); err != nil {
		return err
	}
	for _, f := range t.Recipients {
		state := cmp.Or(string(f.State), "no longer known")
		if f.Peer != "" {
			state = "handed over to " + f.Peer
		}
		if _, err := fmt.Fprintf(s.out, "  <%s>: %s\n", printable(f.Recipient), state); err != nil {
			return err
		}
	}
	for _, x := range t.Waiting {
		if _, err := fmt.Fprintf(s.out, "  For %s: %s\n", printable(x.Domain), printable(x.Sentence)); err != nil {
			return err
		}
	}
	return nil
}
