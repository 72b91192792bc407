package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/api/v1alpha1"
)

func newDrain(out streams) *cobra.Command {
	return newSteering(&cobra.Command{
		Use:   "drain NAME [POD]",
		Short: "Empty a pod, or a whole relay, and keep it empty until it is uncordoned",
		Long: `Empty a pod: the operator cordons it and has it hand what it has to the pods that serve, over mutual TLS, each message with its
due times, attempts, holds and directives, none lost and none twice, as in a scale-down. The pod and its volume stay, empty,
until postrider uncordon. Where spec.drain.onScaleDown is Deliver, or no other pod serves, it delivers its mail itself instead.

Without POD the whole relay is emptied: all pods take no new mail and deliver what they have, for there is nobody to hand it
to. Mail that stays deferred or is held keeps it waiting.

To make a relay smaller, lower spec.replicas: the operator does all this by itself, and the pod goes. To empty a pod before its
node is drained there is no need: kubectl drain moves the pod with its volume, and mail waits that long.

It is recorded as the annotation drain.postrider.dev/POD of the MailRelay, and goes on when this command ends.`,
		Example: "  kubectl postrider drain -n mail mx1 mx1-2 --reason 'its volume is replaced'",
		Args:    cobra.RangeArgs(1, 2),
	}, drainWait, runDrain(out))
}

func runDrain(out streams) func(c *cobra.Command, s *steering, args []string) error {
	return func(c *cobra.Command, s *steering, args []string) error {
		if err := s.ready(out); err != nil {
			return err
		}
		at, relay, pods, err := s.pods(c.Context(), args)
		if err != nil {
			return err
		}
		all := len(args) == 1
		if err := s.askDrain(out, relay, pods, all); err != nil {
			return err
		}
		prefix := v1alpha1.DrainAnnotation
		if all {
			prefix = v1alpha1.CordonAnnotation
		}
		annotations := map[string]any{}
		for _, pod := range pods {
			annotations[prefix+pod] = s.why("drained")
		}
		if err := s.annotate(c.Context(), at, relay, annotations); err != nil {
			return err
		}
		done := steered{Relay: relay.Name, Pods: pods, Did: "drained", DryRun: s.dryRun, Notes: notes(relay)}
		if s.dryRun || len(done.Notes) > 0 {
			return s.print(out, done)
		}
		if err := s.until(c.Context(), at, relay.Name, drained(out, pods)); err != nil {
			return err
		}
		return s.print(out, done)
	}
}

// askDrain asks before mail is moved, with what is to be moved where.
func (s *steering) askDrain(out streams, relay *v1alpha1.MailRelay, pods []string, all bool) error {
	if s.dryRun {
		return nil
	}
	others := takers(relay, pods)
	switch {
	case all:
		return s.ask(out, fmt.Sprintf("%s takes no mail until it is uncordoned, and delivers the %s in its queue. Go on?", relay.Name, queuedIn(relay, pods)))
	case len(others) == 0:
		return s.ask(out, fmt.Sprintf("No other pod of %s takes mail: %s delivers the %s in its queue itself, and clients cannot hand over any. Go on?", relay.Name, pods[0], queuedIn(relay, pods)))
	}
	return s.ask(out, fmt.Sprintf("%s takes no mail until it is uncordoned, and hands the %s in its queue to %s. Go on?",
		pods[0], queuedIn(relay, pods), several(len(others), "other pod")))
}

// queuedIn is what pods had in their queues when the operator last asked.
func queuedIn(relay *v1alpha1.MailRelay, pods []string) string {
	var sum int64
	for _, p := range relay.Status.Pods {
		switch {
		case !slices.Contains(pods, p.Name):
		case p.Queued == nil:
			return "unknown number of recipients"
		default:
			sum += *p.Queued
		}
	}
	return several(int(sum), "recipient")
}

// drained follows the emptying of pods and prints each step.
func drained(out streams, pods []string) func(*v1alpha1.MailRelay) (bool, string) {
	last := ""
	return func(relay *v1alpha1.MailRelay) (bool, string) {
		now, err := drainStep(relay, pods)
		if err == nil {
			return true, ""
		}
		if now != last {
			fmt.Fprintln(out.err, now)
			last = now
		}
		return false, now
	}
}

// errDraining says that a pod is not empty yet.
var errDraining = errors.New("not empty yet")

// drainStep says how far the emptying of pods is; nil when they are empty and take nothing.
func drainStep(relay *v1alpha1.MailRelay, pods []string) (string, error) {
	d, seen := relay.Status.Draining, 0
	for _, p := range relay.Status.Pods {
		if !slices.Contains(pods, p.Name) {
			continue
		}
		seen++
		queued := "an unknown number of"
		if p.Queued != nil {
			queued = strconv.FormatInt(*p.Queued, 10)
		}
		step := string(p.State)
		if d != nil && d.Pod == p.Name {
			if step = string(d.Step); d.Problem != "" {
				step += " (" + printable(d.Problem) + ")"
			}
		}
		if p.State != v1alpha1.PodCordoned || p.Queued == nil || *p.Queued > 0 {
			return fmt.Sprintf("%s: %s, %s recipients left", p.Name, step, queued), errDraining
		}
	}
	if seen < len(pods) {
		return "waiting for the operator to see all pods", errDraining
	}
	return "", nil
}
