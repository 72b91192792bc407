package mailrelay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/desired"
)

// markQueued, on a volume claim whose pod was let go, says how much is in it.
const markQueued = "postrider.dev/queued"

// mark is what is known of a claim without a pod.
type mark string

const (
	// unmarked: nothing. It may hold mail, and gets its pod back.
	unmarked mark = ""
	// empty: its pod was found empty twice.
	empty mark = desired.VolumeEmpty
	// stranded: its pod went before it was empty.
	stranded mark = "stranded"
	// kept: its relay was deleted before it was empty. A relay made again under the name takes it up.
	kept mark = "kept"
)

// markOf is what the mark of a claim means: one from the end of a former relay means nothing to the one that is there now.
func (p *pass) markOf(c *corev1.PersistentVolumeClaim) mark {
	m := p.written(c)
	if m == kept && p.relay.DeletionTimestamp == nil {
		return unmarked
	}
	return m
}

// marked is a mark that we wrote, and the version of the claim that has it.
type marked struct {
	mark    mark
	version string
}

// written is the mark on a claim. The cache may not know yet what was written a moment ago.
func (p *pass) written(c *corev1.PersistentVolumeClaim) mark {
	if c == nil {
		return unmarked
	}
	if m, ok := p.memory.marks[c.UID]; ok && apply.Newer(m.version, c.ResourceVersion) {
		return m.mark
	}
	return mark(c.Annotations[desired.VolumeAnnotation])
}

// lost says that a claim may hold mail, and is not known to be let go.
func (p *pass) lost(c *corev1.PersistentVolumeClaim) bool {
	bound := c.Status.Phase != corev1.ClaimPending || c.Spec.VolumeName != ""
	return bound && c.DeletionTimestamp == nil && p.markOf(c) == unmarked
}

// releaseClaims settles the claims of the pods that the StatefulSet is about to give up, before it does: whoever goes on
// after a crash finds a pod that is still there, or a claim that says what it holds. A claim that is deleted stays until its
// pod has ended.
func (p *pass) releaseClaims(ctx context.Context, count int32) error {
	if p.seen.statefulSet == nil {
		return nil
	}
	var failed []error
	for ordinal := count; ordinal < p.current(); ordinal++ {
		if c := p.claimOf(ordinal); c != nil && p.lost(c) {
			failed = append(failed, p.releaseClaim(ctx, ordinal, c))
		}
	}
	return errors.Join(failed...)
}

func (p *pass) releaseClaim(ctx context.Context, ordinal int32, c *corev1.PersistentVolumeClaim) error {
	switch {
	case p.drained(ordinal) && !p.keepsAll():
		return p.releaseEmpty(ctx, ordinal, c)
	case p.relay.DeletionTimestamp != nil:
		return p.mark(ctx, c, kept, p.lastQueued(ordinal))
	default:
		return p.releaseStranded(ctx, ordinal, c)
	}
}

func (p *pass) releaseStranded(ctx context.Context, ordinal int32, c *corev1.PersistentVolumeClaim) error {
	if err := p.mark(ctx, c, stranded, p.lastQueued(ordinal)); err != nil {
		return err
	}
	p.Events.Eventf(p.relay, nil, corev1.EventTypeWarning, "VolumeStranded", "ScaleDown",
		"%s goes although it was not empty in time, as onTimeout: Force says. Its mail stays in the volume claim %s, and is delivered when replicas is more than %d.", p.podName(ordinal), c.Name, ordinal)
	return nil
}

func (p *pass) releaseEmpty(ctx context.Context, ordinal int32, c *corev1.PersistentVolumeClaim) error {
	if p.relay.Spec.Queue.Storage.Reclaim == v1alpha1.ReclaimWhenDrained {
		if err := p.secure(ctx, c, false); err != nil {
			return err
		}
		if err := p.deleteClaim(ctx, c); err != nil {
			return err
		}
	} else if err := p.mark(ctx, c, empty, nil); err != nil {
		return err
	}
	p.Events.Eventf(p.relay, nil, corev1.EventTypeNormal, "Drained", p.action(), "%s was found empty twice, and goes.", p.podName(ordinal))
	return nil
}

// deleteClaim deletes a claim as it is known; one that has changed since, or is another by now, is looked at anew.
func (p *pass) deleteClaim(ctx context.Context, c *corev1.PersistentVolumeClaim) error {
	err := p.Client.Delete(ctx, c, client.Preconditions{UID: &c.UID, ResourceVersion: &c.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting volume claim %s: %w", c.Name, err)
	}
	p.memory.deleted[c.UID] = p.now
	c.DeletionTimestamp = &metav1.Time{Time: p.now}
	return nil
}

// recall notes on the claims what the cache may not know yet: that we have deleted them.
func (p *pass) recall() {
	for i := range p.seen.claims {
		c := &p.seen.claims[i]
		if at, ok := p.memory.deleted[c.UID]; ok && c.DeletionTimestamp == nil {
			c.DeletionTimestamp = &metav1.Time{Time: at}
		}
	}
}

// takeUp removes the marks of claims whose pods are to be there: what is in them changes from now on.
func (p *pass) takeUp(ctx context.Context) error {
	var failed []error
	for i := range p.seen.claims {
		c := &p.seen.claims[i]
		ordinal, ours := ordinalOf(c.Name, desired.ClaimPrefix(p.relay.Name))
		over := ordinal < p.keep() || p.relay.DeletionTimestamp == nil && p.written(c) == kept
		if ours && over && p.written(c) != unmarked && c.DeletionTimestamp == nil {
			failed = append(failed, p.mark(ctx, c, unmarked, nil))
		}
	}
	return errors.Join(failed...)
}

// mark writes a mark, with what the claim is known to hold, or removes it.
func (p *pass) mark(ctx context.Context, c *corev1.PersistentVolumeClaim, m mark, queued *int64) error {
	annotations := map[string]any{desired.VolumeAnnotation: nil, markQueued: nil}
	if m != unmarked {
		annotations[desired.VolumeAnnotation] = string(m)
	}
	if queued != nil {
		annotations[markQueued] = strconv.FormatInt(*queued, 10)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return err
	}
	written := c.DeepCopy()
	err = p.Client.Patch(ctx, written, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(apply.FieldOwner))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("marking volume claim %s: %w", c.Name, err)
	}
	p.memory.marks[c.UID] = marked{m, written.ResourceVersion}
	return nil
}

// strandedVolumes are the claims without a pod that could deliver what they hold, or may: none there, or one that is lost with
// the node that alone has the volume.
func (p *pass) strandedVolumes() []v1alpha1.StrandedVolume {
	list := p.podless()
	for _, l := range p.losses {
		if l.verdict == nodeLocal && len(list) < maxPods {
			list = append(list, v1alpha1.StrandedVolume{Claim: l.claim.Name, Queued: p.held(l.claim, l.pod.ordinal)})
		}
	}
	return list
}

// podless are the claims beyond the replicas that have no pod and hold mail, or may.
func (p *pass) podless() []v1alpha1.StrandedVolume {
	var list []v1alpha1.StrandedVolume
	for i := range p.seen.claims {
		c := &p.seen.claims[i]
		ordinal, ours := ordinalOf(c.Name, desired.ClaimPrefix(p.relay.Name))
		if !ours || ordinal < p.keep() || p.podOf(ordinal) != nil || len(list) == maxPods {
			continue
		}
		if m := p.markOf(c); m == stranded || m == kept || p.lost(c) {
			list = append(list, v1alpha1.StrandedVolume{Claim: c.Name, Queued: p.held(c, ordinal)})
		}
	}
	return list
}

// held is what stands on a claim without a pod, else what its pod last said; nil when neither is known.
func (p *pass) held(c *corev1.PersistentVolumeClaim, ordinal int32) *int64 {
	if n, err := strconv.ParseInt(c.Annotations[markQueued], 10, 64); err == nil {
		return &n
	}
	return p.lastQueued(ordinal)
}

// lastQueued is what the pod of an ordinal held when it last answered; nil when that is not known.
func (p *pass) lastQueued(ordinal int32) *int64 {
	if n, ok := p.memory.queued[ordinal]; ok {
		return &n
	}
	for _, s := range p.relay.Status.Pods {
		if s.Name == p.podName(ordinal) {
			return s.Queued
		}
	}
	return nil
}
