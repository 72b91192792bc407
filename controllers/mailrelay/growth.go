package mailrelay

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/condition"
)

// askAgain is how soon a claim that the API server does not let grow is tried again.
const askAgain = time.Minute

// refusedGrowth is that the API server does not let claims grow.
type refusedGrowth struct {
	size resource.Quantity
	why  string
	at   time.Time
}

// grow makes volumes as large as the spec says: first the claims that there are, then, since the claims of pods to come are made
// from a template that cannot change, the StatefulSet anew, while its pods go on. Each step sees from what there is
// whether it is done, so that whoever comes next goes on with it.
func (p *pass) grow(ctx context.Context) error {
	if p.relay.DeletionTimestamp != nil {
		return nil
	}
	if err := p.growClaims(ctx); err != nil || p.memory.growth.why != "" {
		return err
	}
	return p.letGoOfStatefulSet(ctx)
}

// growClaims asks for the size in the spec where a claim asks for less. Only a bound claim can grow.
func (p *pass) growClaims(ctx context.Context) error {
	want, last := p.relay.Spec.Queue.Storage.Size, p.memory.growth
	if last.why != "" && last.size.Cmp(want) == 0 && p.now.Sub(last.at) < askAgain {
		return nil
	}
	p.memory.growth = refusedGrowth{}
	for i := range p.seen.claims {
		c := &p.seen.claims[i]
		if c.Status.Phase != corev1.ClaimBound || c.DeletionTimestamp != nil || c.Spec.Resources.Requests.Storage().Cmp(want) >= 0 {
			continue
		}
		err := p.growClaim(ctx, c, want)
		if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
			p.memory.growth = refusedGrowth{size: want, why: sentence(err.Error()), at: p.now}
			return nil
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("growing volume claim %s to %s: %w", c.Name, want.String(), err)
		}
	}
	return nil
}

func (p *pass) growClaim(ctx context.Context, c *corev1.PersistentVolumeClaim, want resource.Quantity) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"resources": map[string]any{"requests": map[string]string{"storage": want.String()}}}})
	if err != nil {
		return err
	}
	return p.Client.Patch(ctx, c.DeepCopy(), client.RawPatch(types.MergePatchType, patch), client.FieldOwner(apply.FieldOwner))
}

// letGoOfStatefulSet deletes a StatefulSet whose template asks for less than the spec, and leaves its pods. The next look
// makes it again, and it takes them up. Meanwhile no pod that ends comes back, so nothing else must be under way.
func (p *pass) letGoOfStatefulSet(ctx context.Context) error {
	s := p.seen.statefulSet
	size := p.claimSize()
	if s == nil || s.DeletionTimestamp != nil || size == nil || size.Cmp(p.relay.Spec.Queue.Storage.Size) >= 0 || !p.still() {
		return nil
	}
	log.FromContext(ctx).Info("making the StatefulSet anew for larger volumes; its pods stay", "from", size.String(), "to", p.relay.Spec.Queue.Storage.Size.String())
	p.memory.template = p.template()
	err := p.Client.Delete(ctx, s.DeepCopy(), client.Preconditions{UID: &s.UID}, client.PropagationPolicy(metav1.DeletePropagationOrphan))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting the StatefulSet, without its pods: %w", err)
	}
	return nil
}

// still says that all pods there shall be are there, and no other.
func (p *pass) still() bool {
	for _, pod := range p.seen.pods {
		if pod.surplus || pod.DeletionTimestamp != nil || !pod.updated {
			return false
		}
	}
	return int32(len(p.seen.pods)) == p.keep() && p.current() == p.keep()
}

// detached says that the StatefulSet is away, or about to be, and pods are there.
func (p *pass) detached() bool {
	s := p.seen.statefulSet
	return len(p.seen.pods) > 0 && (s == nil || s.DeletionTimestamp != nil)
}

// sizes says how the size of the volumes compares with that in the spec.
func (p *pass) sizes() condition.Volumes {
	v := condition.Volumes{Growing: p.detached() || p.resizing(), Refused: p.memory.growth.why}
	if size := p.claimSize(); size != nil {
		switch size.Cmp(p.relay.Spec.Queue.Storage.Size) {
		case -1:
			v.Growing = true
		case 1:
			v.Larger = size.String()
		}
	}
	return v
}

// resizing says that a volume is smaller than its claim asks for.
func (p *pass) resizing() bool {
	for i := range p.seen.claims {
		c := &p.seen.claims[i]
		if has := c.Status.Capacity[corev1.ResourceStorage]; c.Status.Phase == corev1.ClaimBound && has.Cmp(*c.Spec.Resources.Requests.Storage()) < 0 {
			return true
		}
	}
	return false
}
