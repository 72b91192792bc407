package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/cmd/postrider/heat"
	"github.com/postrider/postrider/relay/admin"
)

// ages asks every process of the target. Those that answer are joined besides the error about the others.
func (t *target) ages(ctx context.Context, limit int) (heat.Map, error) {
	doors, err := t.doors(ctx)
	if err != nil {
		return heat.Map{}, err
	}
	var all heat.Map
	var failed error
	for _, d := range doors {
		var one admin.Ages
		if err := d.Get(ctx, "/queue/ages?limit="+strconv.Itoa(limit), &one); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		all.Add(one)
	}
	all.Cut(limit)
	return all, failed
}

func newQueueTop(s streams) *cobra.Command {
	var t target
	var o output
	var once bool
	var every time.Duration
	var limit int
	c := &cobra.Command{
		Use:   "top [NAME]",
		Short: "Watch the queue: how many messages of which age wait for which destination, and why",
		Long: `Watch the queue: how many messages of which age wait for which destination, and why, those that have waited longest first.
It is drawn anew until you press Ctrl-C; with --once, with -o json or yaml, and where there is no terminal, it is printed once.`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			_, err := t.take(args)
			if limit < 1 || limit > admin.DefaultPage {
				err = errors.Join(err, usageError{fmt.Errorf("--limit must be from 1 to %d", admin.DefaultPage)})
			}
			if every < time.Second {
				err = errors.Join(err, usageError{errors.New("--every must be 1s or more")})
			}
			if err := errors.Join(err, o.check()); err != nil {
				return err
			}
			if once || o.structured() || !isTerminal(s.out) {
				all, err := t.ages(c.Context(), limit)
				return errors.Join(printAges(s.out, o, all, time.Now()), err)
			}
			watch(c.Context(), s, &t, o, limit, every)
			return nil
		},
	}
	t.flags(c)
	o.flags(c)
	c.Flags().BoolVar(&once, "once", false, "print it once")
	c.Flags().DurationVar(&every, "every", 2*time.Second, "how often it is drawn anew")
	c.Flags().IntVar(&limit, "limit", 20, fmt.Sprintf("destinations, at most %d", admin.DefaultPage))
	return c
}

// clearScreen moves a terminal's cursor home and clears what was there (ECMA-48).
const clearScreen = "\x1b[H\x1b[2J"

// watch draws until the user has seen enough.
func watch(ctx context.Context, s streams, t *target, o output, limit int, every time.Duration) {
	for ctx.Err() == nil {
		all, err := t.ages(ctx, limit)
		if ctx.Err() != nil {
			break
		}
		now := time.Now()
		fmt.Fprintf(s.out, "%s%s  %s\n\n", clearScreen, now.UTC().Format(time.DateTime+"Z"), queueText(all.Queue, now))
		if err := errors.Join(err, printAges(s.out, o, all, now)); err != nil {
			fmt.Fprintln(s.err, "Error:", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
	}
}

func printAges(w io.Writer, o output, all heat.Map, now time.Time) error {
	if o.structured() {
		return o.write(w, all)
	}
	if len(all.Destinations) == 0 {
		_, err := fmt.Fprintln(w, "The queue is empty.")
		return err
	}
	header := slices.Concat([]string{"DESTINATION", "QUEUED", "OLDEST"}, all.Headings(), []string{"WHY", "LAST REPLY"})
	most := 40
	if o.wide() {
		most = 1000
	}
	var rows [][]string
	for _, d := range all.Destinations {
		oldest := ""
		if d.Oldest != nil {
			oldest = ago(*d.Oldest, now)
		}
		row := []string{d.Domain, strconv.FormatInt(d.Queued, 10), oldest}
		for _, cell := range all.Cells(d) {
			row = append(row, cell.String())
		}
		rows = append(rows, append(row, string(d.Reason), elide(d.Reply, most)))
	}
	return table(w, header, rows)
}
