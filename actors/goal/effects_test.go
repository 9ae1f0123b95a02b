package goal

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// workshop plays all ports of a goal, and says what it was asked for.
type workshop struct {
	asked   []string
	end     JobEnd
	err     map[string]error // by port
	serving string
}

func (w *workshop) ask(port, what string) error {
	w.asked = append(w.asked, port+" "+what)
	return w.err[port]
}

func (w *workshop) Submit(_ context.Context, id messages.ActorID, spec *messages.JobSpec) error {
	return w.ask("submit", id.Name()+" "+spec.Base)
}
func (w *workshop) Await(_ context.Context, id messages.ActorID, _ int64) (JobEnd, error) {
	return w.end, w.ask("await", id.Name())
}
func (w *workshop) Cancel(_ context.Context, id messages.ActorID, reason string) error {
	return w.ask("cancel", id.Name()+": "+reason)
}
func (w *workshop) Job(_ context.Context, _ Work, version string) (*messages.JobSpec, error) {
	return &messages.JobSpec{Base: version}, w.err["recipe"]
}
func (w *workshop) Register(context.Context, Work) (string, error) {
	return "tiny-2", w.ask("register", "")
}
func (w *workshop) Serving(context.Context, string) (string, error) {
	return w.serving, w.err["serving"]
}
func (w *workshop) RollOut(context.Context, Work) error { return w.ask("roll out", "") }

func at(stage Stage, phase Phase, made bool) State {
	spec := &messages.GoalSpec{Recipe: "lora", Model: "tiny", Evaluation: "held_out", EvalDataset: "/d", Rollout: "auto"}
	return State{ID: answers, Spec: spec, Phase: phase, Count: 1, Run: &Run{Number: 1, Stage: stage, Spec: spec, Made: made, Version: "tiny-2"}}
}

func TestWhatIsDone(t *testing.T) {
	completed := JobEnd{Phase: messages.JobView_completed, DeviceMS: 7}
	busy := messages.NewError(messages.Unavailable, "", "not now")
	gone := messages.NewError(messages.NotFound, "", "nobody knows it")
	for name, c := range map[string]struct {
		s    State
		w    workshop
		want string // the report, or the error
		ask  string
	}{
		"a job is made":                 {at(Training, Active, false), workshop{}, `ReportRunJob run:1 stage:training`, "submit answers-r1 tiny-2"},
		"it can't be made now":          {at(Training, Active, false), workshop{err: map[string]error{"submit": busy}}, "UNAVAILABLE", "submit answers-r1 tiny-2"},
		"it can never be made":          {at(Training, Active, false), workshop{err: map[string]error{"recipe": gone}}, `ReportStageEnded run:1 stage:training error:{code:"NOT_FOUND" message:"nobody knows it"}`, ""},
		"the end of a job":              {at(Training, Active, true), workshop{end: completed}, `ReportStageEnded run:1 stage:training job_phase:completed device_ms:7`, "await answers-r1"},
		"a job that uses up the budget": {at(Training, Active, true), workshop{end: JobEnd{Phase: messages.JobView_running, DeviceMS: 9}}, `ReportBudgetSpent run:1 stage:training device_ms:9`, "await answers-r1"},
		"a job that nobody knows":       {at(Training, Active, true), workshop{err: map[string]error{"await": gone}}, `ReportStageEnded run:1 stage:training error:{code:"NOT_FOUND" message:"nobody knows it"}`, "await answers-r1"},
		"a job that can't be asked":     {at(Training, Active, true), workshop{err: map[string]error{"await": busy}}, "UNAVAILABLE", "await answers-r1"},
		"nothing serves":                {at(Comparing, Active, false), workshop{}, `ReportStageEnded run:1 stage:comparing`, ""},
		"its own version serves":        {at(Comparing, Active, false), workshop{serving: "tiny-2"}, `ReportStageEnded run:1 stage:comparing`, ""},
		"what serves is measured":       {at(Comparing, Active, false), workshop{serving: "tiny-1"}, `ReportRunJob run:1 stage:comparing version:"tiny-1"`, "submit answers-r1-base tiny-1"},
		"what serves was measured": {func() State {
			s := at(Comparing, Active, false)
			s.Bases = map[string]map[string]float64{baseKey(s.Spec, "tiny-1"): {"x": 1}}
			return s
		}(), workshop{serving: "tiny-1"}, `ReportStageEnded run:1 stage:comparing version:"tiny-1"`, ""},
		"a version":                       {at(Registering, Active, false), workshop{}, `ReportStageEnded run:1 stage:registering version:"tiny-2"`, "register "},
		"no version yet":                  {at(Registering, Active, false), workshop{err: map[string]error{"register": busy}}, "UNAVAILABLE", "register "},
		"a rollout":                       {at(RollingOut, Active, false), workshop{}, `ReportStageEnded run:1 stage:rolling_out`, "roll out "},
		"rolled back":                     {at(RollingOut, Active, false), workshop{err: map[string]error{"roll out": errors.New("its requests failed")}}, `ReportStageEnded run:1 stage:rolling_out error:{code:"INTERNAL" message:"its requests failed"}`, "roll out "},
		"no word of the rollout":          {at(RollingOut, Active, false), workshop{err: map[string]error{"roll out": busy}}, "UNAVAILABLE", "roll out "},
		"the job of a cancelled goal":     {at(Training, Cancelled, true), workshop{end: JobEnd{Phase: messages.JobView_cancelled, DeviceMS: 7}}, `ReportStageEnded run:1 stage:training job_phase:cancelled device_ms:7`, "cancel answers-r1: its goal has ended: cancelled, await answers-r1"},
		"one that may be on its way":      {at(Training, Failed, false), workshop{end: JobEnd{Phase: messages.JobView_cancelled}}, `ReportStageEnded run:1 stage:training job_phase:cancelled`, "submit answers-r1 tiny-2, cancel answers-r1: its goal has ended: failed, await answers-r1"},
		"one that was never made":         {at(Training, Failed, false), workshop{err: map[string]error{"submit": gone}}, `ReportStageEnded run:1 stage:training error:{code:"NOT_FOUND" message:"nobody knows it"}`, "submit answers-r1 tiny-2"},
		"one that can't be cancelled":     {at(Training, Failed, true), workshop{err: map[string]error{"cancel": busy}}, "UNAVAILABLE", "cancel answers-r1: its goal has ended: failed"},
		"one that is cancelled by itself": {at(Training, Failed, true), workshop{end: completed, err: map[string]error{"cancel": gone}}, `ReportStageEnded run:1 stage:training job_phase:completed device_ms:7`, "cancel answers-r1: its goal has ended: failed, await answers-r1"},
	} {
		owed := Owed(c.s)
		if len(owed) != 1 {
			t.Fatalf("%s: owes %v", name, owed)
		}
		r, err := ports{World{Jobs: &c.w, Recipes: &c.w, Versions: &c.w, Now: time.Now}}.perform(t.Context(), owed[0])
		got := "nothing"
		if err != nil {
			got = messages.CodeOf(err).String()
		} else if r != nil {
			got = string(r.ProtoReflect().Descriptor().Name()) + " " + strings.Join(strings.Fields(r.(interface{ String() string }).String()), " ")
		}
		if strings.TrimSpace(got) != c.want || strings.Join(c.w.asked, ", ") != c.ask {
			t.Errorf("%s: %s, asked %q; want %s, asked %q", name, got, c.w.asked, c.want, c.ask)
		}
	}
}

// office keeps jobs. The first submission reaches it late, and although its caller has gone, as over a network.
type office struct {
	workshop
	jobs map[string]messages.JobView_Phase
	late []func()
}

func (o *office) Submit(ctx context.Context, id messages.ActorID, _ *messages.JobSpec) error {
	arrives := func() {
		if _, known := o.jobs[id.Name()]; !known {
			o.jobs[id.Name()] = messages.JobView_running
		}
	}
	if ctx.Err() != nil {
		o.late = append(o.late, arrives)
		return ctx.Err()
	}
	arrives()
	return nil
}
func (o *office) Cancel(_ context.Context, id messages.ActorID, _ string) error {
	if _, known := o.jobs[id.Name()]; !known {
		return messages.NewError(messages.NotFound, id.String(), "no such job")
	}
	o.jobs[id.Name()] = messages.JobView_cancelled
	return nil
}
func (o *office) Await(_ context.Context, id messages.ActorID, _ int64) (JobEnd, error) {
	if phase, known := o.jobs[id.Name()]; known {
		return JobEnd{Phase: phase}, nil
	}
	return JobEnd{}, messages.NewError(messages.NotFound, id.String(), "no such job")
}

// A goal is cancelled while its submission is on its way: no job stays that runs for nobody.
func TestACancellationIsNotOvertaken(t *testing.T) {
	o := &office{jobs: map[string]messages.JobView_Phase{}}
	h := ports{World{Jobs: o, Recipes: o, Versions: o, Now: time.Now}}
	left, leave := context.WithCancel(t.Context())
	leave()
	if _, err := h.perform(left, Owed(at(Training, Active, false))[0]); err == nil {
		t.Fatal("the submission was answered")
	}
	r, err := h.perform(t.Context(), Owed(at(Training, Cancelled, false))[0])
	for _, arrives := range o.late {
		arrives()
	}
	if over, ok := r.(*messages.ReportStageEnded); !ok || err != nil || over.JobPhase != messages.JobView_cancelled || len(o.late) != 1 || o.jobs["answers-r1"] != messages.JobView_cancelled {
		t.Errorf("%v, %v; %d came late, jobs are %v", r, err, len(o.late), o.jobs)
	}
}

func TestTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		due := time.Now().Add(150 * time.Second)
		s := State{ID: answers, Spec: &messages.GoalSpec{Deadline: timestamppb.New(due)}, Phase: Paused}
		var r proto.Message
		began := time.Now()
		r, err := ports{World{Now: time.Now}}.perform(t.Context(), Owed(s)[0])
		if _, ok := r.(*messages.ReportDeadline); !ok || err != nil || time.Since(began) != 150*time.Second {
			t.Errorf("%v, %v after %s", r, err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.Spec.Deadline = timestamppb.New(time.Now().Add(time.Hour))
		if r, err := (ports{World{Now: time.Now}}).perform(ctx, Owed(s)[0]); r != nil || err == nil {
			t.Errorf("%v, %v", r, err)
		}
	})
}

// What is shown: what it waits for, in words, and at most the latest runs.
func TestWhatIsShown(t *testing.T) {
	due := entitytest.Epoch.Add(time.Hour).UnixMilli()
	for name, c := range map[string]struct {
		s     State
		waits string
		works bool
	}{
		"nothing is known":    {State{ID: answers}, "", false},
		"its turn":            {State{ID: answers, Spec: &messages.GoalSpec{}, Phase: Pending}, "its turn", false},
		"its schedule":        {State{ID: answers, Spec: &messages.GoalSpec{}, Phase: Pending, DueMS: due}, "its schedule, due at 2026-01-01T01:00:00Z", false},
		"a paused one":        {State{ID: answers, Spec: &messages.GoalSpec{}, Phase: Paused}, "somebody to resume it", false},
		"whose job goes on":   {at(Training, Paused, true), "the job of run 1 goes on", true},
		"an open run, paused": {at(Registering, Paused, false), "somebody to resume it", false},
		"between runs":        {State{ID: answers, Spec: &messages.GoalSpec{}, Phase: Active}, "its next run to begin", false},
		"its job": {func() State {
			s := at(Evaluating, Active, true)
			s.Run.Jobs = map[Stage]string{Evaluating: "answers-r1-eval"}
			return s
		}(), "the job of run 1, which is evaluating: job/main_pc/answers-r1-eval", true},
		"a rollout":            {at(RollingOut, Active, false), "run 1, which is rolling_out", true},
		"the end of a stopped": {at(Training, Cancelled, true), "the end of the job of run 1", true},
		"nothing any more":     {State{ID: answers, Spec: &messages.GoalSpec{}, Phase: Completed}, "", false},
	} {
		v := View(c.s).(*messages.GoalView)
		if !strings.Contains(v.Waits, c.waits) || (c.waits == "") != (v.Waits == "") || v.Working != c.works {
			t.Errorf("%s: waits for %q, works %t", name, v.Waits, v.Working)
		}
	}
	s := at(Training, Active, true)
	s.Runs = slices.Repeat([]Run{{Number: 1}}, keepRuns)
	if v := View(s).(*messages.GoalView); len(v.Runs) != keepRuns || v.Runs[keepRuns-1].Stage != Training {
		t.Errorf("%d runs are shown", len(v.Runs))
	}
}

// Runs and figures are bounded, however long a goal goes on and whatever a trainer reports.
func TestWhatIsKept(t *testing.T) {
	s := at(Training, Active, false)
	for i := range uint32(3 * keepRuns) {
		s = Evolve(s, &messages.RunPlanned{Run: i + 1}, 0)
		s = Evolve(s, &messages.RunEnded{Run: i + 1, Result: messages.GoalRun_lost, Metrics: map[string]float64{"eval_loss": float64(i)}, DeviceMs: 5}, 0)
	}
	if len(s.Runs) != keepRuns || s.Best != 0 || s.BestRun != 1 || s.DeviceMS != 15*keepRuns || s.Count != 3*keepRuns {
		t.Errorf("%d runs, best %v of run %d, %d ms", len(s.Runs), s.Best, s.BestRun, s.DeviceMS)
	}
	many := map[string]float64{strings.Repeat("x", longestName+1): 1}
	for i := range 500 {
		many[strings.Repeat("a", i%100)+string(rune('b'+i%20))] = 1
	}
	if got := finite(many, "zz"); len(got) != mostFigures {
		t.Errorf("%d figures", len(got))
	}
	many["zz"] = 3
	if got := finite(many, "zz"); len(got) != mostFigures || got["zz"] != 3 {
		t.Errorf("its own figure is left out: %v", got)
	}
	for i := range 5 * keepBases {
		s.Bases = remember(s.Bases, string(rune('a'+i)), map[string]float64{"x": 1})
	}
	if len(s.Bases) > keepBases {
		t.Errorf("%d bases", len(s.Bases))
	}
}
