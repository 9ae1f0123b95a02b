package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// Models shows the models of this host. It may be old: each model's actor decides.
type Models interface {
	// Declared lists the models that may be asked for.
	Declared() []*messages.DeclaredModel
	// AwaitReady waits until the model is ready. Unavailable: it is no longer wanted; other errors say why it failed.
	AwaitReady(ctx context.Context, model string) error
	// Failed says why the model failed; nil when it didn't.
	Failed(model string) error
	// Keeps says why the model has to stay resident although a name left it; empty = it may be unloaded. Its aliases count, except those that
	// lead elsewhere; nil = they don't count.
	Keeps(model string, elsewhere []string) string
	// Calm waits until no request waits for the model, or ctx ends.
	Calm(ctx context.Context, model string) error
}

// Trials counts the outcomes of requests at a canary.
type Trials interface {
	// Trial returns as soon as minRequests are done, the time is over, or so many failed that the canary can't pass any more.
	Trial(ctx context.Context, swap string, minRequests uint32, within time.Duration, maxErrorPct uint32) (requests, failed uint64, err error)
}

// World is what a host touches.
type World struct {
	Door   messages.Door
	Models Models
	Trials Trials
	// Residents are what a drain empties the host of; nil = nothing is asked to leave.
	Residents Residents
}

// The work that rollouts owe.
type (
	prepare struct {
		ID, Name, Model string
		Host            string
		Within          time.Duration
	}
	judge struct {
		prepare
		MinRequests uint32
		Judge       time.Duration
		MaxErrorPct uint32
	}
	settle struct {
		ID, Model, Name string
		Host            string
		Kept            string   // why it stays anyway
		Elsewhere       []string // names that lead to other models; nil = its aliases don't count
	}
)

func (e prepare) Key() string { return "prepare/" + e.ID }
func (e judge) Key() string   { return "judge/" + e.ID }
func (e settle) Key() string  { return "settle/" + e.ID }

// Pace: the gateway hears of a new canary a moment after the host's decision.
func (judge) Pace() (first, longest time.Duration) {
	return 10 * time.Millisecond, time.Second
}

// Owed lists the next step of each rollout.
func Owed(s State) []entity.Effect {
	var out []entity.Effect
	for _, name := range slices.Sorted(maps.Keys(s.Rollouts)) {
		w := s.Rollouts[name]
		first := prepare{w.ID, name, w.To, s.ID.ID, time.Duration(w.ReadySeconds) * time.Second}
		switch w.Phase {
		case Preparing:
			out = append(out, first)
		case Trying:
			out = append(out, judge{first, w.MinRequests, time.Duration(w.JudgeSeconds) * time.Second, w.MaxErrorPct})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.Losers)) {
		out = append(out, s.settling(id))
	}
	if s.Draining {
		out = append(out, empty{s.ID.ID})
	}
	return out
}

func (s State) settling(id string) settle {
	l := s.Losers[id]
	e := settle{ID: id, Model: l.Model, Name: l.Name, Host: s.ID.ID}
	if name := s.needed(l.Model); name != "" {
		e.Kept = "it answers " + name
	}
	if !l.Tried {
		e.Elsewhere = append(slices.Sorted(maps.Keys(s.Routes)), l.Name)
	}
	return e
}

type ports World

func (p ports) perform(ctx context.Context, effect entity.Effect) (proto.Message, error) {
	switch e := effect.(type) {
	case empty:
		return p.empty(ctx, e)
	case prepare:
		return p.prepare(ctx, e)
	case judge:
		return p.judge(ctx, e)
	case settle:
		return p.settle(ctx, e)
	}
	panic(fmt.Sprintf("a host owes no %T", effect))
}

// prepare makes the new model ready, and reports it when that fails.
func (p ports) prepare(ctx context.Context, e prepare) (proto.Message, error) {
	err := p.ensure(ctx, e)
	switch {
	case err == nil:
		return &messages.ReportRolloutReady{Id: e.ID}, nil
	case ctx.Err() != nil: // the rollout is over, or the host stops: not the new model's fault
		return nil, ctx.Err()
	}
	return &messages.ReportRolloutFailed{Id: e.ID, Error: messages.AsError(err).Body()}, nil
}

// askAgain is the pause before a model is asked for again.
const askAgain = 200 * time.Millisecond

// ensure waits until the model is ready. It is asked for again when it is unloaded meanwhile, by its idle time or an eviction.
func (p ports) ensure(ctx context.Context, e prepare) error {
	ctx, cancel := context.WithTimeout(ctx, e.Within)
	defer cancel()
	model := messages.ModelActor(e.Host, e.Model)
	for {
		_, err := p.Door.Ask(ctx, model, &messages.EnsureModel{Reason: "it is to answer " + e.Name})
		if err == nil {
			err = p.Models.AwaitReady(ctx, e.Model)
		}
		if messages.CodeOf(err) == messages.Unavailable && entity.Pause(ctx, askAgain) == nil {
			continue
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return messages.Errorf(messages.DeadlineExceeded, model.String(), "it wasn't ready within %s", e.Within)
		}
		return err
	}
}

// judge waits for the trial's end. After a restart the canary has to be ready again first, because requests would fail at it
// otherwise. A canary that isn't ready again has failed the trial.
func (p ports) judge(ctx context.Context, e judge) (proto.Message, error) {
	if err := p.ensure(ctx, e.prepare); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return &messages.ReportRolloutJudged{Id: e.ID, Reason: e.Model + " doesn't get ready again: " + messages.AsError(err).Message}, nil
	}
	requests, failed, err := p.Trials.Trial(ctx, e.ID, e.MinRequests, e.Judge, e.MaxErrorPct)
	if err != nil {
		return nil, err
	}
	report := &messages.ReportRolloutJudged{Id: e.ID, Requests: requests, Failed: failed}
	if why := p.Models.Failed(e.Model); why != nil {
		report.Reason = e.Model + " can't be had any more: " + messages.AsError(why).Message
	}
	return report, nil
}

// calmWithin bounds the wait for requests that came before the decision and still wait in the loser's queue.
const calmWithin = 30 * time.Second

// settle unloads the loser. Requests that run there finish: it is drained like any other model.
func (p ports) settle(parent context.Context, e settle) (proto.Message, error) {
	kept := e.Kept
	if kept == "" {
		kept = p.Models.Keeps(e.Model, e.Elsewhere)
	}
	if kept != "" {
		return &messages.ReportRolloutSettled{Id: e.ID, Kept: kept}, nil
	}
	ctx, cancel := context.WithTimeout(parent, calmWithin)
	defer cancel()
	if err := p.Models.Calm(ctx, e.Model); err != nil {
		if parent.Err() != nil {
			return nil, err
		}
		return &messages.ReportRolloutSettled{Id: e.ID, Kept: "requests wait for it"}, nil
	}
	_, err := p.Door.Ask(parent, messages.ModelActor(e.Host, e.Model), &messages.UnloadModel{Reason: "another model answers " + e.Name})
	if err != nil && messages.CodeOf(err) != messages.ModelNotFound {
		return nil, err
	}
	return &messages.ReportRolloutSettled{Id: e.ID}, nil
}
