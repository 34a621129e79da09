package broker

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// metrics are the broker's own numbers; every label value that the code can produce exists from zero.
type metrics struct {
	registry *prometheus.Registry

	conns    *prometheus.GaugeVec   // kind
	closes   *prometheus.CounterVec // reason
	refusals *prometheus.CounterVec // reason

	accepted *prometheus.CounterVec // priority
	repeats  prometheus.Counter
	pushed   prometheus.Counter
	acked    prometheus.Counter
	receipts *prometheus.CounterVec // state
	drops    *prometheus.CounterVec // reason
	putTime  prometheus.Histogram
	pushTime prometheus.Histogram

	acceptedBy [len(priorities)]prometheus.Counter // accepted by class: looking it up costs more than counting
}

// latencyBuckets reach from a fast disk's sync to a client that was away.
var latencyBuckets = []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5, 30}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.conns = m.gauges("connections", "Open connections by kind.", "kind", kindHello, kindControl, kindSession)
	m.closes = m.counters("closes_total", "Ended connections by reason.", "reason", closeReasons...)
	m.refusals = m.counters("refusals_total", "Refused requests by code.", "reason", refusalCodes()...)
	m.accepted = m.counters("messages_total", "Messages committed and acknowledged, by priority.", "priority", "now", "next", "low")
	for class, priority := range priorities {
		m.acceptedBy[class] = m.accepted.WithLabelValues(priority)
	}
	m.repeats = m.counter("repeats_total", "Sends answered from memory because the same was accepted before.")
	m.pushed = m.counter("pushes_total", "Frames pushed to recipients, redeliveries included.")
	m.acked = m.counter("acknowledged_total", "Pushes that their recipient acknowledged.")
	m.receipts = m.counters("receipts_total", "Receipts queued for senders, by state.", "state", "delivered", "shown", "read", "expired", "refused")
	m.drops = m.counters("drops_total", "Messages that were given up before their recipient had them, by reason.", "reason", dropReasons...)
	m.putTime = m.histogram("commit_seconds", "From a send to its commit.")
	m.pushTime = m.histogram("push_seconds", "From a commit to the push of it to a recipient who is connected; what came together counts once.")
	return m
}

func (m *metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "claudemesh", Subsystem: "broker", Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *metrics) histogram(name, help string) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "claudemesh", Subsystem: "broker", Name: name, Help: help, Buckets: latencyBuckets,
	})
	m.registry.MustRegister(h)
	return h
}

func (m *metrics) counters(name, help, label string, values ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "claudemesh", Subsystem: "broker", Name: name, Help: help}, []string{label})
	for _, v := range values {
		c.WithLabelValues(v)
	}
	m.registry.MustRegister(c)
	return c
}

func (m *metrics) gauges(name, help, label string, values ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "claudemesh", Subsystem: "broker", Name: name, Help: help}, []string{label})
	for _, v := range values {
		g.WithLabelValues(v)
	}
	m.registry.MustRegister(g)
	return g
}

// refused returns the refusals that there were, by code.
func (m *metrics) refused() map[string]uint64 {
	all := make(map[string]uint64)
	for _, code := range refusalCodes() {
		var v dto.Metric
		if err := m.refusals.WithLabelValues(code).Write(&v); err == nil && v.GetCounter().GetValue() > 0 {
			all[code] = uint64(v.GetCounter().GetValue())
		}
	}
	return all
}

// gauge registers a number that is read when somebody asks.
func (m *metrics) gauge(name, help string, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "claudemesh", Subsystem: "broker", Name: name, Help: help,
	}, read))
}

// count registers a counter that is read when somebody asks.
func (m *metrics) count(name, help string, read func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "claudemesh", Subsystem: "broker", Name: name, Help: help,
	}, read))
}

// MetricsHandler serves the broker's metrics in the Prometheus text format. It tells sizes and counts, no names; the caller
// mounts it where only operators come.
func (s *Server) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{})
}
