package mailrelay

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// follow does with the pods what their answers call for.
func (p *pass) follow(ctx context.Context) error {
	p.noteKept()
	if p.paused() && p.relay.DeletionTimestamp == nil {
		return nil
	}
	p.countDrains()
	return errors.Join(p.cordon(ctx), p.hasten(ctx), p.rollOut(ctx), p.replaceDoomed(ctx), p.adopt(ctx))
}

// countDrains takes the answers of pods that are to become empty into account, and forgets all others.
func (p *pass) countDrains() {
	drains := map[types.UID]drain{}
	for _, pod := range p.seen.pods {
		if pod.emptied() {
			drains[pod.UID] = p.lookAt(pod, p.memory.drains[pod.UID])
		}
	}
	p.memory.drains = drains
}

// rollOut replaces one outdated pod, if it is time to.
func (p *pass) rollOut(ctx context.Context) error {
	if p.relay.DeletionTimestamp != nil {
		return nil
	}
	pod, ok := outdated(p.seen.pods, p.relay.Spec.Replicas)
	if !ok {
		return nil
	}
	log.FromContext(ctx).Info("replacing an outdated pod", "pod", pod.Name)
	err := p.Client.Delete(ctx, pod.Pod, client.Preconditions{UID: &pod.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("replacing pod %s: %w", pod.Name, err)
	}
	return nil
}
