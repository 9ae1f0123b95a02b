//go:build linux && cgo

package nvml

import (
	"cmp"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"modelops/messages"
)

// The kinds of devices here.
const (
	kind = "cuda"
	// sharedKind is a GPU without memory of its own: it uses the RAM, which the driver tells nothing of.
	sharedKind = "unified"
)

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
		if p.shared {
			reading.Kind = sharedKind
		} else if reading.CapacityBytes == 0 {
			return lostReading(k, "it reports no memory"), nvml.SUCCESS
		}
		return reading, nvml.SUCCESS
	case driverGone(p.bad):
		return nil, p.bad
	}
	return lostReading(k, explain(p.bad)), nvml.SUCCESS
}

// missing says why a device that was seen before isn't in this session.
func (o *owner) missing() string {
	if len(o.live.broken) > 0 {
		return o.live.broken[0].why
	}
	return "the driver no longer lists it"
}

// unnamed are readings for devices that can't be opened and are none of the known lost ones: without them a GPU that was
// dead from the start would be invisible. Their number is kept for them only while they are broken.
func (o *owner) unnamed(lost int) []*messages.DeviceReading {
	var out []*messages.DeviceReading
	for _, b := range o.live.broken[min(lost, len(o.live.broken)):] {
		k := &known{number: o.names.free(b.index), instance: wholeCard, uuid: b.uuid, model: "NVIDIA GPU"}
		out = append(out, lostReading(k, b.why))
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
	if len(out) == 0 && o.hasCards() {
		// None was ever seen, so neither their number nor their names are known; one stands for all.
		out = append(out, lostReading(&known{instance: wholeCard, model: "NVIDIA GPU"}, why))
	}
	return out
}

// hasCards tells whether the driver answers for hardware: libraries are also installed where no card is, without the kernel module.
func (o *owner) hasCards() bool {
	return o.why != nvml.ERROR_DRIVER_NOT_LOADED && o.why != nvml.ERROR_LIBRARY_NOT_FOUND || o.out.cards
}

func lostReading(k *known, why string) *messages.DeviceReading {
	return &messages.DeviceReading{
		Device: k.name(), Kind: cmp.Or(k.kind, kind), Name: k.model, Uuid: k.uuid,
		CapacityBytes: k.capacity, EccErrors: noECC, Lost: true, LostReason: why,
	}
}

// probe asks one device. After an answer that means that the device or the driver is gone it asks nothing more.
type probe struct {
	*session
	device nvml.Device
	bad    nvml.Return // SUCCESS while all is well
	shared bool        // its memory is the machine's RAM
}

func (p *probe) reading() *messages.DeviceReading {
	m := &messages.DeviceReading{EccErrors: noECC}
	m.CapacityBytes, m.UsedBytes = p.memory()
	m.Processes = p.processes()
	if p.may("nvmlDeviceGetUtilizationRates") {
		if u, r := p.device.GetUtilizationRates(); p.ok(r) {
			m.UtilizationPct = min(u.Gpu, 100)
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

// memory is what programs can use and what they use, in bytes. A GPU that shares the system's memory has none of its own, and the driver
// doesn't support the question. Any other refusal makes the device unusable, so it counts as lost. A use of more than there is is a reading
// from a moment when the figures didn't fit together: all is used then.
func (p *probe) memory() (capacity, used uint64) {
	if p.may("nvmlDeviceGetMemoryInfo_v2") {
		if m, r := p.device.GetMemoryInfo_v2(); p.ok(r) {
			return m.Total - min(m.Reserved, m.Total), min(m.Used, m.Total)
		}
	}
	if !p.may("nvmlDeviceGetMemoryInfo") {
		return 0, 0
	}
	m, r := p.device.GetMemoryInfo()
	switch {
	case p.ok(r):
	case r == nvml.ERROR_NOT_SUPPORTED:
		p.shared = true
	default:
		p.bad = r
	}
	return m.Total, min(m.Used, m.Total)
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
