package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/api/v1alpha1"
)

const (
	// lookEvery is how often a command that waits looks at the MailRelay.
	lookEvery = time.Second
	// cordonWait is how long cordon and uncordon wait for the operator, drainWait how long drain does for mail.
	cordonWait = 30 * time.Second
	drainWait  = time.Hour
)

// newSteering is a command about pods of a relay.
func newSteering(c *cobra.Command, wait time.Duration, run func(c *cobra.Command, s *steering, args []string) error) *cobra.Command {
	s := &steering{wait: period(wait)}
	c.Args = arguments(c.Args)
	c.RunE = func(c *cobra.Command, args []string) error { return run(c, s, args) }
	s.flags(c)
	c.Flags().StringVar(&s.reason, "reason", "", "why; it stands on the MailRelay and in its events")
	c.Flags().Var(&s.wait, "wait", "how long to wait until it is so; 1s for hardly at all")
	return c
}

func newCordon(out streams) *cobra.Command {
	return newSteering(&cobra.Command{
		Use:   "cordon NAME POD...",
		Short: "Have pods take no new mail; they deliver what they have",
		Long: `Have pods take no new mail: the operator takes them out of the Service and has them answer new sessions with 421. They
deliver what they have. It is recorded as the annotation cordon.postrider.dev/POD of the MailRelay, with who and why, so that it
outlives the pod, its node and the operator; events tell it.`,
		Example: "  kubectl postrider cordon -n mail mx1 mx1-2 --reason 'its disk is slow'",
		Args:    cobra.MinimumNArgs(2),
	}, cordonWait, func(c *cobra.Command, s *steering, args []string) error {
		at, relay, pods, err := s.pods(c.Context(), args)
		if err != nil {
			return err
		}
		if err := s.leavesTakers(out, relay, pods); err != nil {
			return err
		}
		annotations := map[string]any{}
		for _, pod := range pods {
			annotations[v1alpha1.CordonAnnotation+pod] = s.why("cordoned")
		}
		done := steered{Relay: relay.Name, Pods: pods, Did: "cordoned", DryRun: s.dryRun, Notes: notes(relay)}
		return s.apply(c.Context(), out, at, relay, annotations, done, func(p v1alpha1.PodStatus) bool { return p.State != v1alpha1.PodServing })
	})
}

func newUncordon(out streams) *cobra.Command {
	return newSteering(&cobra.Command{
		Use:   "uncordon NAME [POD...]",
		Short: "Have pods take mail again, all when none is named; ends drain, too",
		Args:  cobra.MinimumNArgs(1),
	}, cordonWait, func(c *cobra.Command, s *steering, args []string) error {
		at, relay, pods, err := s.pods(c.Context(), args)
		if err != nil {
			return err
		}
		annotations := map[string]any{}
		for _, pod := range pods {
			annotations[v1alpha1.CordonAnnotation+pod], annotations[v1alpha1.DrainAnnotation+pod] = nil, nil
		}
		done := steered{Relay: relay.Name, Pods: pods, Did: "uncordoned", DryRun: s.dryRun, Notes: notes(relay)}
		return s.apply(c.Context(), out, at, relay, annotations, done, func(p v1alpha1.PodStatus) bool { return p.State == v1alpha1.PodServing })
	})
}

// pods reads the MailRelay and checks which of its pods are named.
func (s *steering) pods(ctx context.Context, args []string) (*cluster, *v1alpha1.MailRelay, []string, error) {
	at, relay, err := s.find(ctx, args)
	if err != nil {
		return nil, nil, nil, err
	}
	pods, err := chosen(relay, args[1:])
	return at, relay, pods, err
}

// leavesTakers asks before the last pod that takes mail is cordoned.
func (s *steering) leavesTakers(out streams, relay *v1alpha1.MailRelay, pods []string) error {
	if len(takers(relay, pods)) > 0 || s.dryRun {
		return nil
	}
	if err := s.ready(out); err != nil {
		return fmt.Errorf("%w: %w", errNoTaker, err)
	}
	return s.ask(out, "After this no pod of "+relay.Name+" takes mail: clients cannot hand over any until one is uncordoned. Go on?")
}

// apply annotates, waits until the operator has acted, and prints.
func (s *steering) apply(ctx context.Context, out streams, at *cluster, relay *v1alpha1.MailRelay, annotations map[string]any, done steered, is func(v1alpha1.PodStatus) bool) error {
	if err := s.annotate(ctx, at, relay, annotations); err != nil {
		return err
	}
	var waited error
	if !s.dryRun && len(done.Notes) == 0 {
		waited = s.until(ctx, at, relay.Name, func(relay *v1alpha1.MailRelay) (bool, string) {
			var left []string
			for _, p := range relay.Status.Pods {
				if slices.Contains(done.Pods, p.Name) && p.State != v1alpha1.PodUnreachable && !is(p) {
					left = append(left, p.Name+" is "+string(p.State))
				}
			}
			return len(left) == 0, strings.Join(left, ", ")
		})
	}
	return errors.Join(s.print(out, done), waited)
}

// until looks at the MailRelay until something is so. The error says what it is waiting for, and that the operator goes on.
func (s *steering) until(ctx context.Context, at *cluster, name string, is func(*v1alpha1.MailRelay) (done bool, now string)) error {
	deadline := time.Now().Add(time.Duration(s.wait))
	for {
		relay, err := at.relay(ctx, name)
		if err != nil {
			return err
		}
		done, now := is(relay)
		if done {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("it is recorded, and not so after %v: %s. The operator goes on by itself; postrider status shows how far it is", time.Duration(s.wait), now)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it is recorded, and the operator goes on by itself: %w", ctx.Err())
		case <-time.After(lookEvery):
		}
	}
}
