package telemetry

// kind of a metric, as Prometheus names it.
type kind string

const (
	counter   kind = "counter"
	gauge     kind = "gauge"
	histogram kind = "histogram"
)

// metric is a row of the catalogue.
type metric struct {
	name   string
	kind   kind
	labels []string
	help   string
	bucket []float64
	// old says why the name breaks today's rules for names; empty for those that keep them.
	old string
}

var (
	// requestBuckets reach from a cached token to a long generation, loadBuckets to a large model from a slow disk.
	// appendBuckets are those of an fsync. Seconds.
	requestBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}
	loadBuckets    = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
	appendBuckets  = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1}
	// jobBuckets reach from a job of a test to a day. The old coordinator's ended at 10 s, where all real jobs would fall together.
	jobBuckets = []float64{.1, .5, 1, 5, 10, 30, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400}
	// sizeBuckets count requests.
	sizeBuckets = []float64{1, 2, 4, 8, 16, 32, 64, 128, 256}
	// oldBuckets are the Python coordinator's.
	oldBuckets = []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}
)

// sections keep the catalogue in the order in which docs/metrics.md shows it.
var sections = []struct {
	title   string
	metrics []metric
}{
	{"Requests", []metric{
		{name: "modelops_requests_total", kind: counter, labels: []string{"model", "host", "code", "class"}, help: "Inference requests that ended, by HTTP status (499: the caller left)."},
		{name: "modelops_request_duration_seconds", kind: histogram, labels: []string{"model"}, bucket: requestBuckets, help: "Time from a request's arrival to its end, waiting and failures included."},
		{name: "modelops_time_to_first_byte_seconds", kind: histogram, labels: []string{"model"}, bucket: requestBuckets, help: "Time from a request's arrival to the first byte of the engine's answer."},
		{name: "modelops_queue_wait_seconds", kind: histogram, labels: []string{"model"}, bucket: requestBuckets, help: "Time that granted requests had waited for their place."},
		{name: "modelops_batch_size", kind: histogram, labels: []string{"model", "endpoint"}, bucket: sizeBuckets, help: "Requests that one upstream request answered, of those that can share one (1: went alone)."},
		{name: "modelops_queue_depth", kind: gauge, labels: []string{"model"}, help: "Requests that wait for a place now."},
		{name: "modelops_active_requests", kind: gauge, labels: []string{"model"}, help: "Requests that hold a place now."},
		{name: "modelops_circuit_state", kind: gauge, labels: []string{"model"}, help: "Breaker of the model's worker: 0 closed, 1 open, 2 half-open."},
	}},
	{"Models", []metric{
		{name: "modelops_model_state", kind: gauge, labels: []string{"model", "state"}, help: "1 for the state that the model is in, 0 for the others."},
		{name: "modelops_model_loads_total", kind: counter, labels: []string{"model", "result"}, help: "Loads that ended; result is success or an error's code."},
		{name: "modelops_model_load_seconds", kind: histogram, labels: []string{"model"}, bucket: loadBuckets, help: "Time from the decision to load until the model was ready."},
		{name: "modelops_model_unloads_total", kind: counter, labels: []string{"model", "result"}, help: "Unloads that ended; result is success or an error's code."},
		{name: "modelops_model_moves_total", kind: counter, labels: []string{"model"}, help: "Moves to another host's free memory that were decided when the model had to leave its host; counted where the arbiter is."},
		{name: "modelops_model_vram_bytes", kind: gauge, labels: []string{"model"}, help: "Device memory of the model's worker, measured after its load."},
	}},
	{"Devices and leases", []metric{
		{name: "modelops_gpu_vram_total_bytes", kind: gauge, labels: []string{"host", "gpu"}, help: "Memory of the device."},
		{name: "modelops_gpu_vram_used_bytes", kind: gauge, labels: []string{"host", "gpu"}, help: "Memory in use by anyone, as the device says."},
		{name: "modelops_gpu_vram_reserved_bytes", kind: gauge, labels: []string{"host", "gpu"}, help: "Memory that the ledger has promised."},
		{name: "modelops_gpu_vram_foreign_bytes", kind: gauge, labels: []string{"host", "gpu"}, help: "Memory in use by processes that aren't ours."},
		{name: "modelops_gpu_utilization_ratio", kind: gauge, labels: []string{"host", "gpu"}, help: "How busy the device is, 0 to 1."},
		{name: "modelops_gpu_lost", kind: gauge, labels: []string{"host", "gpu"}, help: "1 when the device doesn't answer."},
		{name: "modelops_gpu_read_failures_total", kind: counter, labels: []string{"host", "gpu"}, help: "Readings that a device or its driver did not give; the gpu is _unknown while none of the driver's is known."},
		{name: "modelops_leases", kind: gauge, labels: []string{"host", "gpu"}, help: "Leases on the device's memory now."},
		{name: "modelops_lease_granted_total", kind: counter, help: "Leases granted."},
		{name: "modelops_lease_expired_total", kind: counter, help: "Leases that ended because their holder did not renew them."},
		{name: "modelops_lease_reclaimed_total", kind: counter, help: "Leases that a device took back because their holder did not know them."},
		{name: "modelops_priority_inversions_total", kind: counter, help: "Holders that waited longer than queue.max_wait for memory of a job of lower priority that didn't leave."},
		{name: "modelops_lease_fenced_total", kind: counter, help: "Leases whose holder had to stop because the device did not know them any more, or granted them to another."},
	}},
	{"Other hosts of the cluster", []metric{
		{name: "modelops_peer_members", kind: gauge, labels: []string{"state"}, help: "Hosts of the cluster by their state, this one included, as this host sees them; nothing on a host alone."},
		{name: "modelops_peer_heard_age_seconds", kind: gauge, labels: []string{"peer"}, help: "Time since the host was heard last."},
		{name: "modelops_peer_report_age_seconds", kind: gauge, labels: []string{"peer"}, help: "Age of the host's last report on its models and devices."},
		{name: "modelops_peer_rtt_seconds", kind: gauge, labels: []string{"peer"}, help: "A round trip on the link to the host."},
		{name: "modelops_peer_clock_offset_seconds", kind: gauge, labels: []string{"peer"}, help: "The host's clock minus this one's."},
		{name: "modelops_peer_copy_lag_events", kind: gauge, labels: []string{"peer"}, help: "Decisions of the host's journal that aren't copied here yet."},
		{name: "modelops_archive_lag_events", kind: gauge, labels: []string{"host"}, help: "Decisions of this host's journal that the hub hasn't stored yet; with journal.archive: hub."},
	}},
	{"Jobs", []metric{
		{name: "modelops_jobs", kind: gauge, labels: []string{"state"}, help: "Jobs of this host by state."},
		{name: "modelops_job_queue_wait_seconds", kind: histogram, bucket: jobBuckets, help: "Time that an attempt of a job waited for its memory; waits that began before the start aren't counted."},
	}},
	{"The house", []metric{
		{name: "modelops_journal_append_seconds", kind: histogram, bucket: appendBuckets, help: "Time of an append until it was on disk."},
		{name: "modelops_journal_append_failures_total", kind: counter, help: "Appends that failed."},
		{name: "modelops_journal_events_total", kind: counter, help: "Events appended since the start."},
		{name: "modelops_journal_lag_events", kind: gauge, help: "Decisions that projections haven't seen yet."},
		{name: "modelops_actor_restarts_total", kind: counter, labels: []string{"kind"}, help: "Actors that came back after a crash."},
		{name: "modelops_errors_total", kind: counter, labels: []string{"error_type", "component"}, help: "Errors told to callers, by code and by the door that told them."},
		{name: "modelops_wrong_keys_total", kind: counter, labels: []string{"door", "answer"}, help: "Wrong keys that were presented: refused, or slowed, which is refused unseen because too many came from one address."},
		{name: "modelops_connections_refused_total", kind: counter, labels: []string{"door"}, help: "Connections that a full door refused, or closed to let a new one in."},
		{name: "modelops_uptime_seconds", kind: gauge, help: "Time since the start of the process."},
		{name: "modelops_build_info", kind: gauge, labels: []string{"version", "goversion"}, help: "Always 1; the labels say which build this is."},
	}},
	{"Names of the blueprint", []metric{
		{name: "inference_requests_total", kind: counter, labels: []string{"model", "status"}, help: "Inference requests that ended; status is success, failure or cancelled."},
		{name: "model_load_latency_seconds", kind: histogram, bucket: loadBuckets, help: "Load times of all models together; see modelops_model_load_seconds."},
		{name: "gpu_vram_used_mb", kind: gauge, labels: []string{"gpu"}, help: "Memory in use on the device, in MiB; see modelops_gpu_vram_used_bytes.", old: "not in base units"},
		{name: "active_models", kind: gauge, help: "Models that are ready."},
		{name: "http_requests_total", kind: counter, labels: []string{"method", "path", "code"}, help: "HTTP requests by route."},
	}},
	{"Names of the Python coordinator", []metric{
		{name: "modelops_service_info_info", kind: gauge, labels: []string{"version", "component"}, help: "Always 1; see modelops_build_info."},
		{name: "modelops_models_loaded_total", kind: gauge, help: "Same as active_models.", old: "a gauge called total"},
		{name: "modelops_vram_total_bytes", kind: gauge, help: "Memory of all devices together."},
		{name: "modelops_vram_usage_bytes", kind: gauge, help: "Memory in use on all devices together."},
		{name: "modelops_gpu_usage_percent", kind: gauge, help: "Use of the busiest device, 0 to 100."},
		{name: "modelops_model_vram_usage_bytes", kind: gauge, labels: []string{"model_name"}, help: "Same as modelops_model_vram_bytes."},
		{name: "modelops_inference_active_requests", kind: gauge, labels: []string{"model_name"}, help: "Same as modelops_active_requests."},
		{name: "modelops_inference_requests_total", kind: counter, labels: []string{"model_name", "status"}, help: "Inference requests that ended; status is success or failure."},
		{name: "modelops_inference_duration_seconds", kind: histogram, labels: []string{"model_name"}, bucket: oldBuckets, help: "Duration of requests that succeeded."},
		{name: "modelops_inference_tokens_generated_total", kind: counter, labels: []string{"model_name"}, help: "Tokens generated, where they were counted on the way (not in HTTP pass-through)."},
		{name: "modelops_model_load_duration_seconds", kind: histogram, labels: []string{"model_name"}, bucket: oldBuckets, help: "Same as modelops_model_load_seconds."},
		{name: "modelops_learning_jobs_total", kind: gauge, labels: []string{"status"}, help: "Same as modelops_jobs, in the old words: pending, running, completed, failed, cancelled.", old: "a gauge called total"},
		{name: "modelops_goals_total", kind: gauge, labels: []string{"status", "priority"}, help: "Goals of this host; status is pending, running, completed, failed or cancelled.", old: "a gauge called total"},
		{name: "modelops_learning_job_duration_seconds", kind: histogram, labels: []string{"job_type"}, bucket: jobBuckets, help: "Time from the first start of a job to its end."},
		{name: "modelops_circuit_breaker_state", kind: gauge, labels: []string{"operation"}, help: "Same as modelops_circuit_state; the operation is the model."},
		{name: "modelops_bulkhead_active_requests", kind: gauge, labels: []string{"operation"}, help: "Same as modelops_active_requests; the operation is the model."},
		{name: "modelops_bulkhead_queue_size", kind: gauge, labels: []string{"operation"}, help: "Same as modelops_queue_depth; the operation is the model."},
		{name: "modelops_bulkhead_rejections_total", kind: counter, labels: []string{"operation"}, help: "Requests refused because the queue was full; the operation is the model."},
	}},
}
