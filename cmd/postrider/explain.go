package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/cmd/postrider/door"
	"github.com/postrider/postrider/relay/admin"
)

// relayExplanations are what one relay process says of why mail waits.
type relayExplanations struct {
	Relay string `json:"relay"`
	admin.Explanations
}

// spoolID is what spool ids look like, and no domain does.
var spoolID = regexp.MustCompile(`^[0-9A-Z]{20}$`)

func newExplain(s streams) *cobra.Command {
	var t target
	var o output
	c := &cobra.Command{
		Use:   "explain [NAME] DOMAIN|SPOOL-ID",
		Short: "Say why mail for a domain waits, or one message: since when, until when, and the last reply",
		Args:  arguments(cobra.RangeArgs(1, 2)),
		RunE: func(c *cobra.Command, args []string) error {
			args, err := t.take(args)
			if err := errors.Join(err, o.check()); err != nil {
				return err
			}
			if len(args) != 1 {
				return usageError{errors.New("name one domain, or one message by its spool id")}
			}
			relays, err := t.explain(c.Context(), args[0])
			return errors.Join(err, printExplanations(s, o, relays, time.Now()))
		},
	}
	t.flags(c)
	o.flags(c)
	return c
}

// explain asks every relay process.
func (t *target) explain(ctx context.Context, what string) ([]relayExplanations, error) {
	query := url.Values{"domain": {what}}
	if spoolID.MatchString(what) {
		query = url.Values{"id": {what}}
	}
	relays, err := askAll(ctx, t, "/explain?"+query.Encode(), func(name string, e admin.Explanations) relayExplanations {
		return relayExplanations{name, e}
	})
	if len(relays) == 0 && err == nil {
		err = fmt.Errorf("no mail for %s is queued; postrider trace tells what became of a message", what)
	}
	return relays, err
}

// askAll asks every relay process the same. Those that know nothing of it are left out.
func askAll[Answer, Named any](ctx context.Context, t *target, path string, named func(string, Answer) Named) ([]Named, error) {
	doors, err := t.doors(ctx)
	if err != nil {
		return nil, err
	}
	var all []Named
	for _, d := range doors {
		var answer Answer
		switch askErr := d.Get(ctx, path, &answer); {
		case askErr == nil:
			all = append(all, named(d.Name, answer))
		case !errors.Is(askErr, door.ErrNotFound):
			err = errors.Join(err, askErr)
		}
	}
	return all, err
}

func printExplanations(s streams, o output, relays []relayExplanations, now time.Time) error {
	if o.structured() {
		return o.write(s.out, map[string]any{"relays": relays})
	}
	for _, r := range relays {
		for _, x := range r.Explanations.Explanations {
			if err := printExplanation(s, r.Relay, x, now); err != nil {
				return err
			}
		}
		if r.Partial {
			if _, err := fmt.Fprintf(s.err, "%s has more of it than was looked at; the counts are of the oldest.\n", r.Relay); err != nil {
				return err
			}
		}
	}
	return nil
}

func printExplanation(s streams, relay string, x admin.Explanation, now time.Time) error {
	what := fmt.Sprintf("message %s", x.ID)
	if x.Entries > 1 {
		what = fmt.Sprintf("%d messages, the oldest %s", x.Entries, x.ID)
	}
	_, err := fmt.Fprintf(s.out, "%s: %s for %s in %s\n  %s\n", relay,
		several(x.Recipients, "recipient"), printable(x.Domain), what, printable(x.Sentence))
	if err != nil {
		return err
	}
	fields := []string{fmt.Sprintf("%s for %s", x.Reason, ago(x.Since, now))}
	if x.Due != nil && x.Due.After(now) {
		fields = append(fields, "next in "+ago(now, *x.Due))
	}
	if x.Attempts > 0 {
		fields = append(fields, several(x.Attempts, "attempt"))
	}
	if x.Policy != "" {
		fields = append(fields, "policy "+x.Policy)
	}
	if x.Directive != nil {
		fields = append(fields, "directive "+x.Directive.ID)
	}
	if _, err := fmt.Fprintln(s.out, "  "+strings.Join(fields, ", ")); err != nil || x.Reply == "" {
		return err
	}
	reply := x.Reply
	if x.NextHop != "" {
		reply = x.NextHop + ": " + reply
	}
	_, err = fmt.Fprintln(s.out, "  last reply: "+printable(reply))
	return err
}
