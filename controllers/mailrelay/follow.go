package mailrelay

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/types"
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
