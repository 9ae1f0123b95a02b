package goal

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/messages"
)

// Phase is where the goal stands.
type Phase = messages.GoalView_Phase

// The phases of a goal.
const (
	Pending   = messages.GoalView_pending
	Active    = messages.GoalView_active
	Paused    = messages.GoalView_paused
	Completed = messages.GoalView_completed
	Failed    = messages.GoalView_failed
	Cancelled = messages.GoalView_cancelled
)

// Stage is how far a run is.
type Stage = messages.GoalRun_Stage

// The stages of a run.
const (
	Training    = messages.GoalRun_training
	Registering = messages.GoalRun_registering
	Evaluating  = messages.GoalRun_evaluating
	Comparing   = messages.GoalRun_comparing
	RollingOut  = messages.GoalRun_rolling_out
	Ended       = messages.GoalRun_ended
)

// State is the fold of one goal's journal.
type State struct {
	ID        messages.ActorID
	Spec      *messages.GoalSpec
	Phase     Phase
	By        string
	Reason    string // why it is paused or cancelled
	Error     *messages.ErrorBody
	CreatedMS int64
	StartedMS int64 // of its first turn
	EndedMS   int64
	ChangedMS int64
	DueMS     int64 // when its schedule is due; 0 = it isn't waited for
	Yielding  bool  // its turn is over when the run has ended
	YieldsTo  string
	Run       *Run  // the open one
	Runs      []Run // those that ended, the latest last
	Count     uint32
	DeviceMS  int64 // of all stages that ended
	Broke     int   // runs in a row that broke
	Best      float64
	BestRun   uint32 // 0 = none has a figure
	Fine      bool   // a run ended by itself, and didn't break
	Search    Search
	// Bases are the figures of versions that served, by version, recipe and data: each is measured once.
	Bases   map[string]map[string]float64
	Deleted bool
}

// Run is one try.
type Run struct {
	Number      uint32                  `json:",omitempty"`
	Stage       Stage                   `json:",omitempty"`
	Made        bool                    `json:",omitempty"` // the job of this stage exists
	Result      messages.GoalRun_Result `json:",omitempty"`
	Spec        *messages.GoalSpec      `json:",omitempty"` // as it was when the run began; while it is open
	Parameters  map[string]string       `json:",omitempty"`
	Bracket     uint32                  `json:",omitempty"`
	Rung        uint32                  `json:",omitempty"`
	Trial       uint32                  `json:",omitempty"`
	Last        bool                    `json:",omitempty"` // of auto-tuning: in the last rung
	Jobs        map[Stage]string        `json:",omitempty"`
	Version     string                  `json:",omitempty"`
	BaseVersion string                  `json:",omitempty"`
	Evaluated   bool                    `json:",omitempty"`
	Compared    bool                    `json:",omitempty"`
	RolledBack  bool                    `json:",omitempty"`
	Metrics     map[string]float64      `json:",omitempty"`
	BaseMetrics map[string]float64      `json:",omitempty"`
	DeviceMS    int64                   `json:",omitempty"`
	BeganMS     int64                   `json:",omitempty"`
	EndedMS     int64                   `json:",omitempty"`
	Reason      string                  `json:",omitempty"`
}

// keepRuns is how many ended runs are kept: more than one search has.
const keepRuns = 100

// New is a goal that nobody created.
func New(id messages.ActorID) State { return State{ID: id} }

// Over tells whether the goal has ended.
func (s State) Over() bool { return s.Phase == Completed || s.Phase == Failed || s.Phase == Cancelled }

// withJob tells whether a stage is done by a job.
func withJob(stage Stage) bool {
	return stage == Training || stage == Evaluating || stage == Comparing
}

// working tells whether one of its jobs runs or is about to, or its turn is used otherwise.
func (s State) working() bool {
	return s.Run != nil && (s.Run.Made || s.Phase == Active || s.Over())
}

// Evolve folds an event.
func Evolve(s State, event proto.Message, _ uint64) State {
	switch e := event.(messages.GoalEvent).(type) {
	case *messages.GoalCreated:
		s.Spec, s.By, s.Phase, s.CreatedMS, s.DueMS = e.Spec, e.By, Pending, ms(e.At), ms(e.Due)
	case *messages.GoalChanged:
		s = changed(s, e)
	case *messages.GoalStarted:
		s.Phase, s.DueMS = Active, 0
		if s.StartedMS == 0 {
			s.StartedMS = ms(e.At)
		}
	case *messages.GoalYielded:
		if s.Yielding, s.YieldsTo = e.To != "", e.To; e.To == "" {
			s.Phase, s.DueMS = Pending, ms(e.Due)
		}
	case *messages.GoalPaused:
		s.Phase, s.Reason, s.DueMS, s.Yielding, s.YieldsTo = Paused, e.Reason, 0, false, ""
	case *messages.GoalResumed:
		s.Phase, s.Reason, s.DueMS = Pending, "", ms(e.Due)
		if s.Run != nil && s.Run.Made { // its job has run on, so that it never lost its turn
			s.Phase, s.DueMS = Active, 0
		}
	case *messages.RunPlanned:
		s = planned(s, e)
	case *messages.RunJobMade, *messages.RunAdvanced:
		s = advanced(s, e)
	case *messages.RunEnded:
		s = runEnded(s, e)
	case *messages.RungEnded:
		s = s.rungEnded(e)
	case *messages.GoalMet:
		s = over(s, Completed, e.At)
	case *messages.GoalFailed:
		s = over(s, Failed, e.At)
		s.Error = e.Error
	case *messages.GoalCancelled:
		s = over(s, Cancelled, e.At)
		s.Reason = e.Reason
	case *messages.GoalDeleted:
		s.Deleted = true
	}
	return s
}

func ms(at *timestamppb.Timestamp) int64 {
	if at == nil {
		return 0
	}
	return at.AsTime().UnixMilli()
}

func over(s State, phase Phase, at *timestamppb.Timestamp) State {
	s.Phase, s.EndedMS, s.Reason, s.DueMS, s.Yielding, s.YieldsTo = phase, ms(at), "", 0, false, ""
	return s
}

func changed(s State, e *messages.GoalChanged) State {
	if !sameSearch(s.Spec, e.Spec) {
		s.Search.Through = false
		s.Search.Over = s.Search.Bracket > 0
	}
	before := s.Spec
	s.Spec, s.ChangedMS = e.Spec, ms(e.At)
	if s.Phase == Pending {
		s.DueMS = ms(e.Due)
	}
	if metric(before) != metric(e.Spec) || before.GetComparison() != e.Spec.GetComparison() {
		return s.withBest()
	}
	return s
}

func planned(s State, e *messages.RunPlanned) State {
	if e.Bracket > 0 && e.Bracket != s.Search.Bracket {
		s.Search = newSearch(e.Bracket, e.Trials)
	}
	s.Count = e.Run
	s.Run = &Run{Number: e.Run, Stage: Training, Spec: s.Spec, Parameters: e.Parameters, Bracket: e.Bracket, Rung: e.Rung, Trial: e.Trial, BeganMS: ms(e.At),
		Last: e.Bracket > 0 && e.Rung == lastRung(s.Spec, s.Search.Trials)}
	return s
}

// advanced folds what happens within the open run. Others are of a run that has ended: they can't be.
func advanced(s State, event proto.Message) State {
	if s.Run == nil {
		return s
	}
	r := *s.Run
	s.Run = &r
	switch e := event.(type) {
	case *messages.RunJobMade:
		r.Made = true
		r.Jobs = maps.Clone(r.Jobs)
		if r.Jobs == nil {
			r.Jobs = map[Stage]string{}
		}
		if r.Jobs[e.Stage] = e.Job; e.Stage == Comparing {
			r.BaseVersion = e.Version
		}
	case *messages.RunAdvanced:
		r.Stage, r.Made = e.Next, false
		r.DeviceMS += e.DeviceMs
		s.DeviceMS += e.DeviceMs
		switch e.Ended {
		case Registering:
			r.Version = e.Version
		case Comparing:
			r.Compared, r.BaseVersion, r.BaseMetrics = true, e.Version, e.Metrics
			s.Bases = remember(s.Bases, baseKey(r.Spec, e.Version), e.Metrics)
		case Training:
			r.Metrics = e.Metrics
		case Evaluating:
			r.Metrics, r.Evaluated = e.Metrics, true
		}
	}
	*s.Run = r
	return s
}

func runEnded(s State, e *messages.RunEnded) State {
	if s.Run == nil {
		return s
	}
	r := *s.Run
	s.DeviceMS += e.DeviceMs - r.DeviceMS
	r.RolledBack = r.Stage == RollingOut && e.Result == messages.GoalRun_lost
	r.Stage, r.Result, r.Reason, r.DeviceMS, r.EndedMS, r.Made, r.Spec = Ended, e.Result, e.Reason, e.DeviceMs, ms(e.At), false, nil
	if len(e.Metrics) > 0 {
		r.Metrics = e.Metrics
	}
	s.Runs = append(slices.Clone(s.Runs[max(0, len(s.Runs)+1-keepRuns):]), r)
	s.Run = nil
	switch e.Result {
	case messages.GoalRun_broke:
		s.Broke++
	case messages.GoalRun_stopped:
	default:
		s.Broke, s.Fine = 0, true
	}
	if s.Yielding && s.Phase == Active {
		s.Phase = Pending
	}
	s.Yielding, s.YieldsTo = false, ""
	return s.withFigure(r)
}

// withBest looks again for the best figure, among the runs that are kept.
func (s State) withBest() State {
	s.Best, s.BestRun = 0, 0
	for _, r := range s.Runs {
		s = s.withFigure(r)
	}
	return s
}

func (s State) withFigure(r Run) State {
	if v, ok := r.figure(s.Spec); ok && (s.BestRun == 0 || better(s.Spec, v, s.Best)) {
		s.Best, s.BestRun = v, r.Number
	}
	return s
}

// keepBases bounds what is remembered of versions that served.
const keepBases = 16

func remember(bases map[string]map[string]float64, key string, metrics map[string]float64) map[string]map[string]float64 {
	if len(metrics) == 0 {
		return bases
	}
	next := map[string]map[string]float64{key: metrics}
	if len(bases) < keepBases {
		maps.Copy(next, bases)
	}
	next[key] = metrics
	return next
}

func baseKey(spec *messages.GoalSpec, version string) string {
	return version + " by " + spec.GetEvaluation() + " on " + spec.GetEvalDataset()
}

// View is what is shown of the goal.
func View(s State) proto.Message {
	v := &messages.GoalView{Id: s.ID.String(), Host: s.ID.Host(), Name: s.ID.Name(), Spec: s.Spec, Phase: s.Phase, RunCount: s.Count, DeviceMs: s.DeviceMS,
		Best: s.Best, BestRun: s.BestRun, Error: s.Error, Reason: s.Reason, By: s.By, CreatedMs: s.CreatedMS, StartedMs: s.StartedMS, EndedMs: s.EndedMS,
		ChangedMs: s.ChangedMS, DueMs: s.DueMS, Deleted: s.Deleted, Working: s.working(), Waits: s.waits(), YieldsTo: s.YieldsTo}
	for _, r := range s.Runs {
		v.Runs = append(v.Runs, r.show(s.ID.Host()))
	}
	if s.Run != nil {
		v.Runs = append(v.Runs[max(0, len(v.Runs)+1-keepRuns):], s.Run.show(s.ID.Host()))
	}
	return v
}

func (r Run) show(host string) *messages.GoalRun {
	return &messages.GoalRun{Run: r.Number, Stage: r.Stage, Result: r.Result, Job: jobActor(host, r.Jobs[Training]), Evaluation: jobActor(host, r.Jobs[Evaluating]),
		Base: jobActor(host, r.Jobs[Comparing]), Parameters: r.Parameters, Metrics: r.Metrics, DeviceMs: r.DeviceMS, Version: r.Version, Reason: r.Reason,
		Rung: r.Rung, Trial: r.Trial, Bracket: r.Bracket, BeganMs: r.BeganMS, EndedMs: r.EndedMS, BaseVersion: r.BaseVersion, BaseMetrics: r.BaseMetrics}
}

func jobActor(host, name string) string {
	if name == "" {
		return ""
	}
	return messages.ActorID{Kind: messages.KindJob, ID: host + "/" + name}.String()
}

// waits says what it waits for.
func (s State) waits() string {
	switch {
	case s.Spec == nil:
		return ""
	case s.Over() && s.Run != nil:
		return fmt.Sprintf("the end of the job of run %d, which is being stopped", s.Run.Number)
	case s.Phase == Pending && s.DueMS > 0:
		return "its schedule, due at " + time.UnixMilli(s.DueMS).UTC().Format(time.RFC3339) + ", and then for its turn"
	case s.Phase == Pending:
		return "its turn"
	case s.Phase == Paused && s.Run != nil && s.Run.Made:
		return fmt.Sprintf("somebody to resume it; the job of run %d goes on", s.Run.Number)
	case s.Phase == Paused:
		return "somebody to resume it"
	case s.Phase == Active && s.Run == nil:
		return "its next run to begin"
	case s.Phase == Active && withJob(s.Run.Stage) && s.Run.Made:
		return fmt.Sprintf("the job of run %d, which is %s: %s", s.Run.Number, s.Run.Stage, jobActor(s.ID.Host(), s.Run.Jobs[s.Run.Stage]))
	case s.Phase == Active:
		return fmt.Sprintf("run %d, which is %s", s.Run.Number, s.Run.Stage)
	}
	return ""
}
