package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/cmd/postrider/door"
	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/directive"
)

// period is a flag for a duration, in which days may stand: 90m, 2h, 3d.
type period time.Duration

// String implements pflag.Value.
func (p *period) String() string {
	if *p == 0 {
		return ""
	}
	return time.Duration(*p).String()
}

// Type implements pflag.Value.
func (p *period) Type() string { return "duration" }

// Set implements pflag.Value.
func (p *period) Set(s string) error { return p.parse(s, directive.MaxDuration) }

func (p *period) parse(s string, most time.Duration) error {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n <= int(most.Hours()/24) {
			*p = period(time.Duration(n) * 24 * time.Hour)
			return nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second || d > most {
		return fmt.Errorf("%q is no time from 1s to %dd, such as 90m, 2h or 3d", s, int(most.Hours()/24))
	}
	*p = period(d)
	return nil
}

// scopeFlags adds the flags that name the mail of a directive.
func scopeFlags(c *cobra.Command, s *directive.Scope) {
	c.Flags().StringVar(&s.Domain, "domain", "", "recipients' domain")
	c.Flags().StringVar(&s.Sender, "sender", "", "reverse path, or its domain, or a SendingDomain")
	c.Flags().BoolVar(&s.All, "all", false, "all mail")
}

// order makes and checks what a relay is told.
func order(t *target, act directive.Act, scope directive.Scope, holds period, reason string) (directive.Order, error) {
	o := directive.Order{Act: act, Scope: scope, Reason: reason, Seconds: int64(time.Duration(holds) / time.Second), By: t.who()}
	if holds == 0 {
		return o, usageError{errors.New("--for is required: how long it holds, such as 2h")}
	}
	if o.Reason == "" {
		return o, usageError{errors.New("--reason is required: it stands wherever the directive shows")}
	}
	if err := o.Check(); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

// who is the user as this machine or the kubeconfig names them.
func (t *target) who() string {
	if t.dataDir == "" {
		if c, err := t.connect(); err == nil {
			return c.user(t.context)
		}
		return ""
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

func (c *cluster) user(context string) string {
	raw, err := c.loader.RawConfig()
	if err != nil {
		return ""
	}
	if context == "" {
		context = raw.CurrentContext
	}
	if named := raw.Contexts[context]; named != nil {
		return named.AuthInfo
	}
	return ""
}

// directed is what a directive changed in one relay process.
type directed struct {
	Relay string `json:"relay"`
	admin.Directed
}

// direct tells every relay process of the target.
func (t *target) direct(ctx context.Context, o directive.Order) ([]directed, error) {
	doors, err := t.doors(ctx)
	if err != nil {
		return nil, err
	}
	done := make([]directed, len(doors))
	for i, d := range doors {
		done[i].Relay = d.Name
		err = errors.Join(err, d.Post(ctx, "/directives", o, &done[i].Directed))
	}
	return done, err
}

func newQueueSuspend(s streams) *cobra.Command {
	var t target
	var o output
	var scope directive.Scope
	var holds period
	var reason string
	c := &cobra.Command{
		Use:   "suspend [NAME] (--domain D | --sender S | --all) --for TIME --reason WHY",
		Short: "Stop attempts for a destination or a sender for a time; mail is accepted and stays queued",
		Long: `Stop attempts for a destination or a sender for a time. Mail is accepted and stays queued. When the time is over, or
at postrider queue resume, it goes. Mail whose max age passes meanwhile fails, and its sender is told.`,
		Example: "  postrider queue suspend mx1 -n mail --domain example.net --for 2h --reason 'their migration'",
		Args:    arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := t.take(args); err != nil {
				return err
			}
			told, err := order(&t, directive.Suspend, scope, holds, reason)
			if err := errors.Join(err, o.check()); err != nil {
				return err
			}
			done, err := t.direct(c.Context(), told)
			return errors.Join(err, printDirected(s, o, done))
		},
	}
	t.flags(c)
	o.flags(c)
	scopeFlags(c, &scope)
	c.Flags().Var(&holds, "for", "how long: 90m, 2h, 3d; at most 30d")
	c.Flags().StringVar(&reason, "reason", "", "why; it stands wherever the directive shows")
	return c
}

func newQueueResume(s streams) *cobra.Command {
	var t target
	var o output
	var scope directive.Scope
	c := &cobra.Command{
		Use:   "resume [NAME] (--domain D | --sender S | --all)",
		Short: "End suspensions before their time; what they kept back is due at once",
		Long:  "End suspensions before their time: those of just this scope, or with --all every one. What they kept back is due at once.",
		Args:  arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := t.take(args); err != nil {
				return err
			}
			if !scope.All && scope.Domain == "" && scope.Sender == "" {
				return usageError{errors.New("nothing is named: give --domain, --sender or --all")}
			}
			if err := o.check(); err != nil {
				return err
			}
			done, err := t.end(c.Context(), func(d directive.Directive) bool {
				same := d.Domain == strings.ToLower(scope.Domain) && strings.EqualFold(d.Sender, scope.Sender)
				return d.Act == directive.Suspend && (scope.All || same)
			})
			return errors.Join(err, printDirected(s, o, done))
		},
	}
	t.flags(c)
	o.flags(c)
	scopeFlags(c, &scope)
	return c
}

func newQueueEnd(s streams) *cobra.Command {
	var t target
	var o output
	c := &cobra.Command{
		Use:   "end [NAME] DIRECTIVE",
		Short: "End a directive before its time",
		Long:  "End a directive before its time: what it held is released, what it suspended is due. What it bounced is gone.",
		Args:  arguments(cobra.RangeArgs(1, 2)),
		RunE: func(c *cobra.Command, args []string) error {
			args, err := t.take(args)
			if err := errors.Join(err, o.check()); err != nil {
				return err
			}
			if len(args) != 1 {
				return usageError{errors.New("name one directive; postrider queue directives lists them")}
			}
			done, err := t.end(c.Context(), func(d directive.Directive) bool { return d.ID == args[0] })
			return errors.Join(err, printDirected(s, o, done))
		},
	}
	t.flags(c)
	o.flags(c)
	return c
}

// end ends the directives that are chosen, in every relay process.
func (t *target) end(ctx context.Context, chosen func(directive.Directive) bool) ([]directed, error) {
	doors, err := t.doors(ctx)
	if err != nil {
		return nil, err
	}
	var done []directed
	for _, at := range doors {
		all, listErr := directivesOf(ctx, at)
		err = errors.Join(err, listErr)
		for _, d := range all {
			if !chosen(d) {
				continue
			}
			ended := directed{Relay: at.Name}
			err = errors.Join(err, at.Delete(ctx, "/directives/"+url.PathEscape(d.ID), &ended.Directed))
			done = append(done, ended)
		}
	}
	if len(done) == 0 && err == nil {
		err = errors.New("no such directive is in force; postrider queue directives lists them")
	}
	return done, err
}

func directivesOf(ctx context.Context, d door.Door) ([]directive.Directive, error) {
	var list struct{ Directives []directive.Directive }
	err := d.Get(ctx, "/directives", &list)
	return list.Directives, err
}

// relayDirectives are the directives in force in one relay process.
type relayDirectives struct {
	Relay      string                `json:"relay"`
	Directives []directive.Directive `json:"directives"`
}

func newQueueDirectives(s streams) *cobra.Command {
	var t target
	var o output
	c := &cobra.Command{
		Use:   "directives [NAME]",
		Short: "List what the relay was told to do for a time: suspensions, holds, bounces",
		Args:  arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := t.take(args); err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return err
			}
			doors, err := t.doors(c.Context())
			if err != nil {
				return err
			}
			all := make([]relayDirectives, len(doors))
			for i, d := range doors {
				all[i].Relay = d.Name
				if all[i].Directives, err = directivesOf(c.Context(), d); err != nil {
					return err
				}
			}
			return printDirectives(s, o, all, time.Now())
		},
	}
	t.flags(c)
	o.flags(c)
	return c
}

func printDirectives(s streams, o output, relays []relayDirectives, now time.Time) error {
	if o.structured() {
		return o.write(s.out, map[string]any{"relays": relays})
	}
	var rows [][]string
	for _, r := range relays {
		for _, d := range r.Directives {
			rows = append(rows, []string{
				r.Relay, d.ID, string(d.Act), d.Scope.String(), ago(d.Since, now), d.Until.UTC().Format(time.RFC3339), d.By, d.Reason,
			})
		}
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(s.err, "No directive is in force.")
		return err
	}
	return table(s.out, []string{"RELAY", "ID", "ACT", "SCOPE", "SINCE", "UNTIL", "BY", "REASON"}, rows)
}

func printDirected(s streams, o output, done []directed) error {
	if o.structured() {
		return o.write(s.out, map[string]any{"relays": done})
	}
	for _, d := range done {
		if d.ID == "" {
			continue // that relay answered with an error
		}
		until := "until " + d.Until.UTC().Format(time.RFC3339)
		if d.Ended != nil {
			until = "ended"
		}
		if _, err := fmt.Fprintf(s.out, "%s: directive %s, %s %s, %s; %s in the queue changed\n",
			d.Relay, d.ID, d.Act, printable(d.Scope.String()), until, several(d.Recipients, "recipient")); err != nil {
			return err
		}
	}
	return nil
}
