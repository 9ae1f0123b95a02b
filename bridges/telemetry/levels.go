package telemetry

import (
	"slices"

	"modelops/messages"
)

// phases are the states of a model that are shown.
var phases = []string{"absent", "placing", "loading", "ready", "falling_asleep", "asleep", "waking", "draining", "stopping", "waiting", "failed"}

// known bounds the model label.
func (m *Metrics) known(model string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if name, ok := m.models[model]; ok {
		return name
	}
	return unknown
}

// SetQueueDepth says how many requests wait for a model now.
func (m *Metrics) SetQueueDepth(model string, n int) {
	model = m.known(model)
	m.gauge("modelops_queue_depth").WithLabelValues(model).Set(float64(n))
	m.gauge("modelops_bulkhead_queue_size").WithLabelValues(model).Set(float64(n))
}

// SetModelStates shows the models as they are now. It also declares their names and aliases: whatever else is counted for
// a model before it was declared here is counted as "_unknown". Models that are no longer given lose their series: a counter begins at 0 when its
// model comes back. Of models of other hosts, elsewhere, only the names count: each host shows its own.
func (m *Metrics) SetModelStates(views []*messages.ModelView, elsewhere ...*messages.ModelView) {
	m.declare(slices.Concat(elsewhere, views))
	ready := 0
	for _, v := range views {
		if v.GetPhase() == messages.ModelView_ready {
			ready++
		}
		m.setModel(v)
	}
	m.gauge("active_models").WithLabelValues().Set(float64(ready))
	m.gauge("modelops_models_loaded_total").WithLabelValues().Set(float64(ready))
}

// declare replaces the known names. The names come from the configuration, so their number is the operator's choice.
func (m *Metrics) declare(views []*messages.ModelView) {
	names, now := map[string]string{}, map[string]bool{}
	for _, v := range views {
		for _, alias := range v.GetSpec().GetAliases() {
			names[alias] = v.GetName()
		}
	}
	for _, v := range views { // a name is stronger than another's alias
		names[v.GetName()] = v.GetName()
		now[v.GetName()] = true
	}
	m.mu.Lock()
	gone := map[string]bool{}
	for _, name := range m.models {
		gone[name] = !now[name]
	}
	again := m.gone
	m.models, m.gone = names, nil
	for name, is := range gone {
		if is {
			m.gone = append(m.gone, name)
		}
	}
	drop := slices.Concat(m.gone, slices.DeleteFunc(again, func(name string) bool { return now[name] }))
	m.mu.Unlock()
	for _, name := range drop {
		m.dropModel(name)
	}
}

func (m *Metrics) setModel(v *messages.ModelView) {
	name := v.GetName()
	for _, phase := range phases {
		m.gauge("modelops_model_state").WithLabelValues(name, phase).Set(yes(v.GetPhase().String() == phase))
	}
	vram, active, breaker := float64(v.GetMeasuredBytes()), float64(v.GetActive()), breakerLevel(v.GetBreaker())
	m.gauge("modelops_model_vram_bytes").WithLabelValues(name).Set(vram)
	m.gauge("modelops_model_vram_usage_bytes").WithLabelValues(name).Set(vram)
	m.gauge("modelops_active_requests").WithLabelValues(name).Set(active)
	m.gauge("modelops_inference_active_requests").WithLabelValues(name).Set(active)
	m.gauge("modelops_bulkhead_active_requests").WithLabelValues(name).Set(active)
	m.gauge("modelops_circuit_state").WithLabelValues(name).Set(breaker)
	m.gauge("modelops_circuit_breaker_state").WithLabelValues(name).Set(breaker)
	m.SetQueueDepth(name, int(v.GetQueued()))
}

func breakerLevel(state messages.ModelView_Breaker) float64 {
	switch state {
	case messages.ModelView_half_open:
		return 2
	case messages.ModelView_open:
		return 1
	}
	return 0
}

type gpuLabels struct{ host, gpu string }

var gpuGauges = []string{"modelops_gpu_vram_total_bytes", "modelops_gpu_vram_used_bytes", "modelops_gpu_vram_reserved_bytes",
	"modelops_gpu_vram_foreign_bytes", "modelops_gpu_utilization_ratio", "modelops_gpu_lost", "modelops_leases"}

// SetGPUs shows the devices as they are now. What the device itself said is only shown where it said something.
func (m *Metrics) SetGPUs(views []*messages.GpuView) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := map[string]gpuLabels{}
	var total, used uint64
	var busiest uint32
	for _, v := range views {
		now[v.GetId()] = gpuLabels{v.GetHost(), v.GetDevice()}
		m.setGPU(v)
		total += v.GetCapacityBytes()
		used += v.GetReading().GetUsedBytes()
		busiest = max(busiest, v.GetReading().GetUtilizationPct())
	}
	for id, l := range m.gpus {
		if _, ok := now[id]; ok {
			continue
		}
		for _, g := range gpuGauges {
			m.gauge(g).DeleteLabelValues(l.host, l.gpu)
		}
		m.gauge("gpu_vram_used_mb").DeleteLabelValues(l.gpu)
	}
	m.gpus = now
	m.gauge("modelops_vram_total_bytes").WithLabelValues().Set(float64(total))
	m.gauge("modelops_vram_usage_bytes").WithLabelValues().Set(float64(used))
	m.gauge("modelops_gpu_usage_percent").WithLabelValues().Set(float64(busiest))
}

func (m *Metrics) setGPU(v *messages.GpuView) {
	set := func(name string, value float64) {
		m.gauge(name).WithLabelValues(v.GetHost(), v.GetDevice()).Set(value)
	}
	set("modelops_gpu_vram_total_bytes", float64(v.GetCapacityBytes()))
	set("modelops_gpu_vram_reserved_bytes", float64(v.GetReservedBytes()))
	set("modelops_gpu_vram_foreign_bytes", float64(v.GetForeignBytes()))
	set("modelops_gpu_lost", yes(v.GetLost()))
	set("modelops_leases", float64(len(v.GetReservations())))
	if r := v.GetReading(); r != nil {
		set("modelops_gpu_vram_used_bytes", float64(r.GetUsedBytes()))
		set("modelops_gpu_utilization_ratio", float64(r.GetUtilizationPct())/100)
		m.gauge("gpu_vram_used_mb").WithLabelValues(v.GetDevice()).Set(float64(r.GetUsedBytes()) / float64(messages.MiB))
	}
}

func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
