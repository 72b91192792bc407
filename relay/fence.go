package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/spool"
)

// A volume on shared storage may be given to a pod while its former pod still runs on a node that nobody can reach. Two
// things keep that one out: it cannot read the new token, or reads that it was given up; and the spool says whose it is.

// errLost says that the operator has given this pod up.
var errLost = errors.New("this pod was given up as lost with its node, and another has its volume")

// holdEvery is how often a relay at rest looks whether the spool is still its own.
const holdEvery = time.Second / 4

// fenceAtStart is what the configuration says of this pod before anything else is taken from it. A configuration that
// is not there or not complete yet says nothing: then the spool decides.
func fenceAtStart(o Options) (config.Fence, error) {
	c, err := config.LoadRelay(o.ConfigDir)
	if errors.Is(err, config.ErrIncomplete) {
		return config.Fence{}, nil
	}
	if err != nil {
		o.Log.Warn("the configuration does not say whose the spool is", "error", err)
	}
	f := c.Fences[o.Pod]
	if lost(f, o) {
		return f, errLost
	}
	return f, nil
}

// holdSpool ends the process when the spool is not its own any more.
func (r *Relay) holdSpool(ctx context.Context) {
	ticker := time.NewTicker(holdEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := r.spool.Hold(); err != nil && !errors.Is(err, spool.ErrFenced) {
			r.log.Error("it cannot be seen whether the spool is still this pod's; nothing is written before that", "error", err)
		}
	}
}

// heedFence takes up what a new configuration says of this pod.
func (r *Relay) heedFence(c *config.Config) error {
	f := c.Relay.Fences[r.options.Pod]
	if lost(f, r.options) {
		r.spool.Abandon(errLost)
		return errLost
	}
	if err := r.spool.Raise(f.Token); err != nil {
		return fmt.Errorf("the token of the spool: %w", err)
	}
	return nil
}

// lost says that a pod is the one that was given up.
func lost(f config.Fence, o Options) bool { return o.PodUID != "" && f.Lost == o.PodUID }
