package host

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Plan is the list of commands that makes the models of a host follow a configuration.
type Plan struct {
	Declare []*messages.ModelSpec
	Retire  []string
	Preload []string
	Changes []string // all of it in words
}

// Reconcile compares the declarations in force, by name, with those of a configuration. A model that was declared by other means stays. preload
// are the models that are preloaded by it and weren't by the one before.
func Reconcile(running map[string]*messages.ModelSpec, specs []*messages.ModelSpec, preload []string) Plan {
	p := Plan{Preload: preload}
	declared := map[string]bool{}
	for _, spec := range specs {
		declared[spec.Name] = true
		switch was := running[spec.Name]; {
		case was == nil:
			p.declare(spec, "new")
		case was.Revision != spec.Revision:
			p.declare(spec, fmt.Sprintf("revision %s becomes %s; a running worker drains and loads again", was.Revision, spec.Revision))
		case !proto.Equal(was, spec):
			p.declare(spec, "changed, without a reload")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(running)) {
		if !declared[name] && running[name].DeclaredBy == messages.DeclaredByConfig {
			p.Retire = append(p.Retire, name)
			p.Changes = append(p.Changes, "model "+name+": gone; a running worker drains")
		}
	}
	for _, name := range preload {
		p.Changes = append(p.Changes, "preload "+name)
	}
	return p
}

func (p *Plan) declare(spec *messages.ModelSpec, what string) {
	p.Declare = append(p.Declare, spec)
	p.Changes = append(p.Changes, "model "+spec.Name+": "+what)
}

// leadsTo tells whether a name leads to a model, or is about to: then the host has to review its routes when the model goes.
func leadsTo(h *messages.HostView, model string) bool {
	return slices.ContainsFunc(h.GetRoutes(), func(r *messages.Route) bool { return r.To == model || r.Canary == model }) ||
		slices.ContainsFunc(h.GetSwaps(), func(s *messages.SwapReply) bool {
			running := s.Phase == Preparing || s.Phase == Trying
			return running && (s.From == model || s.To == model)
		})
}
