package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/cmd/postrider/door"
	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
)

func newQueue(s streams) *cobra.Command {
	c := &cobra.Command{Use: "queue", Short: "The queue of a relay: look into it, act on mail in it, direct mail for a time", Args: arguments(cobra.NoArgs), RunE: help}
	c.AddCommand(newQueueList(s), newQueueShow(s), newQueueTop(s), newQueueSuspend(s), newQueueResume(s), newQueueDirectives(s), newQueueEnd(s))
	for _, act := range []struct {
		act   admin.Act
		short string
	}{
		{admin.Flush, "Attempt messages now"},
		{admin.Hold, "Keep messages back until they are released"},
		{admin.Release, "Let held messages go, and end the holds that are over just these"},
		{admin.Delete, "Remove messages without notice to their senders"},
		{admin.Bounce, "Fail messages, with a bounce to their senders"},
	} {
		c.AddCommand(newQueueAct(s, act.act, act.short))
	}
	return c
}

// queuePage is what one relay process has in its queue.
type queuePage struct {
	Relay string `json:"relay"`
	admin.Page
}

func newQueueList(s streams) *cobra.Command {
	var t target
	var o output
	var query admin.Query
	var id, held string
	c := &cobra.Command{
		Use:   "ls [NAME]",
		Short: "List the queue, oldest first within a destination",
		Args:  arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := t.take(args); err != nil {
				return err
			}
			query.ID = envelope.ID(id)
			values, err := queryValues(query, held)
			if err := errors.Join(err, o.check()); err != nil {
				return err
			}
			doors, err := t.doors(c.Context())
			if err != nil {
				return err
			}
			pages := make([]queuePage, len(doors))
			for i, d := range doors {
				pages[i].Relay = d.Name
				if pages[i].Page, err = list(c.Context(), d, values, query.Limit); err != nil {
					return err
				}
			}
			return printQueue(s, o, pages)
		},
	}
	t.flags(c)
	o.flags(c)
	c.Flags().StringVar(&query.Domain, "domain", "", "recipients' domain")
	c.Flags().StringVar(&query.Sender, "sender", "", "reverse path, or its domain")
	c.Flags().StringVar(&id, "id", "", "spool id")
	c.Flags().StringVar(&held, "held", "", "true: only held entries; false: only others")
	c.Flags().IntVar(&query.Limit, "limit", admin.DefaultPage, fmt.Sprintf("entries per relay process, at most %d", admin.MaxPage))
	c.Flags().StringVar(&query.After, "after", "", "go on after the last entry of the page before (its next)")
	return c
}

// list asks for pages until there are enough entries. A page may be short: the relay looks at so many entries for each.
func list(ctx context.Context, d door.Door, query url.Values, enough int) (admin.Page, error) {
	var all admin.Page
	query = maps.Clone(query)
	for {
		query.Set("limit", strconv.Itoa(enough-len(all.Entries)))
		var page admin.Page
		if err := d.Get(ctx, "/queue?"+query.Encode(), &page); err != nil {
			return all, err
		}
		all.Entries, all.Next = append(all.Entries, page.Entries...), page.Next
		if page.Next == "" || len(all.Entries) >= enough {
			return all, nil
		}
		query.Set("after", page.Next)
	}
}

func queryValues(q admin.Query, held string) (url.Values, error) {
	if q.Limit < 1 || q.Limit > admin.MaxPage {
		return nil, usageError{fmt.Errorf("--limit must be from 1 to %d", admin.MaxPage)}
	}
	values := url.Values{"limit": {strconv.Itoa(q.Limit)}}
	for key, value := range map[string]string{"id": string(q.ID), "domain": q.Domain, "sender": q.Sender, "after": q.After, "held": held} {
		if value != "" {
			values.Set(key, value)
		}
	}
	return values, nil
}

// queueDetail is one message in the queue of one relay process.
type queueDetail struct {
	Relay string `json:"relay"`
	admin.Detail
}

func newQueueShow(s streams) *cobra.Command {
	var t target
	var o output
	c := &cobra.Command{
		Use:   "show [NAME] ID",
		Short: "Show a message: its recipients, what became of the attempts, its header",
		Args:  arguments(cobra.RangeArgs(1, 2)),
		RunE: func(c *cobra.Command, args []string) error {
			args, err := t.take(args)
			if err := errors.Join(err, o.check()); err != nil {
				return err
			}
			if len(args) != 1 {
				return usageError{errors.New("name one message by its spool id")}
			}
			doors, err := t.doors(c.Context())
			if err != nil {
				return err
			}
			found, err := find(c, doors, args[0])
			if err != nil {
				return err
			}
			return printDetail(s, o, found)
		},
	}
	t.flags(c)
	o.flags(c)
	return c
}

// find looks for a message in every relay process.
func find(c *cobra.Command, doors []door.Door, id string) (queueDetail, error) {
	var failed error
	for _, d := range doors {
		found := queueDetail{Relay: d.Name}
		err := d.Get(c.Context(), "/queue/"+url.PathEscape(id), &found.Detail)
		if err == nil {
			return found, nil
		}
		if !errors.Is(err, door.ErrNotFound) {
			failed = errors.Join(failed, err)
		}
	}
	return queueDetail{}, errors.Join(failed, fmt.Errorf("message %s is not in the queue: postrider trace tells what became of it", id))
}

// actResult is what an act changed in the queue of one relay process.
type actResult struct {
	Relay string `json:"relay"`
	admin.Result
}

func newQueueAct(s streams, act admin.Act, short string) *cobra.Command {
	var t target
	var o output
	var selection admin.Selection
	var holds period
	var allowed consent
	c := &cobra.Command{
		Use:   string(act) + " [NAME] [ID]",
		Short: short,
		Long:  short + ".\n\n" + actHelp(act),
		Args:  arguments(cobra.MaximumNArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			args, err := t.take(args)
			if err == nil {
				err = selectIDs(&selection, args)
			}
			if err := errors.Join(err, o.check()); err != nil {
				return err
			}
			if err := confirmAct(c.Context(), s, &t, allowed, act, selection); err != nil {
				return err
			}
			if holds != 0 && !allowed.dryRun {
				return actForATime(c.Context(), s, &t, o, act, selection, holds)
			}
			selection.DryRun = allowed.dryRun
			results, err := t.act(c.Context(), act, selection)
			return errors.Join(err, printResults(s, o, act, results, allowed.dryRun))
		},
	}
	t.flags(c)
	o.flags(c)
	allowed.flags(c)
	if !destroys(act) {
		_ = c.Flags().MarkHidden("yes") // it is taken, so that scripts can say it everywhere
	}
	c.Flags().StringVar(&selection.Domain, "domain", "", "recipients' domain")
	c.Flags().StringVar(&selection.Sender, "sender", "", "reverse path, or its domain, or a SendingDomain")
	c.Flags().BoolVar(&selection.All, "all", false, "the whole queue")
	c.Flags().StringVar(&selection.Reason, "reason", "", "why; it stands in the log and with held messages")
	if act == admin.Hold || act == admin.Bounce {
		c.Flags().Var(&holds, "for", "also mail to come, for this long: 90m, 2h, 3d; at most 30d")
	}
	return c
}

// destroys says of an act that it cannot be taken back.
func destroys(act admin.Act) bool { return act == admin.Delete || act == admin.Bounce }

// confirmAct asks before an act that cannot be taken back, with what it would change.
func confirmAct(ctx context.Context, s streams, t *target, allowed consent, act admin.Act, selection admin.Selection) error {
	if !destroys(act) || allowed.yes || allowed.dryRun {
		return nil
	}
	if err := allowed.ready(s); err != nil {
		return err
	}
	selection.DryRun = true
	would, err := t.act(ctx, act, selection)
	if err != nil {
		return err
	}
	var sum admin.Result
	for _, r := range would {
		sum.Entries += r.Entries
		sum.Recipients += r.Recipients
	}
	return allowed.ask(s, fmt.Sprintf("%s in %s on %s would be %s, for good. Go on?",
		several(sum.Recipients, "recipient"), several(sum.Entries, "message"), several(len(would), "relay process"), acted(act)))
}

// act has every relay process act.
func (t *target) act(ctx context.Context, act admin.Act, selection admin.Selection) ([]actResult, error) {
	doors, err := t.doors(ctx)
	if err != nil {
		return nil, err
	}
	results := make([]actResult, len(doors))
	for i, d := range doors {
		results[i].Relay = d.Name
		err = errors.Join(err, d.Post(ctx, "/queue/"+string(act), selection, &results[i].Result))
	}
	return results, err
}

// actHelp says how an act is used.
func actHelp(act admin.Act) string {
	help := "Select them by spool id, by --domain, by --sender, or --all; several selections must all hold.\n" +
		"The act, its selection and its reason stand in the relay's log."
	switch act {
	case admin.Hold:
		help += "\n\nWith --for, mail to come is held, too, until that time is over, or until postrider queue release."
	case admin.Bounce:
		help += "\n\nWith --for, mail to come is refused at RCPT, too, or fails where only its content says that it is meant."
	case admin.Release:
		help += "\n\nA hold for a time with the same --domain and --sender ends; with --all, every one does."
	}
	return help
}

// actForATime makes an act a directive.
func actForATime(ctx context.Context, s streams, t *target, o output, act admin.Act, selection admin.Selection, holds period) error {
	if selection.ID != "" {
		return usageError{errors.New("--for is about mail to come: select it by --domain, --sender or --all")}
	}
	scope := directive.Scope{Domain: selection.Domain, Sender: selection.Sender, All: selection.All}
	told, err := order(t, directive.Act(act), scope, holds, selection.Reason)
	if err != nil {
		return err
	}
	done, err := t.direct(ctx, told)
	return errors.Join(err, printDirected(s, o, done))
}

func selectIDs(selection *admin.Selection, args []string) error {
	if len(args) > 1 {
		return usageError{errors.New("name at most one message")}
	}
	if len(args) == 1 {
		selection.ID = envelope.ID(args[0])
	}
	if selection.ID == "" && selection.Domain == "" && selection.Sender == "" && !selection.All {
		return usageError{errors.New("nothing is selected: give a spool id, --domain, --sender or --all")}
	}
	return nil
}
