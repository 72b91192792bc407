package webhook

import "github.com/prometheus/client_golang/prometheus"

// metrics are counted by the name of the webhook, which stands in the configuration: no address becomes a label.
type metrics struct {
	sent, dropped, failed *prometheus.CounterVec
	queued                *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"webhook"})
	}
	m := &metrics{
		sent:    counter("postrider_webhook_events_sent_total", "Events that a webhook took, by webhook."),
		dropped: counter("postrider_webhook_events_dropped_total", "Events that were given up, by webhook."),
		failed:  counter("postrider_webhook_requests_failed_total", "Requests that a webhook did not answer with 2xx, by webhook."),
		queued: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "postrider_webhook_events_queued", Help: "Events that wait on disk, by webhook.",
		}, []string{"webhook"}),
	}
	if r != nil {
		r.MustRegister(m.sent, m.dropped, m.failed, m.queued)
	}
	return m
}

// know puts a webhook into the metrics: the first event that it drops must be a step from 0, or no alert sees it.
func (m *metrics) know(name string) {
	for _, c := range []*prometheus.CounterVec{m.sent, m.dropped, m.failed} {
		c.WithLabelValues(name)
	}
}

// forget takes a webhook that is gone out of the metrics.
func (m *metrics) forget(name string) {
	for _, c := range []*prometheus.CounterVec{m.sent, m.dropped, m.failed} {
		c.DeleteLabelValues(name)
	}
	m.queued.DeleteLabelValues(name)
}
