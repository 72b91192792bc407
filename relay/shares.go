package relay

import (
	"reflect"
	"slices"

	"github.com/postrider/postrider/relay/config"
)

// limitTo puts the policies in force as they hold in this pod.
func (r *Relay) limitTo(c *config.Relay) {
	policies := make([]config.RatePolicy, len(c.Policies))
	for i, p := range c.Policies {
		policies[i] = p.For(r.options.Pod)
	}
	r.limiter.Configure(policies)
	r.schedule.WantExpelled(len(r.carriers(c)) > 0)
	if before := r.settings.Load(); before == nil || !reflect.DeepEqual(before.config.Relay.Policies, c.Policies) {
		r.idleFromBefore.Store(true)
	}
}

// carriers are the pods that deliver what this one may not: none when it is one of them.
func (r *Relay) carriers(c *config.Relay) []config.Peer {
	if slices.ContainsFunc(c.Carriers, func(p config.Peer) bool { return p.Pod == r.options.Pod }) {
		return nil
	}
	return c.Carriers
}

// exceeds says that more connections may be open than the policies in force allow. Those that wait for another message
// were opened under the policies before: they are ended once, when no more than allowed are in use.
func (r *Relay) exceeds() bool {
	if r.limiter.Exceeded() {
		return true
	}
	if r.idleFromBefore.Swap(false) {
		r.client.CloseIdle()
	}
	return false
}
