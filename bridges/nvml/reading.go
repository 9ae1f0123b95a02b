//go:build linux && cgo

package nvml

import (
	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"modelops/messages"
)

// kind of every device here.
const kind = "cuda"

// noECC is the count of a device that doesn't count.
const noECC = -1

// sample reads one device. The answer is SUCCESS unless the whole driver is gone; a lost device is a reading.
func (o *owner) sample(k *known) (*messages.DeviceReading, nvml.Return) {
	d := o.live.find(k)
	if d == nil {
		return lostReading(k, o.missing()), nvml.SUCCESS
	}
	p := probe{session: o.live, device: d.handle}
	reading := p.reading()
	switch {
	case p.bad == nvml.SUCCESS:
		reading.Device, reading.Kind, reading.Name, reading.Uuid = k.name(), kind, k.model, k.uuid
		return reading, nvml.SUCCESS
	case driverGone(p.bad):
		return nil, p.bad
	}
	return lostReading(k, explain(p.bad)), nvml.SUCCESS
}

// missing says why a device that was seen before isn't in this session.
func (o *owner) missing() string {
	if len(o.live.broken) > 0 {
		return explain(o.live.broken[0].why)
	}
	return "the driver no longer lists it"
}

// unnamed are readings for devices that can't be opened and are none of the known lost ones: without them a GPU that was
// dead from the start would be invisible. Their number is kept for them only while they are broken.
func (o *owner) unnamed(lost int) []*messages.DeviceReading {
	var out []*messages.DeviceReading
	for _, b := range o.live.broken[min(lost, len(o.live.broken)):] {
		k := &known{number: o.names.free(b.index), model: "NVIDIA GPU"}
		out = append(out, lostReading(k, explain(b.why)))
	}
	return out
}

func (o *owner) allLost(why string) []*messages.DeviceReading {
	var out []*messages.DeviceReading
	for _, k := range o.names.devices {
		reading := lostReading(k, why)
		o.note(k, reading)
		out = append(out, reading)
	}
	return out
}

func lostReading(k *known, why string) *messages.DeviceReading {
	return &messages.DeviceReading{
		Device: k.name(), Kind: kind, Name: k.model, Uuid: k.uuid,
		CapacityBytes: k.capacity, EccErrors: noECC, Lost: true, LostReason: why,
	}
}

// probe asks one device. After an answer that means that the device or the driver is gone it asks nothing more.
type probe struct {
	*session
	device nvml.Device
	bad    nvml.Return // SUCCESS while all is well
}

func (p *probe) reading() *messages.DeviceReading {
	m := &messages.DeviceReading{EccErrors: noECC}
	m.CapacityBytes, m.UsedBytes = p.memory()
	m.Processes = p.processes()
	if p.may("nvmlDeviceGetUtilizationRates") {
		if u, r := p.device.GetUtilizationRates(); p.ok(r) {
			m.UtilizationPct = u.Gpu
		}
	}
	if p.may("nvmlDeviceGetTemperature") {
		if t, r := p.device.GetTemperature(nvml.TEMPERATURE_GPU); p.ok(r) {
			m.TemperatureC = t
		}
	}
	if p.may("nvmlDeviceGetPowerUsage") {
		if milliwatts, r := p.device.GetPowerUsage(); p.ok(r) {
			m.PowerWatts = float64(milliwatts) / 1000
		}
	}
	m.EccErrors = p.ecc()
	return m
}

// memory is what programs can use and what they use, in bytes. A GPU that shares the system's memory has no
// memory of its own: 0, so that nothing is placed on it. Any other refusal makes the device unusable, so it counts as lost.
func (p *probe) memory() (capacity, used uint64) {
	if p.may("nvmlDeviceGetMemoryInfo_v2") {
		if m, r := p.device.GetMemoryInfo_v2(); p.ok(r) {
			return m.Total - min(m.Reserved, m.Total), m.Used
		}
	}
	if !p.may("nvmlDeviceGetMemoryInfo") {
		return 0, 0
	}
	m, r := p.device.GetMemoryInfo()
	if !p.ok(r) && r != nvml.ERROR_NOT_SUPPORTED {
		p.bad = r
	}
	return m.Total, m.Used
}

// ecc counts the errors that could not be corrected since the driver was loaded.
func (p *probe) ecc() int64 {
	if !p.may("nvmlDeviceGetEccMode") || !p.may("nvmlDeviceGetTotalEccErrors") {
		return noECC
	}
	if mode, _, r := p.device.GetEccMode(); !p.ok(r) || mode != nvml.FEATURE_ENABLED {
		return noECC
	}
	count, r := p.device.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC)
	if !p.ok(r) {
		return noECC
	}
	return int64(min(count, 1<<62))
}

// may says whether one of the symbols can be called.
func (p *probe) may(symbols ...string) bool { return p.bad == nvml.SUCCESS && p.has(symbols...) }

// ok says whether there is a value. Not supported and not permitted are no faults: the value is just not there.
func (p *probe) ok(r nvml.Return) bool {
	if driverGone(r) || deviceLost(r) {
		p.bad = r
	}
	return r == nvml.SUCCESS
}
