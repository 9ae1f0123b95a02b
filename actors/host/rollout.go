package host

import (
	"maps"
	"slices"

	"modelops/messages"
)

// Phase is how far a rollout has come.
type Phase = messages.SwapReply_Phase

// The phases of a rollout.
const (
	Preparing  = messages.SwapReply_preparing
	Trying     = messages.SwapReply_trying
	Promoted   = messages.SwapReply_promoted
	RolledBack = messages.SwapReply_rolled_back
)

// Rollout is one rollout: another model is to answer a name.
type Rollout struct {
	ID       string
	Name     string // that callers use
	From, To string // models
	Phase    Phase
	Reason   string `json:",omitempty"` // why it ended
	// CanaryPct is the new model's share of the requests while it is tried, in percent; 0 = all of them.
	CanaryPct    uint32 `json:",omitempty"`
	MinRequests  uint32
	JudgeSeconds uint32
	MaxErrorPct  uint32
	ReadySeconds uint32
	Declared     string // the model that was declared for the name when it began
	Resident     bool   `json:",omitempty"` // the new model was resident before
	Undoes       string `json:",omitempty"` // id of the rollout that this one takes back
}

// Loser is a model that answers a name no more.
type Loser struct {
	Model string
	Name  string
	Tried bool `json:",omitempty"` // it was the new one and failed its trial
}

func (w Rollout) running() bool { return w.Phase == Preparing || w.Phase == Trying }

func (w Rollout) share() uint32 {
	if w.CanaryPct == 0 {
		return 100
	}
	return w.CanaryPct
}

func (w Rollout) reply() *messages.SwapReply {
	return &messages.SwapReply{Id: w.ID, Name: w.Name, From: w.From, To: w.To, Phase: w.Phase, Reason: w.Reason}
}

// rollout finds the rollout that a report is about; false when another one took its place.
func (s State) rollout(id string) (Rollout, bool) {
	for _, w := range s.Rollouts {
		if w.ID == id {
			return w, true
		}
	}
	return Rollout{}, false
}

// step brings a rollout to its next phase.
func (s State) step(id string, to Phase, reason string) State {
	if w, ok := s.rollout(id); ok {
		w.Phase, w.Reason = to, reason
		s.Rollouts = with(s.Rollouts, w.Name, w)
	}
	return s
}

// started begins a rollout. Neither of its models is to be unloaded for a former one any more.
func started(s State, e *messages.RolloutStarted) State {
	s.Rollouts = with(s.Rollouts, e.Name, Rollout{ID: e.Id, Name: e.Name, From: e.From, To: e.To, Phase: Preparing, CanaryPct: e.CanaryPct, MinRequests: e.MinRequests,
		JudgeSeconds: e.JudgeSeconds, MaxErrorPct: e.MaxErrorPct, ReadySeconds: e.ReadySeconds, Declared: e.Declared, Resident: e.Resident, Undoes: e.Undoes})
	for id, l := range s.Losers {
		if l.Model == e.To || l.Model == e.From {
			s.Losers = without(s.Losers, id)
		}
	}
	return s
}

func promoted(s State, e *messages.RolloutPromoted) State {
	w, ok := s.rollout(e.Id)
	if !ok {
		return s
	}
	s = s.step(e.Id, Promoted, e.Reason)
	if w.To == w.Declared {
		s.Routes = without(s.Routes, w.Name)
	} else {
		s.Routes = with(s.Routes, w.Name, w.To)
	}
	s.Losers = with(s.Losers, w.ID, Loser{Model: w.From, Name: w.Name})
	return s
}

func rolledBack(s State, e *messages.RolloutRolledBack) State {
	w, ok := s.rollout(e.Id)
	if !ok {
		return s
	}
	s = s.step(e.Id, RolledBack, e.Reason)
	if !w.Resident {
		s.Losers = with(s.Losers, w.ID, Loser{Model: w.To, Name: w.Name, Tried: true})
	}
	return s
}

// routes are the names that lead elsewhere than declared, in part or always.
func (s State) routes() []*messages.Route {
	all := map[string]*messages.Route{}
	for name, to := range s.Routes {
		all[name] = &messages.Route{Name: name, To: to}
	}
	for name, w := range s.Rollouts {
		if w.Phase == Trying {
			all[name] = &messages.Route{Name: name, To: w.From, Canary: w.To, SharePct: w.share(), Swap: w.ID}
		}
	}
	var out []*messages.Route
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[name])
	}
	return out
}

// needed says which name leads to a model, or is about to, by a route or a rollout; empty when none does.
func (s State) needed(model string) string {
	for _, name := range slices.Sorted(maps.Keys(s.Rollouts)) {
		if w := s.Rollouts[name]; w.running() && (w.To == model || w.From == model) {
			return name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Routes)) {
		if s.Routes[name] == model {
			return name
		}
	}
	return ""
}
