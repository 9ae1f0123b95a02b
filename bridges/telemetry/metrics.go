package telemetry

import (
	"cmp"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"modelops/messages"
)

// unknown stands for every name that is not declared, so that callers can't create series.
const unknown = "_unknown"

// Metrics counts. All methods may be called from any goroutine.
type Metrics struct {
	*set
	host  string
	began time.Time

	mu sync.RWMutex
	// models maps a declared model's names, aliases too, to the name it is counted under.
	models map[string]string
	// gone are the models whose series were dropped at the last look. They are dropped once more at the next one: a request that ended meanwhile
	// may have known its model still.
	gone []string
	// gpus are the devices shown now, by actor id.
	gpus map[string]gpuLabels
	// waiting is since when jobs wait for memory.
	waiting map[messages.ActorID]time.Time
}

// New makes the metrics of one host. They exist only in this value: there is no global registry.
func New(version, host string) *Metrics {
	m := &Metrics{set: newSet(), host: host, began: time.Now(), models: map[string]string{}, gpus: map[string]gpuLabels{}, waiting: map[messages.ActorID]time.Time{}}
	m.gauge("modelops_build_info").WithLabelValues(version, runtime.Version()).Set(1)
	m.gauge("modelops_service_info_info").WithLabelValues(version, "modelops_coordinator").Set(1)
	for kind, name := range messages.JobSpec_Kind_name { // from the start, as 0: there are few
		if kind != 0 {
			m.histogram("modelops_learning_job_duration_seconds").WithLabelValues(name)
		}
	}
	return m
}

// Handler serves the metrics in Prometheus' formats. Each refresh runs before a scrape, and is the place to hand in what
// is only known by asking: SetModelStates, SetGPUs, SetJournalLag.
func (m *Metrics) Handler(refresh ...func()) http.Handler {
	page := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, f := range refresh {
			f()
		}
		m.gauge("modelops_uptime_seconds").WithLabelValues().Set(time.Since(m.began).Seconds())
		page.ServeHTTP(w, r)
	})
}

// ObserveRequest counts an inference request that ended. Code is its HTTP status, or the name of the error on doors that
// have no status; class is the caller's.
func (m *Metrics) ObserveRequest(model, code, class string, d time.Duration) {
	model = m.known(model)
	m.counter("modelops_requests_total").WithLabelValues(model, m.host, code, class).Inc()
	m.histogram("modelops_request_duration_seconds").WithLabelValues(model).Observe(d.Seconds())
	status := statusOf(code)
	m.counter("inference_requests_total").WithLabelValues(model, status).Inc()
	old := m.counter("modelops_inference_requests_total")
	if status != "success" {
		old.WithLabelValues(model, "failure").Inc()
	} else {
		old.WithLabelValues(model, "success").Inc()
		m.histogram("modelops_inference_duration_seconds").WithLabelValues(model).Observe(d.Seconds())
	}
	if code == "429" || code == "BULKHEAD_REJECTION" {
		m.counter("modelops_bulkhead_rejections_total").WithLabelValues(model).Inc()
	}
}

// statusOf is success for 1xx to 3xx and for OK.
func statusOf(code string) string {
	switch {
	case code == "499" || code == "CANCELLED":
		return "cancelled"
	case code == "OK" || len(code) == 3 && strings.Contains("123", code[:1]):
		return "success"
	}
	return "failure"
}

// ObserveBatch takes how many requests an upstream request to the endpoint answered.
func (m *Metrics) ObserveBatch(model, endpoint string, size int) {
	m.histogram("modelops_batch_size").WithLabelValues(m.known(model), endpoint).Observe(float64(size))
}

// ObserveFirstByte takes the time from a request's arrival to the first byte of the engine's answer.
func (m *Metrics) ObserveFirstByte(model string, d time.Duration) {
	m.histogram("modelops_time_to_first_byte_seconds").WithLabelValues(m.known(model)).Observe(d.Seconds())
}

// ObserveQueueWait takes the time that a granted request had waited.
func (m *Metrics) ObserveQueueWait(model string, d time.Duration) {
	m.histogram("modelops_queue_wait_seconds").WithLabelValues(m.known(model)).Observe(d.Seconds())
}

// ObserveTokens counts what a model generated.
func (m *Metrics) ObserveTokens(model string, n int) {
	m.counter("modelops_inference_tokens_generated_total").WithLabelValues(m.known(model)).Add(float64(max(0, n)))
}

// ObserveLoad counts a load that ended. Result is success or an error's code; d counts only for success.
func (m *Metrics) ObserveLoad(model, result string, d time.Duration) {
	model = m.known(model)
	m.counter("modelops_model_loads_total").WithLabelValues(model, result).Inc()
	if result != "success" {
		return
	}
	m.histogram("modelops_model_load_seconds").WithLabelValues(model).Observe(d.Seconds())
	m.histogram("modelops_model_load_duration_seconds").WithLabelValues(model).Observe(d.Seconds())
	m.histogram("model_load_latency_seconds").WithLabelValues().Observe(d.Seconds())
}

// ObserveUnload counts an unload that ended. Result is success or an error's code.
func (m *Metrics) ObserveUnload(model, result string) {
	m.counter("modelops_model_unloads_total").WithLabelValues(m.known(model), result).Inc()
}

// ModelMoved counts a move to another host that was decided.
func (m *Metrics) ModelMoved(model string) {
	m.counter("modelops_model_moves_total").WithLabelValues(m.known(model)).Inc()
}

// ObserveAppend counts an append to the journal: its time until it was on disk, or its failure.
func (m *Metrics) ObserveAppend(d time.Duration, err error) {
	if err != nil {
		m.counter("modelops_journal_append_failures_total").WithLabelValues().Inc()
		return
	}
	m.histogram("modelops_journal_append_seconds").WithLabelValues().Observe(d.Seconds())
}

// EventsAppended counts the events of decisions that are on disk.
func (m *Metrics) EventsAppended(n int) {
	m.counter("modelops_journal_events_total").WithLabelValues().Add(float64(max(0, n)))
}

// SetJournalLag says how many decisions projections haven't seen yet.
func (m *Metrics) SetJournalLag(decisions uint64) {
	m.gauge("modelops_journal_lag_events").WithLabelValues().Set(float64(decisions))
}

// ActorRestarted counts a crash after which supervision restarted the actor.
func (m *Metrics) ActorRestarted(kind string) {
	m.counter("modelops_actor_restarts_total").WithLabelValues(kind).Inc()
}

// DeviceNotRead counts a reading that a device, or its driver, did not give.
func (m *Metrics) DeviceNotRead(gpu string) {
	m.counter("modelops_gpu_read_failures_total").WithLabelValues(m.host, cmp.Or(gpu, unknown)).Inc()
}

// LeaseGranted counts a lease that was granted.
func (m *Metrics) LeaseGranted() { m.counter("modelops_lease_granted_total").WithLabelValues().Inc() }

// LeaseExpired counts a lease that its holder did not renew.
func (m *Metrics) LeaseExpired() { m.counter("modelops_lease_expired_total").WithLabelValues().Inc() }

// LeaseReclaimed counts a lease that a device took back because its holder did not know it.
func (m *Metrics) LeaseReclaimed() {
	m.counter("modelops_lease_reclaimed_total").WithLabelValues().Inc()
}

// PriorityInverted counts a holder that waits too long for memory of a job of lower priority.
func (m *Metrics) PriorityInverted() {
	m.counter("modelops_priority_inversions_total").WithLabelValues().Inc()
}

// LeaseFenced counts a lease whose holder has to stop because its device does not know it any more, or granted it to another.
func (m *Metrics) LeaseFenced() { m.counter("modelops_lease_fenced_total").WithLabelValues().Inc() }

// WrongKey counts a key that nobody has, by the door where it was presented: http, grpc, nats. A slowed one was refused unseen.
func (m *Metrics) WrongKey(door string, slowed bool) {
	answer := "refused"
	if slowed {
		answer = "slowed"
	}
	m.counter("modelops_wrong_keys_total").WithLabelValues(door, answer).Inc()
}

// Refused counts the connections that a full door refused, or closed because they were idle: http, grpc, nats.
func (m *Metrics) Refused(door string) func(n int) {
	c := m.counter("modelops_connections_refused_total").WithLabelValues(door)
	return func(n int) { c.Add(float64(n)) }
}

// ErrorTold counts an error by its code and the door that told it: rest, grpc, nats.
func (m *Metrics) ErrorTold(code, door string) {
	m.counter("modelops_errors_total").WithLabelValues(code, door).Inc()
}

// HTTPRequest counts a request by its route's pattern; an empty route is a path that doesn't exist here.
func (m *Metrics) HTTPRequest(method, route, code string) {
	if route == "" {
		route = unknown
	}
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
	default:
		method = unknown
	}
	m.counter("http_requests_total").WithLabelValues(method, route, code).Inc()
}
