package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/cmd/postrider/local"
	"github.com/postrider/postrider/controllers/claim"
	"github.com/postrider/postrider/controllers/manifest"
	"github.com/postrider/postrider/relay/status"
)

// relayReport is what `postrider status` tells.
type relayReport struct {
	// Objects are the MailRelay, its SendingDomains and its RateLimitPolicies, with their status.
	Objects []runtime.Object `json:"objects"`
	// Relays are what the relay processes say of themselves, now.
	Relays []status.Status `json:"relays"`
}

func newStatus(s streams) *cobra.Command {
	var t target
	var o output
	c := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show a relay, its domains and policies, and why mail waits",
		Args:  arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := t.take(args); err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return err
			}
			objects, err := t.objects(c.Context())
			if err != nil {
				return err
			}
			relays, askErr := t.reports(c.Context())
			return errors.Join(printStatus(s, o, relayReport{Objects: objects, Relays: relays}), askErr)
		},
	}
	t.flags(c)
	o.flags(c)
	return c
}

// objects are the resources the target consists of.
func (t *target) objects(ctx context.Context) ([]runtime.Object, error) {
	if t.dataDir != "" {
		return local.Observe(ctx, t.dataDir, t.name, time.Now())
	}
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	relay, err := c.relay(ctx, t.name)
	if err != nil {
		return nil, err
	}
	domains, err := c.domains(ctx, t.name)
	if err != nil {
		return nil, err
	}
	policies, err := c.policies(ctx, t.name, domains)
	return slices.Concat([]runtime.Object{relay}, domains, policies), err
}

// domains are the SendingDomains that name a relay.
func (c *cluster) domains(ctx context.Context, relay string) ([]runtime.Object, error) {
	var list v1alpha1.SendingDomainList
	if err := c.List(ctx, &list, client.InNamespace(c.namespace)); err != nil {
		return nil, err
	}
	var found []runtime.Object
	for i := range list.Items {
		if d := &list.Items[i]; claim.Relay(d) == (client.ObjectKey{Namespace: c.namespace, Name: relay}) {
			d.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("SendingDomain"))
			found = append(found, d)
		}
	}
	return found, nil
}

// policies are the RateLimitPolicies that target a relay or one of its domains.
func (c *cluster) policies(ctx context.Context, relay string, domains []runtime.Object) ([]runtime.Object, error) {
	targets := []v1alpha1.TargetReference{{Kind: v1alpha1.TargetMailRelay, Name: v1alpha1.ObjectName(relay)}}
	for _, d := range domains {
		name := d.(*v1alpha1.SendingDomain).Name
		targets = append(targets, v1alpha1.TargetReference{Kind: v1alpha1.TargetSendingDomain, Name: v1alpha1.ObjectName(name)})
	}
	var list v1alpha1.RateLimitPolicyList
	if err := c.List(ctx, &list, client.InNamespace(c.namespace)); err != nil {
		return nil, err
	}
	var found []runtime.Object
	for i := range list.Items {
		p := &list.Items[i]
		if slices.ContainsFunc(p.Spec.TargetRefs, func(r v1alpha1.TargetReference) bool { return slices.Contains(targets, r) }) {
			p.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RateLimitPolicy"))
			found = append(found, p)
		}
	}
	return found, nil
}

// reports asks every relay process. Those that answer are returned besides the error about the others.
func (t *target) reports(ctx context.Context) ([]status.Status, error) {
	doors, err := t.doors(ctx)
	if err != nil {
		return nil, err
	}
	var reports []status.Status
	var failed error
	for _, d := range doors {
		var one status.Status
		if err := d.Get(ctx, "/status", &one); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		reports = append(reports, one)
	}
	return reports, failed
}

func printStatus(s streams, o output, r relayReport) error {
	if o.structured() {
		return o.write(s.out, r)
	}
	kinds, err := manifest.NewKinds()
	if err != nil {
		return err
	}
	if err := kinds.Print(s.out, r.Objects, o.wide()); err != nil {
		return err
	}
	return printTree(s, o, r, time.Now())
}
