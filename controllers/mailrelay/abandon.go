package mailrelay

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/postrider/postrider/controllers/desired"
)

// namespaceEnds says that the relay's namespace is being deleted. Where we may not look, it is taken not to be.
func (p *pass) namespaceEnds(ctx context.Context) (bool, error) {
	namespace := &corev1.Namespace{}
	err := p.Live.Get(ctx, client.ObjectKey{Name: p.relay.Namespace}, namespace)
	if apierrors.IsForbidden(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading namespace %s: %w", p.relay.Namespace, err)
	}
	return namespace.DeletionTimestamp != nil, nil
}

// abandon lets a relay go whose namespace is being deleted. Its pods are gone or about to be, and so are its claims:
// nothing can drain. What is left of its mail are the volumes: each is told in an event in the operator's namespace, for
// there will be no other. Trouble with a volume is waited for only so long: the namespace must end.
func (p *pass) abandon(ctx context.Context) error {
	err := p.look(ctx)
	if err == nil {
		err = p.keepVolumes(ctx)
	}
	if err != nil && p.now.Sub(p.relay.DeletionTimestamp.Time) < patience {
		return err
	}
	for _, v := range p.volumesLeft() {
		p.tell(ctx, v)
	}
	return p.release(ctx)
}

// volumesLeft are the volumes that may hold mail, by the names of their claims.
func (p *pass) volumesLeft() []volume {
	var left []volume
	for _, v := range p.memory.volumes {
		if v.retain {
			left = append(left, v)
		}
	}
	for i := range p.seen.claims {
		if c := &p.seen.claims[i]; c.Spec.VolumeName != "" && p.markOf(c) != empty && p.memory.volumes[c.UID].name == "" {
			ordinal, _ := ordinalOf(c.Name, desired.ClaimPrefix(p.relay.Name))
			left = append(left, volume{name: c.Spec.VolumeName, claim: c.Name, ordinal: ordinal, problem: "its reclaim policy could not be set"})
		}
	}
	slices.SortFunc(left, func(a, b volume) int { return strings.Compare(a.claim, b.claim) })
	return left
}

// tell says in log and event what becomes of a volume, and what it held. An event about something outside of namespaces
// may stand in any: this one stands in ours.
func (p *pass) tell(ctx context.Context, v volume) {
	about := &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolume", Name: v.name, Namespace: p.Namespace}
	held := count(p.lastQueued(v.ordinal))
	log.FromContext(ctx).Info("the namespace is being deleted, and nothing can drain", "volume", v.name, "claim", v.claim, "held", held, "problem", v.problem)
	if v.problem != "" {
		p.Events.Eventf(about, nil, corev1.EventTypeWarning, "VolumeNotKept", "NamespaceDeletion",
			"Volume %s of claim %s/%s (MailRelay %s; %s) goes with its namespace unless its reclaim policy is Retain: %s.", v.name, p.relay.Namespace, v.claim, p.relay.Name, held, v.problem)
		return
	}
	p.Events.Eventf(about, nil, corev1.EventTypeWarning, "VolumeKept", "NamespaceDeletion",
		"Volume %s of claim %s/%s (MailRelay %s; %s) is kept, for its namespace is being deleted before its mail could go. A claim made for it by hand gives the mail to a MailRelay again.",
		v.name, p.relay.Namespace, v.claim, p.relay.Name, held)
}
