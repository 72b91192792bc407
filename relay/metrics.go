package relay

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/listener"
	"github.com/postrider/postrider/relay/reply"
)

// metrics are what a relay counts. No address becomes a label; sites and SendingDomains do, in bounded number.
type metrics struct {
	registry *prometheus.Registry
	accepted *prometheus.CounterVec
	refused  *prometheus.CounterVec
	attempts *prometheus.CounterVec
	duration prometheus.Histogram
	inFlight prometheus.Gauge
	// domains and sites bound the labels.
	domains, sites *capped
}

func newMetrics(r *Relay) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postrider_accepted_recipients_total",
			Help: "Recipients answered 250 at the end of data, by listener and SendingDomain; the latter is empty for mail of none, other beyond the first 50.",
		}, []string{"listener", "sending_domain"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postrider_refusals_total",
			Help: "Commands and messages refused, by listener and class of the reply: Transient or Permanent.",
		}, []string{"listener", "class"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postrider_attempted_recipients_total",
			Help: "Outcomes of delivery attempts, per recipient, by site and class of the reply: Success, Transient or Permanent; the first 50 sites with ten attempts have a label of their own.",
		}, []string{"site", "class"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "postrider_attempt_duration_seconds",
			Help:    "Time from the start of a delivery attempt until its outcome was stored.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postrider_attempts_in_flight",
			Help: "Delivery attempts that run now; 256 at most.",
		}),
		domains: newCapped(1),
		sites:   newCapped(10),
	}
	m.registry.MustRegister(m.accepted, m.refused, m.attempts, m.duration, m.inFlight, gauges{r},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (r *Relay) generation() int64 {
	if s := r.settings.Load(); s != nil {
		return s.config.Generation
	}
	return 0
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// countRefused counts a refusal by the class of its reply; what is no reply becomes a 451.
func (r *Relay) countRefused(c *listener.Session, err error) error {
	if err != nil {
		r.metrics.refused.WithLabelValues(c.Listener.Name, string(asReply(err).Class())).Inc()
	}
	return err
}

// count counts an event. A DSN was accepted from no listener, and an admin's act is no attempt.
func (m *metrics) count(e *event.Event) {
	switch {
	case e.Type == event.Accepted && e.Listener != "":
		m.accepted.WithLabelValues(e.Listener, m.domains.label(e.Tenant)).Inc()
	case e.Attempt > 0:
		m.attempts.WithLabelValues(m.sites.label(e.Site), string(classOf(e.Reply))).Inc()
	}
}

// classOf is the class of a reply as a line.
func classOf(line string) reply.Class {
	code, _, _ := strings.Cut(line, " ")
	n, _ := strconv.Atoi(code) // what is no number is no decision
	return reply.Reply{Code: n}.Class()
}
