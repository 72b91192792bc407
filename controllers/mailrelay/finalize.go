package mailrelay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/relay/status"
)

const (
	// finalizer keeps a MailRelay until it is known which of its claims hold mail.
	finalizer = "postrider.dev/mailrelay"
	// patience is how long a relay that is being deleted is asked; then what is unknown counts as mail. Its pods get
	// as long again to end.
	patience = time.Minute
)

func (p *pass) ensureFinalizer(ctx context.Context) error {
	old := p.relay.DeepCopy()
	if !controllerutil.AddFinalizer(p.relay, finalizer) {
		return nil
	}
	if err := p.Client.Patch(ctx, p.relay, client.MergeFrom(old), client.FieldOwner(apply.FieldOwner)); err != nil {
		return fmt.Errorf("adding the finalizer: %w", err)
	}
	return nil
}

// finalize cordons all pods, finds out which of them hold mail, deletes the claims of those that don't, ends
// the pods, and lets the relay go; its objects go with it. Claims that hold mail, or may, stay: a MailRelay of
// the same name takes them up.
//
// Pods end before the StatefulSet goes: its controller, seeing a pod end and not yet that the set is gone, would
// make both pod and claim again.
func (p *pass) finalize(ctx context.Context) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(p.relay, finalizer) || p.memory.released {
		return ctrl.Result{}, nil
	}
	input, facts, err := p.gather(ctx)
	if err == nil {
		err = p.converge(ctx, input)
	}
	p.probe(ctx)
	err = errors.Join(err, p.follow(ctx))
	if !p.memory.ending && p.undecided() || p.memory.ending && p.stillEnding() {
		return ctrl.Result{RequeueAfter: hurry}, errors.Join(err, p.report(ctx, facts))
	}
	if err != nil {
		log.FromContext(ctx).Error(err, "the relay goes all the same: what is not known to be empty is kept")
	}
	if p.memory.ending {
		return ctrl.Result{}, p.release(ctx)
	}
	if err := p.settleClaims(ctx); err != nil {
		return ctrl.Result{}, err
	}
	p.memory.ending = true
	return ctrl.Result{RequeueAfter: time.Millisecond}, nil
}

// stillEnding says that pods are there, and that there is time to wait for their end.
func (p *pass) stillEnding() bool {
	return len(p.seen.pods) > 0 && p.now.Sub(p.relay.DeletionTimestamp.Time) < 2*patience
}

// undecided says that a pod may still turn out to be empty, and that there is time to wait for it.
func (p *pass) undecided() bool {
	if p.now.Sub(p.relay.DeletionTimestamp.Time) > patience {
		return false
	}
	for _, pod := range p.seen.pods {
		if !p.drained(pod.ordinal) && !holdsMail(p.statuses[pod.Name], p.generation) {
			return true
		}
	}
	return false
}

// holdsMail says that a pod takes nothing new and has mail.
func holdsMail(s *status.Status, generation int64) bool {
	return s != nil && s.Generation >= generation && s.Queue.Queued > 0
}

func (p *pass) settleClaims(ctx context.Context) error {
	var kept []string
	for i := range p.seen.claims {
		c := &p.seen.claims[i]
		ordinal, ours := ordinalOf(c.Name, desired.ClaimPrefix(p.relay.Name))
		switch {
		case !ours || c.DeletionTimestamp != nil:
		case p.drained(ordinal) && p.relay.Spec.Queue.Storage.Reclaim == v1alpha1.ReclaimWhenDrained:
			if err := p.Applier.Delete(ctx, c); err != nil {
				return err
			}
		default:
			kept = append(kept, c.Name)
		}
	}
	if len(kept) > 0 {
		p.Events.Eventf(p.relay, nil, corev1.EventTypeWarning, "ClaimsKept", "Delete",
			"These volume claims are kept, for they may hold mail: %s. A MailRelay made again as %s takes them up.", strings.Join(kept, ", "), p.relay.Name)
	}
	return nil
}

func (p *pass) release(ctx context.Context) error {
	old := p.relay.DeepCopy()
	controllerutil.RemoveFinalizer(p.relay, finalizer)
	err := p.Client.Patch(ctx, p.relay, client.MergeFrom(old), client.FieldOwner(apply.FieldOwner))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("removing the finalizer: %w", err)
	}
	p.memory.released = true
	return nil
}
