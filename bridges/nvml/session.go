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
	deaf    bool   // events ended with an error: a reload may bring them back
}

type device struct {
	*known
	handle nvml.Device
}

// broken is a device that the driver counts but doesn't let us open, so its UUID is unknown.
type broken struct {
	index int
	why   nvml.Return
}

// begin opens the library. When Init fails nothing else is called; when a later step fails the library is shut down.
func begin(lib nvml.Interface, names *registry, log *slog.Logger) (*session, nvml.Return) {
	if r := lib.Init(); r != nvml.SUCCESS {
		return nil, r
	}
	s := &session{lib: lib, log: log}
	s.version = s.versions()
	if r := s.enumerate(names); r != nvml.SUCCESS {
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

func (s *session) enumerate(names *registry) nvml.Return {
	count, r := s.lib.DeviceGetCount()
	if r != nvml.SUCCESS {
		return r
	}
	for i := range count {
		handle, r := s.lib.DeviceGetHandleByIndex(i)
		var uuid string
		if r == nvml.SUCCESS {
			uuid, r = handle.GetUUID()
		}
		if driverGone(r) {
			return r
		}
		if r != nvml.SUCCESS {
			s.log.Warn("a GPU can't be opened", "index", i, "reason", explain(r))
			s.broken = append(s.broken, broken{i, r})
			continue
		}
		d := device{names.admit(i, uuid), handle}
		d.model = s.model(handle)
		s.devices = append(s.devices, d)
	}
	return nvml.SUCCESS
}

// model is the product's name. A GPU that is cut into MIG instances says so: its memory can't be used as a whole.
func (s *session) model(handle nvml.Device) string {
	name, r := handle.GetName()
	if r != nvml.SUCCESS {
		name = "NVIDIA GPU"
	}
	if !s.has("nvmlDeviceGetMigMode") {
		return name
	}
	if mode, _, r := handle.GetMigMode(); r == nvml.SUCCESS && mode == nvml.DEVICE_MIG_ENABLE {
		name += " (MIG)"
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
