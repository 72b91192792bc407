package mailrelay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/desired"
)

// formerPolicy, on a PersistentVolume that we set to Retain, holds the reclaim policy that it had.
const formerPolicy = "postrider.dev/reclaim-policy"

// volume is what was done with the volume of a claim.
type volume struct {
	name, claim string
	ordinal     int32
	// retain says that it is to survive its claim.
	retain bool
	// problem is why it may not; empty when all is well.
	problem string
}

// keepVolumes has volumes that may hold mail survive their claims: in a namespace that is being deleted pods go before
// anything else and claims right after them, whatever we do then. What is known to be empty gets its policy back.
func (p *pass) keepVolumes(ctx context.Context) error {
	var failed []error
	for i := range p.seen.claims {
		c := &p.seen.claims[i]
		if c.Status.Phase == corev1.ClaimBound && c.DeletionTimestamp == nil {
			failed = append(failed, p.secure(ctx, c, p.markOf(c) != empty))
		}
	}
	return errors.Join(failed...)
}

// secure has the volume of a claim survive it, or go with it as it would have without us. Where we may not change
// volumes, that is remembered, and the rest goes on.
func (p *pass) secure(ctx context.Context, c *corev1.PersistentVolumeClaim, retain bool) error {
	if c == nil || c.Spec.VolumeName == "" {
		return nil
	}
	ordinal, ours := ordinalOf(c.Name, desired.ClaimPrefix(p.relay.Name))
	if was, done := p.memory.volumes[c.UID]; !ours || done && was.retain == retain {
		return nil
	}
	v := volume{name: c.Spec.VolumeName, claim: c.Name, ordinal: ordinal, retain: retain}
	err := p.setReclaim(ctx, c, retain)
	if apierrors.IsForbidden(err) {
		log.FromContext(ctx).Info("a volume would not survive its claim", "volume", v.name, "claim", v.claim, "error", err.Error())
		v.problem, err = "the operator may not change PersistentVolumes", nil
	}
	if err == nil {
		p.memory.volumes[c.UID] = v
	}
	return err
}

// setReclaim changes the policy of a claim's volume, if that is needed. A policy that somebody else set to Retain stays.
func (p *pass) setReclaim(ctx context.Context, c *corev1.PersistentVolumeClaim, retain bool) error {
	v := &corev1.PersistentVolume{}
	err := p.Live.Get(ctx, client.ObjectKey{Name: c.Spec.VolumeName}, v)
	if apierrors.IsNotFound(err) || err == nil && (v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID != c.UID) {
		return nil // it is not this claim's
	}
	if err != nil {
		return fmt.Errorf("reading volume %s: %w", c.Spec.VolumeName, err)
	}
	if !retain && v.Status.Phase == corev1.VolumeReleased {
		return nil // its claim has gone, whatever we know of it: what was found empty was another
	}
	policy, note := reclaimOf(v, retain)
	if policy == v.Spec.PersistentVolumeReclaimPolicy {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": v.ResourceVersion, "annotations": map[string]any{formerPolicy: note}},
		"spec":     map[string]any{"persistentVolumeReclaimPolicy": policy},
	})
	if err != nil {
		return err
	}
	if err := p.Client.Patch(ctx, v, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(apply.FieldOwner)); err != nil {
		return fmt.Errorf("setting the reclaim policy of volume %s to %s: %w", v.Name, policy, err)
	}
	return nil
}

// reclaimOf is the policy that a volume shall have, and what our note on it shall say: the policy it had, or nothing.
func reclaimOf(v *corev1.PersistentVolume, retain bool) (policy corev1.PersistentVolumeReclaimPolicy, note any) {
	current := v.Spec.PersistentVolumeReclaimPolicy
	former := v.Annotations[formerPolicy]
	switch {
	case retain && current != corev1.PersistentVolumeReclaimRetain:
		return corev1.PersistentVolumeReclaimRetain, string(current)
	case !retain && former != "" && current == corev1.PersistentVolumeReclaimRetain:
		return corev1.PersistentVolumeReclaimPolicy(former), nil
	}
	return current, nil
}
