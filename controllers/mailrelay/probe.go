package mailrelay

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/postrider/postrider/controllers/pki"
	"github.com/postrider/postrider/controllers/probe"
	"github.com/postrider/postrider/relay/status"
)

// atOnce is how many pods of a relay are asked at the same time.
const atOnce = 10

// probe asks every pod that has an address. A pod that does not answer is missing from the statuses: nothing is
// known of it.
func (p *pass) probe(ctx context.Context) {
	p.statuses = map[string]*status.Status{}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, pod := range p.seen.pods {
		if pod.Status.PodIP == "" {
			continue
		}
		target := probe.Target{Pod: pod.Name, Address: pod.Status.PodIP, ServerName: pki.ServerName(pod.Namespace, p.relay.Name)}
		group.Go(func() error {
			s, err := p.Prober.Status(ctx, target)
			if err != nil {
				log.FromContext(ctx).V(1).Info("a pod does not answer", "pod", target.Pod, "error", err.Error())
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			p.statuses[target.Pod] = s
			return nil
		})
	}
	_ = group.Wait() // its functions return no error
	for _, pod := range p.seen.pods {
		if s := p.statuses[pod.Name]; s != nil {
			p.memory.queued[pod.ordinal] = s.Queue.Queued
		}
	}
}
