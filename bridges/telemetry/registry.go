package telemetry

import (
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// set holds the catalogue's metrics, made and registered.
type set struct {
	registry   *prometheus.Registry
	counters   map[string]*prometheus.CounterVec
	gauges     map[string]*prometheus.GaugeVec
	histograms map[string]*prometheus.HistogramVec
}

func newSet() *set {
	s := &set{registry: prometheus.NewRegistry(), counters: map[string]*prometheus.CounterVec{}, gauges: map[string]*prometheus.GaugeVec{}, histograms: map[string]*prometheus.HistogramVec{}}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, section := range sections {
		for _, m := range section.metrics {
			s.add(m)
		}
	}
	return s
}

func (s *set) add(m metric) {
	switch m.kind {
	case counter:
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.name, Help: m.help}, m.labels)
		s.counters[m.name] = c
		s.registry.MustRegister(c)
	case gauge:
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: m.name, Help: m.help}, m.labels)
		s.gauges[m.name] = g
		s.registry.MustRegister(g)
	case histogram:
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.name, Help: m.help, Buckets: m.bucket}, m.labels)
		s.histograms[m.name] = h
		s.registry.MustRegister(h)
	default:
		panic(fmt.Sprintf("%s: no kind of metric is called %q", m.name, m.kind))
	}
	if len(m.labels) == 0 {
		s.show(m)
	}
}

// show makes the one series of a metric without labels, so that it is there from the start, as 0.
func (s *set) show(m metric) {
	switch m.kind {
	case counter:
		s.counters[m.name].WithLabelValues()
	case gauge:
		s.gauges[m.name].WithLabelValues()
	case histogram:
		s.histograms[m.name].WithLabelValues()
	}
}

// A name that the catalogue doesn't hold is a mistake of this package, found by the first test that comes by.
func (s *set) counter(name string) *prometheus.CounterVec {
	c, ok := s.counters[name]
	if !ok {
		panic(name + " is no counter of the catalogue")
	}
	return c
}

func (s *set) gauge(name string) *prometheus.GaugeVec {
	g, ok := s.gauges[name]
	if !ok {
		panic(name + " is no gauge of the catalogue")
	}
	return g
}

func (s *set) histogram(name string) *prometheus.HistogramVec {
	h, ok := s.histograms[name]
	if !ok {
		panic(name + " is no histogram of the catalogue")
	}
	return h
}

// modelLabels are the labels that hold a model's name, today's and those of old names.
var modelLabels = []string{"model", "model_name", "operation"}

// dropModel ends all series of a model.
func (s *set) dropModel(name string) {
	for _, section := range sections {
		for _, m := range section.metrics {
			for _, label := range modelLabels {
				if slices.Contains(m.labels, label) {
					s.vector(m).DeletePartialMatch(prometheus.Labels{label: name})
				}
			}
		}
	}
}

func (s *set) vector(m metric) interface {
	DeletePartialMatch(prometheus.Labels) int
} {
	switch m.kind {
	case counter:
		return s.counter(m.name)
	case gauge:
		return s.gauge(m.name)
	}
	return s.histogram(m.name)
}
