package mailrelay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/controllers/programmed"
	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/controllers/share"
	"github.com/postrider/postrider/relay/config"
)

// atOnceAgain is the wait before a step that the answers of the pods allow.
const atOnceAgain = 10 * time.Millisecond

// sharing is how the pods share the limits that hold for all of them together.
type sharing struct {
	policies []*v1alpha1.RateLimitPolicy
	// books are those that the configuration is made of, by the policies' names.
	books map[string]share.Book
}

// divide decides upon the share of each pod in each limit, from what they were told before and what they are known to
// keep to.
func (p *pass) divide(in *render.Input, own map[string][]byte) {
	var before map[string]share.Book
	if json.Unmarshal(own[desired.SharesKey], &before) != nil {
		before = nil // then nothing grows before every pod has answered
	}
	p.sharing = sharing{policies: render.Shared(*in), books: map[string]share.Book{}}
	in.Shares = map[string]map[string]share.Amount{}
	pods, without := p.sharers(), map[string]bool{}
	for _, policy := range p.sharing.policies {
		name, limit := render.PolicyName(policy), render.SharedLimit(&policy.Spec)
		p.sharing.books[name] = before[name].Next(limit, pods, p.seen.index.Generation+1)
		in.Shares[name] = p.sharing.books[name].Told()
		if policy.Spec.Stage == v1alpha1.StageDelivery {
			for _, pod := range share.Without(limit, pods) {
				without[pod] = true
			}
		}
	}
	in.Carriers = p.carriers(pods, without)
}

// sharers are the pods that there are or shall be: one whose claim may hold mail comes again, and one that is to go has
// its share until it has gone.
func (p *pass) sharers() []share.Pod {
	count := max(p.keep(), p.current())
	for _, pod := range p.seen.pods {
		count = max(count, pod.ordinal+1)
	}
	pods := make([]share.Pod, count)
	for ordinal := range count {
		pods[ordinal].Name = p.podName(ordinal)
		if there := p.podOf(ordinal); there != nil {
			pods[ordinal].InForce = p.memory.keeps[there.UID]
		}
	}
	return pods
}

// noteKept remembers which generation's shares each pod keeps to. A pod that does not answer still keeps to what it last
// said: a newer configuration can only be newer.
func (p *pass) noteKept() {
	keeps := map[types.UID]int64{}
	for _, pod := range p.seen.pods {
		keeps[pod.UID] = p.memory.keeps[pod.UID]
		if s := p.statuses[pod.Name]; s != nil && !s.Exceeds {
			keeps[pod.UID] = s.Generation
		}
	}
	p.memory.keeps = keeps
}

// carriers are the pods that have a share in every limit on delivery, if any has not.
func (p *pass) carriers(pods []share.Pod, without map[string]bool) []config.Peer {
	var carriers []config.Peer
	for _, pod := range pods {
		if len(without) > 0 && !without[pod.Name] {
			carriers = append(carriers, config.Peer{Pod: pod.Name, Host: p.hostOf(p.relay.Name, pod.Name)})
		}
	}
	return carriers
}

// hostOf is the name of a relay's pod in the cluster's DNS.
func (p *pass) hostOf(relay, pod string) string {
	return fmt.Sprintf("%s.%s.%s.svc.%s", pod, desired.PodServiceName(relay), p.relay.Namespace, cmp.Or(p.ClusterDomain, "cluster.local"))
}

// sharesMove says that the pods' answers allow another step.
func (p *pass) sharesMove() bool {
	if p.paused() || p.refused != "" {
		return false
	}
	pods := p.sharers()
	for _, policy := range p.sharing.policies {
		book := p.sharing.books[render.PolicyName(policy)]
		if !maps.Equal(book, book.Next(render.SharedLimit(&policy.Spec), pods, p.generation+1)) {
			return true
		}
	}
	return false
}

// exceeds says that a pod has more connections open than its share: they end soon.
func (p *pass) exceeds() bool {
	for _, s := range p.statuses {
		if s.Exceeds {
			return true
		}
	}
	return false
}

// encodeShares is what is kept of the shares; nil for nothing.
func (p *pass) encodeShares() ([]byte, error) {
	if len(p.sharing.books) == 0 {
		return nil, nil
	}
	return json.Marshal(p.sharing.books)
}

// sharedRecord is what is told of the shares in a policy; nil if there are none.
func (p *pass) sharedRecord(name string) *programmed.Shared {
	i := slices.IndexFunc(p.sharing.policies, func(policy *v1alpha1.RateLimitPolicy) bool { return render.PolicyName(policy) == name })
	if i < 0 {
		return nil
	}
	spec, book, pods := &p.sharing.policies[i].Spec, p.sharing.books[name], p.sharers()
	limit := render.SharedLimit(spec)
	return &programmed.Shared{
		Effective: render.SharedLimits(spec, book.Told()),
		Moving:    !book.Final(limit, pods),
		Without:   share.Without(limit, pods),
	}
}
