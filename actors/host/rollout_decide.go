package host

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// Defaults of a rollout's trial, where its command has none.
const (
	defaultRequests = 20
	defaultJudge    = 60 // seconds
	defaultErrors   = 5  // percent
	// leastReady bounds how long a model may take to be ready, in seconds. It is generous: the model's own load has a deadline and a budget of
	// tries, and ends with a better reason.
	leastReady = 600
)

func swapModel(s State, c *messages.SwapModel, at entity.Stamp) (entity.Verdict, error) {
	if err := proportions(s.ID, c); err != nil {
		return entity.Verdict{}, err
	}
	e, err := s.swapTo(c.Name, c.To, declared(at))
	if err != nil {
		return entity.Verdict{}, err
	}
	if w := s.Rollouts[c.Name]; w.running() {
		if w.To == e.To {
			return told(w), nil
		}
		return entity.Verdict{}, messages.Errorf(messages.FailedPrecondition, c.Name, "it is being swapped already, from %s to %s: %s", w.From, w.To, w.Phase).
			WithHint("modelops swap " + c.Name + " --promote or --rollback ends that first")
	}
	if e.From == e.To {
		return entity.Verdict{}, messages.Errorf(messages.FailedPrecondition, c.Name, "%s answers it already", e.To).WithHint("modelops swap lists which model answers a name")
	}
	e.Id, e.At = at.ID, timestamppb.New(at.Now)
	e.CanaryPct, e.MinRequests, e.JudgeSeconds = c.CanaryPct, orElse(c.MinRequests, defaultRequests), orElse(c.JudgeSeconds, defaultJudge)
	e.MaxErrorPct, e.ReadySeconds = orElse(c.MaxErrorPct, defaultErrors), orElse(c.ReadySeconds, e.ReadySeconds)
	return begun(s, e), nil
}

// declared are the models that Observe saw.
func declared(at entity.Stamp) []*messages.DeclaredModel {
	r, _ := at.Readings.(*messages.DeclaredModels)
	return r.GetModels()
}

func orElse(v, otherwise uint32) uint32 {
	if v == 0 {
		return otherwise
	}
	return v
}

func proportions(host messages.ActorID, c *messages.SwapModel) error {
	switch {
	case c.Name == "" || c.To == "":
		return messages.NewError(messages.InvalidArgument, host.String(), "a swap needs a name and the model to answer it").WithHint("modelops swap NAME=MODEL")
	case c.CanaryPct > 100:
		return messages.Errorf(messages.InvalidArgument, c.Name, "a share of %d %% is more than all requests", c.CanaryPct)
	case c.MaxErrorPct > 100:
		return messages.Errorf(messages.InvalidArgument, c.Name, "%d %% of failed requests is more than all", c.MaxErrorPct)
	}
	return nil
}

// swapTo finds the model that answers the name now, and the one that is to answer it.
func (s State) swapTo(name, to string, declared []*messages.DeclaredModel) (*messages.RolloutStarted, error) {
	known := catalogue(declared)
	e := &messages.RolloutStarted{Name: name, Declared: known.answers(name)}
	e.From = e.Declared
	if routed, ok := s.Routes[name]; ok {
		e.From = routed
	}
	if e.From == "" {
		return nil, messages.Errorf(messages.ModelNotFound, name, "no model has this name or alias").WithHint("modelops models lists what is declared")
	}
	e.To = known.answers(to)
	target := known.model(e.To)
	if target == nil {
		return nil, messages.Errorf(messages.ModelNotFound, to, "Model '%s' not found", to).WithHint("declare the new version beside the old one; modelops models lists what is declared")
	}
	for _, m := range []*messages.DeclaredModel{target, known.model(e.From)} {
		if m.GetReplicaOf() != "" {
			return nil, messages.Errorf(messages.InvalidArgument, m.Name, "it is a replica of %s, which answers no name of its own", m.ReplicaOf).WithHint("name the model itself")
		}
	}
	e.Resident, e.ReadySeconds = target.Resident, max(leastReady, 2*target.LoadSeconds)
	return e, nil
}

// begun is the verdict that a rollout began, answered as the state will show it.
func begun(s State, e *messages.RolloutStarted) entity.Verdict {
	v := told(started(s, e).Rollouts[e.Name])
	v.Events = []proto.Message{e}
	return v
}

// told answers with a rollout as it is.
func told(w Rollout) entity.Verdict {
	return entity.Verdict{Answer: func(uint64) proto.Message { return w.reply() }}
}

func promoteSwap(s State, c *messages.PromoteSwap, now *timestamppb.Timestamp) (entity.Verdict, error) {
	switch w := s.Rollouts[c.Name]; w.Phase {
	case Trying:
		return w.promote("asked to promote it", now), nil
	case Promoted:
		return told(w), nil
	case Preparing:
		return entity.Verdict{}, messages.Errorf(messages.FailedPrecondition, c.Name, "%s isn't ready yet", w.To).WithHint("modelops ps shows how far it is")
	}
	return entity.Verdict{}, messages.NewError(messages.FailedPrecondition, c.Name, "no swap of it is under way").WithHint("modelops swap " + c.Name + "=MODEL begins one")
}

func rollbackSwap(s State, c *messages.RollbackSwap, at entity.Stamp) (entity.Verdict, error) {
	w := s.Rollouts[c.Name]
	switch {
	case w.running():
		return w.rollBack(orReason(c.Reason), timestamppb.New(at.Now)), nil
	case w.Phase == RolledBack:
		return told(w), nil
	case w.Phase != Promoted:
		return entity.Verdict{}, messages.NewError(messages.FailedPrecondition, c.Name, "there is no swap of it to take back").WithHint("modelops swap lists the swaps")
	}
	e, err := s.swapTo(c.Name, w.From, declared(at))
	if err != nil {
		return entity.Verdict{}, err
	}
	if e.From == e.To {
		return entity.Verdict{}, messages.Errorf(messages.FailedPrecondition, c.Name, "%s answers it again already", e.To)
	}
	e.Id, e.At, e.Undoes = at.ID, timestamppb.New(at.Now), w.ID
	e.MinRequests, e.JudgeSeconds, e.MaxErrorPct = w.MinRequests, w.JudgeSeconds, w.MaxErrorPct
	return begun(s, e), nil
}

func orReason(given string) string {
	if given == "" {
		return "asked to take it back"
	}
	return given
}

func (w Rollout) promote(reason string, now *timestamppb.Timestamp) entity.Verdict {
	w.Phase, w.Reason = Promoted, reason
	v := told(w)
	v.Events = []proto.Message{&messages.RolloutPromoted{Id: w.ID, Reason: reason, At: now}}
	return v
}

func (w Rollout) rollBack(reason string, now *timestamppb.Timestamp) entity.Verdict {
	w.Phase, w.Reason = RolledBack, reason
	v := told(w)
	v.Events = []proto.Message{&messages.RolloutRolledBack{Id: w.ID, Reason: reason, At: now}}
	return v
}

func reportReady(s State, c *messages.ReportRolloutReady, now *timestamppb.Timestamp) (entity.Verdict, error) {
	w, _ := s.rollout(c.Id)
	switch {
	case w.Phase != Preparing:
		return stale()
	case w.Undoes != "": // it is no trial: the former rollout is to be taken back
		return w.promote("back to "+w.To+", as asked", now), nil
	}
	return entity.Facts(&messages.RolloutCanaried{Id: c.Id, At: now}), nil
}

func reportFailed(s State, c *messages.ReportRolloutFailed, now *timestamppb.Timestamp) (entity.Verdict, error) {
	w, _ := s.rollout(c.Id)
	if w.Phase != Preparing {
		return stale()
	}
	reason := w.To + " doesn't get ready"
	if c.Error != nil {
		reason += ": " + c.Error.Message
	}
	return w.rollBack(reason, now), nil
}

// reportJudged compares the failures with the bound of the trial.
func reportJudged(s State, c *messages.ReportRolloutJudged, now *timestamppb.Timestamp) (entity.Verdict, error) {
	w, _ := s.rollout(c.Id)
	within := time.Duration(w.JudgeSeconds) * time.Second
	switch {
	case w.Phase != Trying:
		return stale()
	case c.Reason != "":
		return w.rollBack(c.Reason, now), nil
	case c.Requests == 0:
		return w.promote(fmt.Sprintf("no request came to it within %s, so nothing speaks against it", within), now), nil
	case float64(c.Failed)*100 > float64(w.MaxErrorPct)*float64(c.Requests):
		return w.rollBack(fmt.Sprintf("%d of %d requests failed, at most %d %% may", c.Failed, c.Requests, w.MaxErrorPct), now), nil
	}
	return w.promote(fmt.Sprintf("%d of %d requests failed, up to %d %% may", c.Failed, c.Requests, w.MaxErrorPct), now), nil
}

func reportSettled(s State, c *messages.ReportRolloutSettled, now *timestamppb.Timestamp) (entity.Verdict, error) {
	l, ok := s.Losers[c.Id]
	if !ok {
		return stale()
	}
	return entity.Facts(&messages.RolloutSettled{Id: c.Id, Model: l.Model, Kept: c.Kept, At: now}), nil
}

// stale drops a report of a rollout that is over: it is late, not wrong.
func stale() (entity.Verdict, error) {
	return entity.Verdict{Answer: func(uint64) proto.Message {
		return &messages.Done{Note: "nothing to do: the swap is over, or further already"}
	}}, nil
}

// reviewRoutes lets no name lead to a model that is about to be withdrawn. A rollout whose old model is withdrawn is promoted; a name whose model
// is withdrawn is answered as declared.
func reviewRoutes(s State, c *messages.ReviewRoutes, at entity.Stamp) (entity.Verdict, error) {
	now := timestamppb.New(at.Now)
	gone := func(model string) bool { return slices.Contains(c.Withdrawn, model) }
	var v entity.Verdict
	for _, name := range slices.Sorted(maps.Keys(s.Rollouts)) {
		switch w := s.Rollouts[name]; {
		case !w.running():
		case gone(w.To):
			v.Events = append(v.Events, w.rollBack(w.To+" is withdrawn", now).Events...)
		case gone(w.From):
			v.Events = append(v.Events, w.promote(w.From+" is withdrawn", now).Events...)
		}
	}
	for _, e := range v.Events {
		s = Evolve(s, e, 0)
	}
	known := catalogue(declared(at)).except(c.Withdrawn)
	for _, name := range slices.Sorted(maps.Keys(s.Routes)) {
		switch to := s.Routes[name]; {
		case gone(to):
			v.Events = append(v.Events, &messages.RouteDropped{Name: name, To: to, Reason: to + " is withdrawn", At: now})
		case known.answers(name) == to:
			v.Events = append(v.Events, &messages.RouteDropped{Name: name, To: to, Reason: "the declarations say the same", At: now})
		}
	}
	return v, nil
}
