package mailrelay

import (
	corev1 "k8s.io/api/core/v1"

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

// doomed says that the claim of an ordinal is being deleted: it goes when its pod ends, with all that is in it.
func (p *pass) doomed(ordinal int32) bool {
	c := p.claimOf(ordinal)
	return c != nil && c.DeletionTimestamp != nil
}
