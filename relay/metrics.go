package relay

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/listener"
	"github.com/postrider/postrider/relay/reply"
)

// metrics are what a relay counts. Labels are few and bounded: no address and no domain becomes one.
type metrics struct {
	registry *prometheus.Registry
	accepted *prometheus.CounterVec
	refused  *prometheus.CounterVec
	attempts *prometheus.CounterVec
	duration prometheus.Histogram
}

func newMetrics(r *Relay) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postrider_accepted_recipients_total",
			Help: "Recipients answered 250 at the end of data, by listener.",
		}, []string{"listener"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postrider_refused_total",
			Help: "Commands and messages refused, by listener and class of reply.",
		}, []string{"listener", "class"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postrider_attempted_recipients_total",
			Help: "Outcomes of delivery attempts, per recipient, by class of reply.",
		}, []string{"class"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "postrider_attempt_duration_seconds",
			Help:    "Time from the start of a delivery attempt until its outcome was stored.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
		}),
	}
	m.registry.MustRegister(m.accepted, m.refused, m.attempts, m.duration,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(queueGauges(r)...)
	m.registry.MustRegister(hopGauge{r})
	return m
}

// queueGauges read the spool when they are scraped.
func queueGauges(r *Relay) []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		gauge("postrider_queue_recipients", "Recipients in the queue.",
			func() float64 { return float64(r.spool.Totals().Queued) }),
		gauge("postrider_queue_deferred_recipients", "Recipients in the queue that were attempted at least once.",
			func() float64 { return float64(r.spool.Totals().Deferred) }),
		gauge("postrider_queue_held_recipients", "Recipients in the queue that an admin holds.",
			func() float64 { return float64(r.spool.Totals().Held) }),
		gauge("postrider_queue_oldest_age_seconds", "Age of the oldest message in the queue.",
			func() float64 { return r.oldestAge(time.Now()).Seconds() }),
		gauge("postrider_config_generation", "Generation of the configuration in force.",
			func() float64 { return float64(r.generation()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "postrider_journal_dropped_total",
			Help: "Events that trace will not know of, for the journal could not be written.",
		}, func() float64 { return float64(r.journal.Dropped()) }),
	}
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
		m.accepted.WithLabelValues(e.Listener).Inc()
	case e.Attempt > 0:
		m.attempts.WithLabelValues(string(classOf(e.Reply))).Inc()
	}
}

// classOf is the class of a reply as a line.
func classOf(line string) reply.Class {
	code, _, _ := strings.Cut(line, " ")
	n, _ := strconv.Atoi(code) // what is no number is no decision
	return reply.Reply{Code: n}.Class()
}
