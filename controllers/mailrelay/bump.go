package mailrelay

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// bumpAnnotation is changed to make the kubelet bring a pod's volumes up to date at once, which it otherwise
	// does once a minute.
	bumpAnnotation = "postrider.dev/config-bump"
	// bumpOwner owns that annotation and nothing else.
	bumpOwner = "postrider-bump"
	// bumpAgain is how soon the kubelet is told again: the first time it may not have seen the change itself.
	bumpAgain = 2 * time.Second
	// bumps is how often it is told of a generation. What still lacks it then, the kubelet brings by itself.
	bumps = 5
)

// bump is the value of the annotation.
type bump struct {
	generation int64
	count      int
	at         time.Time
}

func parseBump(value string) (b bump) {
	var seconds int64
	if _, err := fmt.Sscanf(value, "%d.%d.%d", &b.generation, &b.count, &seconds); err != nil {
		return bump{}
	}
	b.at = time.Unix(seconds, 0)
	return b
}

func (b bump) String() string {
	return fmt.Sprintf("%d.%d.%d", b.generation, b.count, b.at.Unix())
}

// next says whether a pod that does not have the generation in force is to be told now, and with what value.
func (b bump) next(generation int64, now time.Time) (bump, bool) {
	if b.generation != generation {
		return bump{generation: generation, count: 1, at: now}, true
	}
	if b.count >= bumps || now.Sub(b.at) < bumpAgain {
		return b, false
	}
	return bump{generation: generation, count: b.count + 1, at: now}, true
}

// hasten tells the kubelets of all pods that lack the newest configuration. It is not needed for the pod to get
// there, so a pod that is gone meanwhile is no error.
func (p *pass) hasten(ctx context.Context) error {
	for _, pod := range p.seen.pods {
		if s := p.statuses[pod.Name]; s != nil && s.Generation >= p.generation || pod.Spec.NodeName == "" {
			continue
		}
		next, due := parseBump(pod.Annotations[bumpAnnotation]).next(p.generation, p.now)
		if !due {
			continue
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{bumpAnnotation: next.String()}}})
		if err != nil {
			return err
		}
		err = p.Client.Patch(ctx, pod.DeepCopy(), client.RawPatch(types.MergePatchType, patch), client.FieldOwner(bumpOwner))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("telling the kubelet of pod %s about generation %d: %w", pod.Name, p.generation, err)
		}
	}
	return nil
}
