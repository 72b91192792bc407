package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/cmd/postrider/door"
	"github.com/postrider/postrider/relay/admin"
)

func newSuppression(s streams) *cobra.Command {
	c := &cobra.Command{
		Use:   "suppression",
		Short: "The suppression lists of a relay: list, add, remove",
		Long: "The suppression lists of a relay: the recipients that mail of a SendingDomain is kept from, because they\n" +
			"failed for good lately or because an admin said so.",
		Args: arguments(cobra.NoArgs), RunE: help,
	}
	c.AddCommand(newSuppressionList(s), newSuppressionAdd(s), newSuppressionRemove(s))
	return c
}

// suppressionPage is what is on the lists of one relay process.
type suppressionPage struct {
	Relay string `json:"relay"`
	admin.SuppressionPage
}

func newSuppressionList(s streams) *cobra.Command {
	var t target
	var o output
	var query admin.SuppressionQuery
	c := &cobra.Command{
		Use:   "list [NAME]",
		Short: "List who is suppressed, until when and why",
		Args:  arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			_, err := t.take(args)
			if query.Limit < 1 || query.Limit > admin.MaxPage {
				err = errors.Join(err, usageError{fmt.Errorf("--limit must be from 1 to %d", admin.MaxPage)})
			}
			if err := errors.Join(err, o.check()); err != nil {
				return err
			}
			values := url.Values{"limit": {strconv.Itoa(query.Limit)}, "domain": {query.Domain}, "after": {query.After}}
			return eachDoor(c, &t, func(d door.Door) (suppressionPage, error) {
				page := suppressionPage{Relay: d.Name}
				return page, d.Get(c.Context(), "/suppressions?"+values.Encode(), &page.SuppressionPage)
			}, func(pages []suppressionPage) error { return printSuppressions(s, o, pages) })
		},
	}
	t.flags(c)
	o.flags(c)
	c.Flags().StringVar(&query.Domain, "domain", "", "a SendingDomain; default all")
	c.Flags().IntVar(&query.Limit, "limit", admin.DefaultPage, fmt.Sprintf("entries per relay process, at most %d", admin.MaxPage))
	c.Flags().StringVar(&query.After, "after", "", "go on after the last entry of the page before (its next)")
	return c
}

// suppressionResult is what became of an order in one relay process.
type suppressionResult struct {
	Relay string `json:"relay"`
	// Until is set by add, Removed by remove.
	Until   *time.Time `json:"until,omitempty"`
	Removed *bool      `json:"removed,omitempty"`
}

// longPeriod is a period of up to ten years.
type longPeriod struct{ period }

// Set implements pflag.Value.
func (p *longPeriod) Set(s string) error {
	return p.parse(s, admin.MaxSuppressionSeconds*time.Second)
}

func newSuppressionAdd(s streams) *cobra.Command {
	var holds longPeriod
	c := newSuppressionOrder(s, "add", "Keep mail of a SendingDomain from a recipient",
		func(c *cobra.Command, d door.Door, order admin.SuppressionOrder) (suppressionResult, error) {
			order.Seconds = int64(time.Duration(holds.period) / time.Second)
			var added admin.Suppression
			err := d.Post(c.Context(), "/suppressions/add", order, &added)
			return suppressionResult{Relay: d.Name, Until: &added.Until}, err
		})
	c.Flags().Var(&holds, "for", "how long: 2h, 30d; default what the SendingDomain says")
	return c
}

func newSuppressionRemove(s streams) *cobra.Command {
	return newSuppressionOrder(s, "remove", "Let mail of a SendingDomain go to a recipient again",
		func(c *cobra.Command, d door.Door, order admin.SuppressionOrder) (suppressionResult, error) {
			result := suppressionResult{Relay: d.Name, Removed: new(bool)}
			var answer struct{ Removed *bool }
			answer.Removed = result.Removed
			return result, d.Post(c.Context(), "/suppressions/remove", order, &answer)
		})
}

// newSuppressionOrder is a command that tells every process of a relay about one recipient.
func newSuppressionOrder(s streams, verb, short string, tell func(*cobra.Command, door.Door, admin.SuppressionOrder) (suppressionResult, error)) *cobra.Command {
	var t target
	var o output
	var order admin.SuppressionOrder
	c := &cobra.Command{
		Use:   verb + " [NAME] ADDRESS --domain DOMAIN",
		Short: short,
		Long:  short + ".\n\nEach process of the relay is told. The act and its reason stand in the relay's log.",
		Args:  arguments(cobra.RangeArgs(1, 2)),
		RunE: func(c *cobra.Command, args []string) error {
			args, err := t.take(args)
			if err := errors.Join(err, o.check()); err != nil {
				return err
			}
			if len(args) != 1 {
				return usageError{errors.New("name one recipient by its address")}
			}
			order.Address = args[0]
			if err := order.Check(); err != nil {
				return usageError{err}
			}
			return eachDoor(c, &t, func(d door.Door) (suppressionResult, error) { return tell(c, d, order) },
				func(results []suppressionResult) error { return printSuppressed(s, o, order, results) })
		},
	}
	t.flags(c)
	o.flags(c)
	c.Flags().StringVar(&order.Domain, "domain", "", "the SendingDomain whose mail it is about; required")
	c.Flags().StringVar(&order.Reason, "reason", "", "why; it stands on the list and in the log")
	return c
}

// eachDoor asks every process of a target and prints the answers of those that gave one.
func eachDoor[A any](c *cobra.Command, t *target, ask func(door.Door) (A, error), show func([]A) error) error {
	doors, err := t.doors(c.Context())
	if err != nil {
		return err
	}
	var answers []A
	var failed error
	for _, d := range doors {
		answer, err := ask(d)
		if err == nil {
			answers = append(answers, answer)
		}
		failed = errors.Join(failed, err)
	}
	return errors.Join(failed, show(answers))
}

func printSuppressions(s streams, o output, pages []suppressionPage) error {
	if o.structured() {
		return o.write(s.out, map[string]any{"relays": pages})
	}
	most := 60
	if o.wide() {
		most = 1000
	}
	var rows [][]string
	for _, p := range pages {
		for _, e := range p.Entries {
			rows = append(rows, []string{p.Relay, e.Domain, e.Address, e.Until.UTC().Format(time.RFC3339), elide(e.Reason, most)})
		}
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(s.err, "Nobody is suppressed.")
		return err
	}
	if err := table(s.out, []string{"RELAY", "DOMAIN", "RECIPIENT", "UNTIL", "WHY"}, rows); err != nil {
		return err
	}
	for _, p := range pages {
		if p.Next != "" {
			fmt.Fprintf(s.err, "%s has more: go on with --after %s\n", p.Relay, p.Next)
		}
	}
	return nil
}

func printSuppressed(s streams, o output, order admin.SuppressionOrder, results []suppressionResult) error {
	if o.structured() {
		return o.write(s.out, map[string]any{"relays": results})
	}
	for _, r := range results {
		what := "was not suppressed"
		switch {
		case r.Until != nil:
			what = "is suppressed until " + r.Until.UTC().Format(time.RFC3339)
		case *r.Removed:
			what = "goes out again"
		}
		fmt.Fprintf(s.out, "%s: mail of %s to %s %s\n", r.Relay, order.Domain, order.Address, what)
	}
	return nil
}
