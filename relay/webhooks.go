package relay

import (
	"path/filepath"

	"github.com/postrider/postrider/relay/webhook"
)

// newWebhooks makes the sink that tells webhooks. Their queues stand beside the spool, and have no claim to its disk.
func newWebhooks(r *Relay) *webhook.Hooks {
	return webhook.New(webhook.Options{
		Dir:      filepath.Join(r.options.DataDir, "events"),
		Pod:      r.options.Pod,
		Version:  r.options.Version,
		Loopback: r.options.Local,
		Low:      r.pressure.lowDisk.Load,
		Metrics:  r.metrics.registry,
		Log:      r.log,
	})
}

// configureTraces sends traces where a new configuration says. Mail goes on without them.
func (r *Relay) configureTraces(s *settings) {
	if err := r.tracer.Configure(&s.config.Relay); err != nil {
		r.log.Error("mail is not traced", "error", err)
	}
}

// configureWebhooks takes up the webhooks of a new configuration. Trouble with one is no reason against the others,
// nor against the configuration.
func (r *Relay) configureWebhooks(s *settings) {
	if err := r.webhooks.Configure(s.config); err != nil {
		r.log.Error("not all webhooks are as they should be", "error", err)
	}
}
