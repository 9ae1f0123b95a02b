package runtime

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"modelops/bridges/process"
	"modelops/messages"
)

// Peak is the most memory in bytes that the worker and its children have held so far: what must stay reserved for it. Where
// the options measure a device, which remembers no peak, it is what they hold now; the caller keeps the largest. Of an
// attached server it is what that says of the model, and 0 of a remote one.
func (r *Runtime) Peak(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) (uint64, error) {
	spec = r.resolved(spec)
	now, err := r.Used(ctx, spec, w)
	if err != nil || w.Remote || !r.ram {
		return now, err
	}
	peak, err := process.PeakBytes(w.Pid)
	return max(now, peak), err
}

// Used is the memory in bytes that the worker and its children hold at this moment.
func (r *Runtime) Used(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) (uint64, error) {
	spec = r.resolved(spec)
	if !w.Remote {
		return r.o.Measure(w.Pid)
	}
	k, err := r.kindOf(spec)
	if err != nil || k.attached == nil {
		return 0, err
	}
	a := r.ask(ctx, spec, w, k.attached.loaded)
	if a.status != http.StatusOK {
		return 0, messages.Errorf(messages.Unavailable, subject(spec), "%s%s: %s", w.Url, k.attached.loaded, a.words())
	}
	m, _ := a.listed(upstreamName(spec))
	if m.SizeVRAM > 0 { // the rest, when there is any, is in RAM
		return m.SizeVRAM, nil
	}
	return m.Size, nil
}

// listed is a model as a server lists it.
type listed struct {
	Name     string `json:"name"`
	Model    string `json:"model"`
	Size     uint64 `json:"size"`
	SizeVRAM uint64 `json:"size_vram"`
}

// listed finds a model in a list; a name without a tag means the tag latest.
func (a answer) listed(name string) (listed, bool) {
	var list struct {
		Models []listed `json:"models"`
	}
	if json.Unmarshal(a.body, &list) != nil {
		return listed{}, false
	}
	if !strings.Contains(name[strings.LastIndex(name, "/")+1:], ":") {
		name += ":latest"
	}
	for _, m := range list.Models {
		if m.Name == name || m.Model == name {
			return m, true
		}
	}
	return listed{}, false
}
