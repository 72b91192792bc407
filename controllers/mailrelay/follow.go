package mailrelay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/desired"
)

// follow does with the pods what their answers call for.
func (p *pass) follow(ctx context.Context) error {
	if p.paused() && p.relay.DeletionTimestamp == nil {
		return nil
	}
	p.countDrains()
	return errors.Join(p.cordon(ctx), p.hasten(ctx), p.rollOut(ctx), p.replaceDoomed(ctx), p.adopt(ctx))
}

// countDrains takes the answers of surplus pods into account, and forgets all others.
func (p *pass) countDrains() {
	drains := map[types.UID]drain{}
	for _, pod := range p.seen.pods {
		if pod.surplus {
			drains[pod.UID] = p.memory.drains[pod.UID].look(p.statuses[pod.Name], p.generation, p.tells(), p.now)
		}
	}
	p.memory.drains = drains
}

// cordon takes surplus pods out of the Service, and puts back those that are to stay after all.
func (p *pass) cordon(ctx context.Context) error {
	for _, pod := range p.seen.pods {
		if pod.serving() == !pod.surplus || pod.DeletionTimestamp != nil {
			continue
		}
		labels := map[string]string{desired.ServingLabel: strconv.FormatBool(!pod.surplus)}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
		if err != nil {
			return err
		}
		err = p.Client.Patch(ctx, pod.DeepCopy(), client.RawPatch(types.MergePatchType, patch), client.FieldOwner(apply.FieldOwner))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("labelling pod %s: %w", pod.Name, err)
		}
		if err == nil && !pod.surplus {
			p.Events.Eventf(p.relay, nil, corev1.EventTypeNormal, "Uncordoned", "ScaleUp", "%s stays after all, and takes mail again.", pod.Name)
		}
	}
	return nil
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
