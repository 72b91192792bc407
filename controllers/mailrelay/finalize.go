package mailrelay

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/desired"
)

const (
	// finalizer keeps a MailRelay until its mail has gone, or its claims are known to be kept.
	finalizer = "postrider.dev/mailrelay"
	// patience is how long pods that need not stay are waited for. One that still ends an SMTP transaction after that ends
	// it without its MailRelay: its claim is kept.
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

// finalize scales a relay that is being deleted down to no pod at all, by the same steps as any other scale-down, and
// lets it go when the last has ended; its objects go with it. What differs is only when a pod may go: spec.drain says, at
// any moment anew.
//
// Pods end before the StatefulSet goes: its controller, seeing a pod end and not yet that the set is gone, would
// make both pod and claim again.
func (p *pass) finalize(ctx context.Context) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(p.relay, finalizer) || p.memory.released {
		return ctrl.Result{}, nil
	}
	ends, err := p.namespaceEnds(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	if ends {
		return ctrl.Result{}, p.abandon(ctx)
	}
	result, err := p.run(ctx)
	if err != nil || p.count > 0 {
		p.memory.ending = time.Time{}
		return result, err
	}
	if p.memory.ending.IsZero() {
		p.memory.ending = p.now
	}
	if !p.ended() && p.now.Sub(p.memory.ending) < patience {
		return ctrl.Result{RequeueAfter: hurry}, nil
	}
	if err := p.settleClaims(ctx); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, p.release(ctx)
}

// ended says that there are no pods, and that the StatefulSet's controller makes no more.
func (p *pass) ended() bool {
	s := p.seen.statefulSet
	none := s == nil || s.Spec.Replicas != nil && *s.Spec.Replicas == 0 && s.Status.ObservedGeneration >= s.Generation && s.Status.Replicas == 0
	return none && len(p.seen.pods) == 0
}

// settleClaims deletes the claims that hold nothing, unless all are to be retained, and tells which are kept because they
// hold mail, or may. A MailRelay of the same name takes these up.
func (p *pass) settleClaims(ctx context.Context) error {
	var left []string
	for i := range p.seen.claims {
		c := &p.seen.claims[i]
		ordinal, ours := ordinalOf(c.Name, desired.ClaimPrefix(p.relay.Name))
		if !ours || c.DeletionTimestamp != nil {
			continue
		}
		if p.neverUsed(ordinal) || p.markOf(c) == empty {
			if err := p.settleEmpty(ctx, c); err != nil {
				return err
			}
			continue
		}
		queued := p.held(c, ordinal)
		if p.markOf(c) != kept {
			if err := p.mark(ctx, c, kept, queued); err != nil {
				return err
			}
		}
		left = append(left, c.Name+" ("+count(queued)+")")
	}
	if len(left) > 0 {
		p.Events.Eventf(p.relay, nil, corev1.EventTypeWarning, "ClaimsKept", p.action(),
			"These volume claims are kept, for they hold mail, or may: %s. A MailRelay made again as %s takes them up.", strings.Join(left, ", "), p.relay.Name)
	}
	return nil
}

func (p *pass) settleEmpty(ctx context.Context, c *corev1.PersistentVolumeClaim) error {
	if p.relay.Spec.Queue.Storage.Reclaim != v1alpha1.ReclaimWhenDrained || p.keepsAll() {
		return nil
	}
	if err := p.secure(ctx, c, false); err != nil {
		return err
	}
	return p.deleteClaim(ctx, c)
}

// keepsAll says that the relay is being deleted, and all its claims are to stay.
func (p *pass) keepsAll() bool {
	return p.relay.DeletionTimestamp != nil && p.relay.Spec.Drain.OnDelete == v1alpha1.DeleteRetain
}

// count says how many recipients a claim holds.
func count(queued *int64) string {
	if queued == nil {
		return "how many recipients is not known"
	}
	return fmt.Sprintf("%d recipients when last asked", *queued)
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

// action is what pods go for, in events.
func (p *pass) action() string {
	if p.relay.DeletionTimestamp != nil {
		return "Delete"
	}
	return "ScaleDown"
}
