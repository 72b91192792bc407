package relay

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/postrider/postrider/relay/config"
)

// followInterval is how often the index is looked at. A poll sees what a watch on a Kubernetes volume, whose
// files are replaced through a symbolic link, may miss.
const followInterval = 250 * time.Millisecond

// follow takes up each new configuration until ctx is done.
func (r *Relay) follow(ctx context.Context) error {
	ticker := time.NewTicker(followInterval)
	defer ticker.Stop()
	var inForce []byte
	for {
		index := r.readIndex()
		if !bytes.Equal(index, inForce) {
			inForce = nil // one that comes back after trouble is read again, so that the trouble is over in status, too
			if index != nil && r.reload(ctx) {
				inForce = index
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (r *Relay) readIndex() []byte {
	index, err := os.ReadFile(filepath.Join(r.options.ConfigDir, config.IndexFile))
	if err != nil {
		r.rejectConfig(err)
		return nil
	}
	return index
}

// reload takes up the configuration that stands in the directory, as a whole or not at all, and says whether the
// matter is settled: a set that is not complete yet is looked at again.
func (r *Relay) reload(ctx context.Context) bool {
	c, err := config.Load(r.options.ConfigDir)
	if err != nil {
		r.rejectConfig(err)
		return !errors.Is(err, config.ErrIncomplete)
	}
	if err := r.heedFence(c); err != nil {
		r.rejectConfig(err)
		return false
	}
	next, err := newSettings(c, r.settings.Load(), r.limiter, r.hops)
	if err != nil {
		r.rejectConfig(err)
		return true
	}
	r.limitTo(&c.Relay)
	r.addFilters(next)
	r.configureWebhooks(next)
	r.configureTraces(next)
	r.settings.Store(next)
	r.watchHops(next)
	r.configError.Store(nil)
	r.ports.configure(ctx, next)
	r.doors.configure(next)
	r.sender.Follow(c.Relay.Handoff, r.carriers(&c.Relay))
	r.schedule.Reconsider()
	r.log.Info("configuration in force", "generation", c.Generation, "domains", len(c.Domains), "policies", len(c.Relay.Policies))
	return true
}

// rejectConfig says, once for each reason, why the newest configuration is not in force. What was stays in force.
func (r *Relay) rejectConfig(err error) {
	why := err.Error()
	if before := r.configError.Swap(&why); before == nil || *before != why {
		r.log.Warn("configuration not taken up; the one before stays in force", "error", why)
	}
}
