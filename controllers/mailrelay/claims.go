package mailrelay

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/desired"
)

// claimOf is the volume claim of an ordinal; nil if there is none.
func (p *pass) claimOf(ordinal int32) *corev1.PersistentVolumeClaim {
	for i := range p.seen.claims {
		c := &p.seen.claims[i]
		if o, ok := ordinalOf(c.Name, desired.ClaimPrefix(p.relay.Name)); ok && o == ordinal {
			return c
		}
	}
	return nil
}

// neverUsed says that an ordinal has no volume that could hold mail: no claim, or one that was never bound.
func (p *pass) neverUsed(ordinal int32) bool {
	c := p.claimOf(ordinal)
	return c == nil || c.Status.Phase == corev1.ClaimPending && c.Spec.VolumeName == ""
}

// growClaims asks for the size in the spec where a claim asks for less. Only a bound claim can grow.
func (p *pass) growClaims(ctx context.Context) error {
	want := p.relay.Spec.Queue.Storage.Size
	for i := range p.seen.claims {
		c := &p.seen.claims[i]
		have := c.Spec.Resources.Requests[corev1.ResourceStorage]
		if c.Status.Phase != corev1.ClaimBound || c.DeletionTimestamp != nil || have.Cmp(want) >= 0 {
			continue
		}
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"resources": map[string]any{"requests": map[string]string{"storage": want.String()}}}})
		if err != nil {
			return err
		}
		err = p.Client.Patch(ctx, c.DeepCopy(), client.RawPatch(types.MergePatchType, patch), client.FieldOwner(apply.FieldOwner))
		if err != nil {
			return p.refusal(fmt.Errorf("growing volume claim %s to %s: %w", c.Name, want.String(), err))
		}
	}
	return nil
}

// doomed says that the claim of an ordinal is being deleted: it goes when its pod ends, with all that is in it.
func (p *pass) doomed(ordinal int32) bool {
	c := p.claimOf(ordinal)
	return c != nil && c.DeletionTimestamp != nil
}

// resizing says that a volume is smaller than its claim asks for.
func (p *pass) resizing() bool {
	for _, c := range p.seen.claims {
		asked, has := c.Spec.Resources.Requests[corev1.ResourceStorage], c.Status.Capacity[corev1.ResourceStorage]
		if c.Status.Phase == corev1.ClaimBound && has.Cmp(asked) < 0 {
			return true
		}
	}
	return false
}
