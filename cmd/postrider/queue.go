package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/cmd/postrider/door"
	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/envelope"
)

func newQueue(s streams) *cobra.Command {
	c := &cobra.Command{Use: "queue", Short: "The queue of a relay: list, show, flush, hold, release, delete, bounce", Args: arguments(cobra.NoArgs), RunE: help}
	c.AddCommand(newQueueList(s), newQueueShow(s))
	for _, act := range []struct {
		act   admin.Act
		short string
	}{
		{admin.Flush, "Attempt messages now"},
		{admin.Hold, "Keep messages back until they are released"},
		{admin.Release, "Let held messages go"},
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
				if err := d.Get(c.Context(), "/queue?"+values.Encode(), &pages[i].Page); err != nil {
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
	return queueDetail{}, errors.Join(failed, fmt.Errorf("message %s is not in the queue: it may have been delivered, have failed or been removed; the relay's log says which", id))
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
	c := &cobra.Command{
		Use:   string(act) + " [NAME] [ID]",
		Short: short,
		Long:  short + ".\n\nSelect them by spool id, by --domain, by --sender, or --all; several selections must all hold.\nThe act, its selection and its reason stand in the relay's log.",
		Args:  arguments(cobra.MaximumNArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			args, err := t.take(args)
			if err == nil {
				err = selectIDs(&selection, args)
			}
			if err := errors.Join(err, o.check()); err != nil {
				return err
			}
			doors, err := t.doors(c.Context())
			if err != nil {
				return err
			}
			results := make([]actResult, len(doors))
			for i, d := range doors {
				results[i].Relay = d.Name
				err = errors.Join(err, d.Post(c.Context(), "/queue/"+string(act), selection, &results[i].Result))
			}
			return errors.Join(err, printResults(s, o, act, results))
		},
	}
	t.flags(c)
	o.flags(c)
	c.Flags().StringVar(&selection.Domain, "domain", "", "recipients' domain")
	c.Flags().StringVar(&selection.Sender, "sender", "", "reverse path, or its domain")
	c.Flags().BoolVar(&selection.All, "all", false, "the whole queue")
	c.Flags().StringVar(&selection.Reason, "reason", "", "why; it stands in the log and with held messages")
	return c
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
