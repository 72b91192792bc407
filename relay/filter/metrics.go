package filter

import "github.com/prometheus/client_golang/prometheus"

// Metrics count what filters say. They outlive configurations. A filter's name stands in the configuration: nothing
// that comes from outside becomes a label.
type Metrics struct{ verdicts *prometheus.CounterVec }

// NewMetrics makes the counters; r may be nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "postrider_filter_verdicts_total",
		Help: "Answers of filters, by filter and verdict: accept, hold, defer, refuse, report, or none.",
	}, []string{"filter", "verdict"})}
	if r != nil {
		r.MustRegister(m.verdicts)
	}
	return m
}

func (m *Metrics) count(filter, verdict string) { m.verdicts.WithLabelValues(filter, verdict).Inc() }

// outcome is the label for an answer.
func outcome(o opinion, err error) string {
	switch {
	case err != nil:
		return "none"
	case o.refuse.Code >= 500:
		return "refuse"
	case o.refuse.Code != 0:
		return "defer"
	case o.hold != "":
		return "hold"
	}
	return "accept"
}
