package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
)

// fieldOwner is the name under which the API server notes what this program changes.
const fieldOwner = "kubectl-postrider"

// steering is a command that changes a MailRelay, for the operator to act on.
type steering struct {
	target
	output
	consent
	reason string
	wait   period
}

// flags adds those of all such commands.
func (s *steering) flags(c *cobra.Command) {
	s.clusterFlags(c)
	s.output.flags(c)
	s.consent.flags(c)
}

// steered is what such a command did.
type steered struct {
	Relay string `json:"relay"`
	// Pods are those that it is about; empty for the relay itself.
	Pods []string `json:"pods,omitempty"`
	Did  string   `json:"did"`
	// DryRun says that nothing was done.
	DryRun bool `json:"dryRun,omitempty"`
	// Notes are what the user should know.
	Notes []string `json:"notes,omitempty"`
}

func (s *steering) print(to streams, did steered) error {
	if s.structured() {
		return s.write(to.out, did)
	}
	what := strings.Join(did.Pods, ", ")
	if what == "" {
		what = "MailRelay " + did.Relay
	}
	tense := ""
	if did.DryRun {
		tense = "would be "
	}
	if _, err := fmt.Fprintf(to.out, "%s %s%s\n", what, tense, did.Did); err != nil {
		return err
	}
	for _, note := range did.Notes {
		fmt.Fprintln(to.err, "Note:", note)
	}
	return nil
}

// find reads the MailRelay.
func (s *steering) find(ctx context.Context, args []string) (*cluster, *v1alpha1.MailRelay, error) {
	if err := s.check(); err != nil {
		return nil, nil, err
	}
	c, err := s.connect()
	if err != nil {
		return nil, nil, err
	}
	relay, err := c.relay(ctx, args[0])
	return c, relay, err
}

// patch merges a change into a MailRelay.
func (s *steering) patch(ctx context.Context, c *cluster, relay *v1alpha1.MailRelay, change map[string]any) error {
	data, err := json.Marshal(change)
	if err != nil {
		return err
	}
	options := []client.PatchOption{client.FieldOwner(fieldOwner)}
	if s.dryRun {
		options = append(options, client.DryRunAll)
	}
	if err := c.Patch(ctx, relay, client.RawPatch(types.MergePatchType, data), options...); err != nil {
		return fmt.Errorf("changing MailRelay %s/%s: %w", c.namespace, relay.Name, err)
	}
	return nil
}

// annotate sets annotations, or removes those whose value is nil.
func (s *steering) annotate(ctx context.Context, c *cluster, relay *v1alpha1.MailRelay, annotations map[string]any) error {
	return s.patch(ctx, c, relay, map[string]any{"metadata": map[string]any{"annotations": annotations}})
}

// podNames are the pods that a MailRelay has, or is to have.
func podNames(relay *v1alpha1.MailRelay) []string {
	var names []string
	for ordinal := range relay.Spec.Replicas {
		names = append(names, fmt.Sprintf("%s-%d", relay.Name, ordinal))
	}
	for _, p := range relay.Status.Pods {
		if !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	return names
}

// chosen are the pods that are named, or all when none is.
func chosen(relay *v1alpha1.MailRelay, named []string) ([]string, error) {
	all := podNames(relay)
	if len(named) == 0 {
		return all, nil
	}
	for _, name := range named {
		if !slices.Contains(all, name) {
			return nil, usageError{fmt.Errorf("%s is no pod of MailRelay %s; its pods are %s", name, relay.Name, strings.Join(all, ", "))}
		}
	}
	return named, nil
}

// takers are the pods that would take mail after some were cordoned.
func takers(relay *v1alpha1.MailRelay, cordoned []string) []string {
	return slices.DeleteFunc(podNames(relay), func(pod string) bool {
		_, is := relay.Annotations[v1alpha1.CordonAnnotation+pod]
		_, drained := relay.Annotations[v1alpha1.DrainAnnotation+pod]
		return is || drained || slices.Contains(cordoned, pod)
	})
}

// why is what the annotation says: who, and for what.
func (s *steering) why(context string) string {
	who := cmp.Or(s.who(), "somebody")
	return who + ": " + cmp.Or(s.reason, context)
}

// notes are what the user should know of a relay before counting on the operator.
func notes(relay *v1alpha1.MailRelay) []string {
	if relay.Spec.Reconciliation == v1alpha1.ReconciliationPaused {
		return []string{"the MailRelay is paused: the operator acts on this after postrider resume " + relay.Name}
	}
	return nil
}

// gitOps names what applies an object from elsewhere, and would undo a change of its spec; empty when nothing is known to.
func gitOps(o client.Object) string {
	marks := maps.Clone(o.GetLabels())
	if marks == nil {
		marks = map[string]string{}
	}
	maps.Copy(marks, o.GetAnnotations())
	for mark, name := range map[string]string{
		"argocd.argoproj.io/tracking-id": "Argo CD", "argocd.argoproj.io/instance": "Argo CD",
		"kustomize.toolkit.fluxcd.io/name": "Flux", "helm.toolkit.fluxcd.io/name": "Flux",
	} {
		if _, ok := marks[mark]; ok {
			return name
		}
	}
	return ""
}

func newPause(s streams) *cobra.Command {
	return newReconciliation(s, v1alpha1.ReconciliationPaused, "pause NAME", "Have the operator leave a relay as it is; mail goes on",
		`Set spec.reconciliation to Paused: the operator changes nothing of the relay until resume, and goes on to report. Mail goes on:
to stop that, use postrider queue suspend --all (attempts) or postrider cordon (new mail).`, "paused")
}

func newResume(s streams) *cobra.Command {
	return newReconciliation(s, v1alpha1.ReconciliationActive, "resume NAME", "Have the operator take care of a relay again",
		"Set spec.reconciliation to Active: what was changed meanwhile is acted on now. To let suspended mail go, use postrider queue resume.", "resumed")
}

func newReconciliation(out streams, to v1alpha1.Reconciliation, use, short, long, did string) *cobra.Command {
	s := &steering{}
	c := &cobra.Command{Use: use, Short: short, Long: long, Args: arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			at, relay, err := s.find(c.Context(), args)
			if err != nil {
				return err
			}
			done := steered{Relay: relay.Name, Did: did, DryRun: s.dryRun}
			if by := gitOps(relay); by != "" {
				done.Notes = append(done.Notes, by+" applies this MailRelay and may put spec.reconciliation back: say it in its source, too")
			}
			err = s.patch(c.Context(), at, relay, map[string]any{"spec": map[string]any{"reconciliation": to}})
			if err != nil {
				return err
			}
			return s.print(out, done)
		}}
	s.flags(c)
	return c
}

// errNoTaker refuses to leave a relay without a pod that takes mail.
var errNoTaker = errors.New("then no pod would take mail")
