//go:build linux && cgo

package nvml

import (
	"fmt"
	"log/slog"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// session is the time from a successful Init to Shutdown. Handles are valid only within it.
type session struct {
	lib     nvml.Interface
	log     *slog.Logger
	version string
	devices []device
	broken  []broken
	watch   *watch // nil where the driver has no events
	hidden  int    // devices that CUDA_VISIBLE_DEVICES doesn't name
	deaf    bool   // events ended with an error: a reload may bring them back
}

type device struct {
	*known
	handle nvml.Device
	card   nvml.Device // the card that a MIG instance is a part of; handle else
}

// broken is a device that the driver counts but that can't be used: it can't be opened, so that its UUID is unknown, or it is a card in MIG
// mode without an instance.
type broken struct {
	index int
	uuid  string
	why   string
}

// begin opens the library. When Init fails nothing else is called; when a later step fails the library is shut down.
func begin(lib nvml.Interface, names *registry, only visible, log *slog.Logger) (*session, nvml.Return) {
	if r := lib.Init(); r != nvml.SUCCESS {
		return nil, r
	}
	s := &session{lib: lib, log: log}
	s.version = s.versions()
	if r := s.enumerate(names, only); r != nvml.SUCCESS {
		lib.Shutdown()
		return nil, r
	}
	s.watch = s.listen()
	return s, nvml.SUCCESS
}

// end waits for the watcher, because a Wait in progress while the library shuts down would crash the process.
func (s *session) end() {
	s.watch.end()
	s.lib.Shutdown()
}

// has says whether the driver offers one of the symbols. Where calls.c isn't built, calling one that is missing
// ends the process.
func (s *session) has(symbols ...string) bool {
	for _, symbol := range symbols {
		if s.lib.Extensions().LookupSymbol(symbol) == nil {
			return true
		}
	}
	return false
}

func (s *session) versions() string {
	library, driver := "unknown", "unknown"
	if s.has("nvmlSystemGetNVMLVersion") {
		if v, r := s.lib.SystemGetNVMLVersion(); r == nvml.SUCCESS {
			library = v
		}
	}
	if s.has("nvmlSystemGetDriverVersion") {
		if v, r := s.lib.SystemGetDriverVersion(); r == nvml.SUCCESS {
			driver = v
		}
	}
	return fmt.Sprintf("NVML %s, driver %s", library, driver)
}

// seen is a device of the driver's list: a card, or a MIG instance of one.
type seen struct {
	candidate
	handle, card nvml.Device
	instance     int
	why          string // why it can't be used; empty when it can
}

// enumerate lists the devices that exist for us.
func (s *session) enumerate(names *registry, only visible) nvml.Return {
	all, r := s.list()
	if r != nvml.SUCCESS {
		return r
	}
	for _, d := range s.pick(all, only) {
		if d.why != "" {
			s.log.Warn("a GPU can't be used", "index", d.index, "uuid", d.uuid, "reason", d.why)
			s.broken = append(s.broken, broken{d.index, d.uuid, d.why})
			continue
		}
		k := names.admit(d.index, d.instance, d.uuid)
		k.model = s.model(d.handle)
		s.devices = append(s.devices, device{k, d.handle, d.card})
	}
	return nvml.SUCCESS
}

// pick leaves what CUDA_VISIBLE_DEVICES names.
func (s *session) pick(all []seen, only visible) []seen {
	if only == nil {
		return all
	}
	candidates := make([]candidate, len(all))
	for i, d := range all {
		candidates[i] = d.candidate
	}
	shown, unknown := only.shown(candidates)
	if unknown != "" {
		s.log.Warn("CUDA_VISIBLE_DEVICES names a device that isn't here; it and those behind it don't exist", "device", unknown)
	}
	s.hidden = len(all) - len(shown)
	var out []seen
	for _, i := range shown {
		out = append(out, all[i])
	}
	return out
}

// list is what the driver has: a card in MIG mode stands there with its instances only.
func (s *session) list() (all []seen, _ nvml.Return) {
	count, r := s.lib.DeviceGetCount()
	if r != nvml.SUCCESS {
		return nil, r
	}
	for i := range count {
		handle, r := s.lib.DeviceGetHandleByIndex(i)
		var uuid string
		if r == nvml.SUCCESS {
			uuid, r = handle.GetUUID()
		}
		if driverGone(r) {
			return nil, r
		}
		card := seen{candidate: candidate{i, uuid, uuid}, handle: handle, card: handle, instance: wholeCard}
		switch {
		case r != nvml.SUCCESS:
			card.uuid, card.candidate.card, card.why = "", "", explain(r)
			all = append(all, card)
		case s.divided(handle):
			all = append(all, s.instances(card)...)
		default:
			all = append(all, card)
		}
	}
	return all, nvml.SUCCESS
}

// divided tells whether a card is in MIG mode: no program can use it as a whole.
func (s *session) divided(handle nvml.Device) bool {
	if !s.has("nvmlDeviceGetMigMode") {
		return false
	}
	mode, _, r := handle.GetMigMode()
	return r == nvml.SUCCESS && mode == nvml.DEVICE_MIG_ENABLE
}

// instances are the MIG instances of a card.
func (s *session) instances(card seen) (out []seen) {
	if s.has("nvmlDeviceGetMaxMigDeviceCount") && s.has("nvmlDeviceGetMigDeviceHandleByIndex") {
		most, r := card.handle.GetMaxMigDeviceCount()
		for i := 0; r == nvml.SUCCESS && i < most; i++ {
			handle, r := card.handle.GetMigDeviceHandleByIndex(i)
			if r != nvml.SUCCESS { // an empty place
				continue
			}
			if uuid, r := handle.GetUUID(); r == nvml.SUCCESS {
				out = append(out, seen{candidate: candidate{card.index, uuid, card.uuid}, handle: handle, card: card.handle, instance: i})
			}
		}
	}
	if len(out) == 0 {
		card.why = "it is in MIG mode and has no instance that could be used"
		out = append(out, card)
	}
	return out
}

// model is the product's name.
func (s *session) model(handle nvml.Device) string {
	name, r := handle.GetName()
	if r != nvml.SUCCESS {
		return "NVIDIA GPU"
	}
	return name
}

// find is the device of this session that is k, nil when the driver doesn't list it.
func (s *session) find(k *known) *device {
	for i := range s.devices {
		if s.devices[i].known == k {
			return &s.devices[i]
		}
	}
	return nil
}
