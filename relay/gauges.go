package relay

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/schedule"
	"github.com/postrider/postrider/relay/spool"
	"github.com/postrider/postrider/relay/status"
)

// shown is how many destinations have numbers of their own in the metrics.
const shown = 10

// gauges are the metrics that are read off the relay when somebody asks. One look at the relay serves all of them.
type gauges struct{ relay *Relay }

// gauge is one of them.
type gauge struct {
	description *prometheus.Desc
	kind        prometheus.ValueType
	read        func(*sight, put)
}

// put gives out a value with its labels.
type put func(value float64, labels ...string)

// sight is a relay as it was at one moment.
type sight struct {
	relay        *Relay
	now          time.Time
	totals       spool.Counts
	ledger       status.Ledger
	destinations []spool.Destination // without Oldest
	// busy are those with numbers of their own, and rest are the recipients at the others.
	busy []spool.Destination
	rest int64
	// slowest is the destination with the oldest mail that is not all held, if there is one.
	slowest   []spool.Destination
	waiting   map[string]schedule.Waiting
	listeners []status.Listener
}

func (r *Relay) look() *sight {
	s := &sight{
		relay: r, now: time.Now(), totals: r.spool.Totals(), ledger: status.Ledger(r.spool.Ledger()),
		destinations: r.spool.Census(), slowest: r.spool.Slowest(1, notAllHeld), waiting: r.schedule.Waiting(), listeners: r.ports.status(),
	}
	s.busy, s.rest = busiest(s.destinations)
	return s
}

// Describe implements prometheus.Collector.
func (g gauges) Describe(to chan<- *prometheus.Desc) {
	for _, one := range readings() {
		to <- one.description
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(to chan<- prometheus.Metric) {
	s := g.relay.look()
	for _, one := range readings() {
		one.read(s, func(value float64, labels ...string) {
			for i := range labels {
				labels[i] = readable(labels[i])
			}
			to <- prometheus.MustNewConstMetric(one.description, one.kind, value, labels...)
		})
	}
}

func readings() []gauge {
	return slices.Concat(queueReadings(), destinationReadings(), ledgerReadings(), resourceReadings(), configReadings())
}

// number is a gauge without labels.
func number(name, help string, read func(*sight) float64) gauge {
	return labelledBy(name, help, nil, func(s *sight, p put) { p(read(s)) })
}

func labelledBy(name, help string, labels []string, read func(*sight, put)) gauge {
	return gauge{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue, read}
}

func counter(name, help string, labels []string, read func(*sight, put)) gauge {
	return gauge{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue, read}
}

func queueReadings() []gauge {
	return []gauge{
		number("postrider_queue_recipients", "Recipients in the queue: waiting, deferred and held.",
			func(s *sight) float64 { return float64(s.totals.Queued) }),
		number("postrider_queue_deferred_recipients", "Recipients in the queue that were attempted at least once.",
			func(s *sight) float64 { return float64(s.totals.Deferred) }),
		number("postrider_queue_held_recipients", "Recipients in the queue that an admin holds.",
			func(s *sight) float64 { return float64(s.totals.Held) }),
		number("postrider_queue_deliverable_recipients", "Recipients that were never attempted, though nothing keeps them back: no hold, directive, rate limit or next hop that is down.",
			func(s *sight) float64 { return float64(deliverable(s.destinations, s.waiting)) }),
		number("postrider_queue_oldest_age_seconds", "Age of the oldest message in the queue; destinations whose mail is all held do not count.",
			func(s *sight) float64 { return oldestAge(s.slowest, s.now).Seconds() }),
		number("postrider_queue_damaged_records", "Records of the queue that do not match their checksum and are kept aside.",
			func(s *sight) float64 { return float64(s.totals.Damaged) }),
	}
}

func destinationReadings() []gauge {
	return []gauge{
		labelledBy("postrider_destination_queue_recipients", "Recipients in the queue by destination domain: the ten with most of them, and other.",
			[]string{"destination"}, func(s *sight, p put) {
				for _, d := range s.busy {
					p(float64(d.Queued), d.Domain)
				}
				p(float64(s.rest), otherLabel)
			}),
		labelledBy("postrider_destination_oldest_age_seconds", "Age of the oldest message by destination domain, for the ten with most recipients in the queue.",
			[]string{"destination"}, func(s *sight, p put) {
				for _, d := range s.busy {
					if oldest := s.relay.spool.OldestOf(d.Domain); !oldest.IsZero() {
						p(s.now.Sub(oldest).Seconds(), d.Domain)
					}
				}
			}),
		labelledBy("postrider_waiting_destinations", "Destination domains with mail that is due, by what it waits for: Ready, InFlight or RateLimited.",
			[]string{"reason"}, func(s *sight, p put) {
				count := map[schedule.Reason]int{schedule.Ready: 0, schedule.InFlight: 0, schedule.RateLimited: 0}
				for _, w := range s.waiting {
					count[w.Reason]++
				}
				for reason, n := range count {
					p(float64(n), string(reason))
				}
			}),
		labelledBy("postrider_ready_messages", "Messages in memory that wait for their attempt, by class of priority: Urgent, Normal or Bulk. What else is due waits on disk.",
			[]string{"class"}, func(s *sight, p put) {
				for c, n := range s.relay.schedule.ReadyByClass() {
					p(float64(n), envelope.Class(c).String())
				}
			}),
		number("postrider_attempts_stalled", "Attempts that do not end, though their time is over. Their mail waits for a restart.",
			func(s *sight) float64 { return float64(s.relay.schedule.Stalls()) }),
		labelledBy("postrider_next_hop_up", "Whether a next hop that a route names is up (1) or down (0).",
			[]string{"host"}, func(s *sight, p put) { s.relay.hopsUp(p) }),
	}
}

func ledgerReadings() []gauge {
	return []gauge{
		counter("postrider_ledger_accepted_recipients_total", "Recipients accepted since the spool was made, those of DSNs too; it survives restarts.",
			nil, func(s *sight, p put) { p(float64(s.ledger.Accepted)) }),
		counter("postrider_ledger_settled_recipients_total", "Recipients that left the queue for good since the spool was made, by disposition: delivered, failed, suppressed or removed.",
			[]string{"disposition"}, func(s *sight, p put) {
				p(float64(s.ledger.Delivered), "delivered")
				p(float64(s.ledger.Failed), "failed")
				p(float64(s.ledger.Suppressed), "suppressed")
				p(float64(s.ledger.Removed), "removed")
			}),
		counter("postrider_ledger_handed_recipients_total", "Recipients that came from other pods or went to them since the spool was made, by direction: in or out.",
			[]string{"direction"}, func(s *sight, p put) {
				p(float64(s.ledger.HandedIn), "in")
				p(float64(s.ledger.HandedOut), "out")
			}),
		number("postrider_ledger_difference_recipients", "Recipients accepted or handed in that are neither in the queue nor settled nor handed out; 0 unless the books are wrong.",
			func(s *sight) float64 { return float64(s.ledger.Difference()) }),
		counter("postrider_journal_events_dropped_total", "Events that trace will not know of, for the journal could not be written.",
			nil, func(s *sight, p put) { p(float64(s.relay.journal.Dropped())) }),
	}
}

func resourceReadings() []gauge {
	return []gauge{
		number("postrider_disk_reserve_bytes", "Free space below which no new mail is accepted.",
			func(*sight) float64 { return diskReserve }),
		labelledBy("postrider_disk_free_bytes", "Free space of the spool's file system.", nil, func(s *sight, p put) {
			if free, err := s.relay.spool.Free(); err == nil {
				p(float64(free))
			}
		}),
		number("postrider_memory_short", "Whether memory is short, so that new connections are refused (1), or not (0).",
			func(s *sight) float64 { return truth(s.relay.ports.caps.Paused()) }),
		number("postrider_connections", "SMTP connections of clients that are open.",
			func(s *sight) float64 { open, _ := s.relay.ports.caps.Open(); return float64(open) }),
		number("postrider_connections_limit", "SMTP connections that may be open; more are answered 421.",
			func(s *sight) float64 { _, most := s.relay.ports.caps.Open(); return float64(most) }),
	}
}

func configReadings() []gauge {
	return []gauge{
		labelledBy("postrider_build_info", "1, with the version of the relay.", []string{"version"},
			func(s *sight, p put) { p(1, s.relay.options.Version) }),
		number("postrider_config_generation", "Generation of the configuration in force; 0 for none.",
			func(s *sight) float64 { return float64(s.relay.generation()) }),
		number("postrider_config_rejected", "Whether a newer configuration could not be taken up (1) or not (0).",
			func(s *sight) float64 { return truth(s.relay.configError.Load() != nil) }),
		number("postrider_ready", "Whether mail may be sent to the pod (1) or not (0): its self-test is passed, and it is not stopping.",
			func(s *sight) float64 { return truth(s.relay.Ready() == nil) }),
		labelledBy("postrider_listener_up", "Whether a listener listens, with the certificate it needs (1), or not (0).", []string{"listener"},
			func(s *sight, p put) {
				for _, l := range s.listeners {
					p(truth(l.Error == ""), l.Name)
				}
			}),
		labelledBy("postrider_listener_certificate_expiry_timestamp_seconds", "When the certificate that a listener serves ends, in Unix time.", []string{"listener"},
			func(s *sight, p put) {
				for _, l := range s.listeners {
					if l.CertificateExpires != nil {
						p(float64(l.CertificateExpires.Unix()), l.Name)
					}
				}
			}),
		labelledBy("postrider_directives", "Directives of admins that are in force, by act: suspend, hold or bounce.", []string{"act"},
			func(s *sight, p put) {
				count := map[directive.Act]int{directive.Suspend: 0, directive.Hold: 0, directive.Bounce: 0}
				for _, d := range s.relay.directives.Current().List() {
					count[d.Act]++
				}
				for act, n := range count {
					p(float64(n), string(act))
				}
			}),
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// hopsUp says which next hops are up. A host that is used in several ways is up when it is in all of them. The only
// label is what an admin wrote down.
func (r *Relay) hopsUp(p put) {
	up := map[string]bool{}
	for k, s := range r.hops.States() {
		was, known := up[k.String()]
		up[k.String()] = !s.Down && (was || !known)
	}
	for host, is := range up {
		p(truth(is), host)
	}
}

// deliverable counts the recipients that more workers could deliver: those in memory, which is where mail is that is
// due, whose destination waits for no limit, and for whom no attempt was made yet. Where held mail was attempted
// before, it counts too few.
func deliverable(destinations []spool.Destination, waiting map[string]schedule.Waiting) (n int64) {
	for _, d := range destinations {
		if w, inMemory := waiting[d.Domain]; inMemory && w.Reason != schedule.RateLimited {
			n += max(0, d.Queued-d.Deferred-d.Held)
		}
	}
	return n
}

// oldestAge is how long mail has waited that is not all held.
func oldestAge(sorted []spool.Destination, now time.Time) time.Duration {
	for _, d := range sorted {
		if notAllHeld(d.Counts) {
			return now.Sub(d.Oldest)
		}
	}
	return 0
}

func notAllHeld(c spool.Counts) bool { return c.Held < c.Queued }

// busiest are the destinations with most recipients in the queue, and how many recipients the others have.
func busiest(destinations []spool.Destination) (busy []spool.Destination, rest int64) {
	busy = slices.SortedFunc(slices.Values(destinations), func(a, b spool.Destination) int {
		return cmp.Or(cmp.Compare(b.Queued, a.Queued), cmp.Compare(a.Domain, b.Domain))
	})
	for _, d := range busy[min(shown, len(busy)):] {
		rest += d.Queued
	}
	return busy[:min(shown, len(busy))], rest
}
