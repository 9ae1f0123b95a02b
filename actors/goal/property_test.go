package goal

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"modelops/actors/entity"
	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

type machine = entitytest.Bench[State]

// anySpec is a specification that is taken, with bounds so that its goal ends.
func anySpec(t *rapid.T) *messages.GoalSpec {
	g := &messages.GoalSpec{Recipe: "lora", BudgetRuns: rapid.Uint32Range(1, 8).Draw(t, "runs"), Seed: rapid.Uint64Range(0, 3).Draw(t, "seed")}
	if rapid.Bool().Draw(t, "a budget of time") {
		g.BudgetSeconds = rapid.Uint64Range(1, 40).Draw(t, "seconds")
	}
	if rapid.Bool().Draw(t, "a target") {
		g.Metric, g.Comparison, g.Value = "eval_loss", messages.GoalSpec_at_most, rapid.Float64Range(0, 3).Draw(t, "target")
	}
	if rapid.Bool().Draw(t, "a model") {
		g.Model = "tiny"
	}
	if rapid.Bool().Draw(t, "an evaluation") {
		g.Evaluation, g.EvalDataset = "held_out", "/d/test"
		if g.Model != "" {
			g.Rollout = rapid.SampledFrom(rollouts).Draw(t, "rollout")
		}
	}
	if rapid.IntRange(0, 2).Draw(t, "a search") == 0 {
		g.Parameters = map[string]string{"steps": fmt.Sprint(rapid.IntRange(1, 40).Draw(t, "steps"))}
		g.Search = []*messages.Dimension{{Name: "rate", Low: 0.1, High: 1}}
	}
	if rapid.IntRange(0, 5).Draw(t, "a schedule") == 0 {
		g.Schedule = "*/5 * * * *"
	}
	if rapid.IntRange(0, 5).Draw(t, "a deadline") == 0 {
		g.Deadline = timestamppb.New(entitytest.Epoch.Add(time.Duration(rapid.IntRange(1, 48).Draw(t, "hours")) * time.Hour))
	}
	return g
}

// does reports that owed work was done: well, or not.
func does(t *rapid.T, e entity.Effect, well bool) proto.Message {
	took := rapid.Int64Range(0, 9000).Draw(t, "took")
	figures := map[string]float64{"eval_loss": rapid.Float64Range(0, 5).Draw(t, "figure"), "loss": rapid.Float64Range(0, 5).Draw(t, "loss")}
	bad := &messages.ErrorBody{Code: "JOB_FAILED", Message: "no"}
	done := func(w Work) *messages.ReportStageEnded {
		r := &messages.ReportStageEnded{Run: w.Run, Stage: w.Stage}
		if !well {
			r.Error = bad
		}
		return r
	}
	switch e := e.(type) {
	case plan:
		return &messages.PlanRun{Run: e.Run}
	case deadline:
		return &messages.ReportDeadline{}
	case makeJob:
		if !well {
			return done(e.Work)
		}
		return &messages.ReportRunJob{Run: e.Run, Stage: e.Stage, Version: "tiny-0"}
	case await:
		if e.Left > 0 && took >= e.Left {
			return &messages.ReportBudgetSpent{Run: e.Run, Stage: e.Stage, DeviceMs: took}
		}
		r := &messages.ReportStageEnded{Run: e.Run, Stage: e.Stage, DeviceMs: took, JobPhase: messages.JobView_completed, Outcome: &messages.JobOutcome{Metrics: figures}}
		if !well {
			r.JobPhase = rapid.SampledFrom([]messages.JobView_Phase{messages.JobView_failed, messages.JobView_cancelled}).Draw(t, "end")
		}
		return r
	case register:
		r := done(e.Work)
		if r.Version = fmt.Sprintf("tiny-%d", e.Run); !well {
			r.Version = ""
		}
		return r
	case rollOut:
		return done(e.Work)
	case stopJob:
		return &messages.ReportStageEnded{Run: e.Run, Stage: e.Stage, DeviceMs: took, JobPhase: messages.JobView_cancelled}
	}
	panic(fmt.Sprintf("%T", e))
}

// anyCommand draws orders, and reports of any run and stage.
func anyCommand(t *rapid.T, s State) proto.Message {
	run := s.Count
	if rapid.Bool().Draw(t, "another run") {
		run = rapid.Uint32Range(0, s.Count+2).Draw(t, "run")
	}
	stage := Stage(rapid.Int32Range(0, 6).Draw(t, "stage"))
	switch rapid.IntRange(0, 13).Draw(t, "command") {
	case 0:
		g := anySpec(t)
		if g.Deadline != nil { // later than any time of a walk
			g.Deadline = timestamppb.New(entitytest.Epoch.Add(72 * time.Hour))
		}
		return &messages.ChangeGoal{Spec: g}
	case 1:
		return &messages.PauseGoal{}
	case 2, 3:
		return &messages.ResumeGoal{}
	case 4:
		if rapid.IntRange(0, 3).Draw(t, "cancels") == 0 {
			return &messages.CancelGoal{}
		}
		return &messages.StartGoal{}
	case 5:
		if rapid.IntRange(0, 3).Draw(t, "deletes") == 0 {
			return &messages.DeleteGoal{KeepJobs: rapid.Bool().Draw(t, "keeps")}
		}
		return &messages.StartGoal{}
	case 6, 7:
		return &messages.StartGoal{}
	case 8:
		return &messages.YieldGoal{To: "goal/main_pc/other"}
	case 9:
		return &messages.PlanRun{Run: run}
	case 10:
		return &messages.ReportRunJob{Run: run, Stage: stage}
	case 11:
		return &messages.ReportBudgetSpent{Run: run, Stage: stage, DeviceMs: rapid.Int64Range(-5, 50_000).Draw(t, "used")}
	case 12:
		return &messages.ReportDeadline{}
	}
	return &messages.ReportStageEnded{Run: run, Stage: stage, DeviceMs: rapid.Int64Range(-5, 9000).Draw(t, "took"), JobPhase: messages.JobView_Phase(rapid.Int32Range(0, 9).Draw(t, "phase")),
		Version: rapid.SampledFrom([]string{"", "tiny-9"}).Draw(t, "version"), Outcome: &messages.JobOutcome{Metrics: map[string]float64{"eval_loss": 2}}}
}

// wild is a goal after any commands and reports in any order.
func wild(t *rapid.T) *machine {
	m := fresh()
	if _, err := m.Do(&messages.CreateGoal{Spec: anySpec(t)}); err != nil {
		t.Fatal(err)
	}
	for range rapid.IntRange(0, 60).Draw(t, "steps") {
		m.Wait(time.Duration(rapid.IntRange(1, 900).Draw(t, "seconds")) * time.Second)
		c := anyCommand(t, m.State)
		if owed := m.Kind.Owed(m.State); len(owed) > 0 && rapid.IntRange(0, 3).Draw(t, "goes on") > 0 {
			c = does(t, rapid.SampledFrom(owed).Draw(t, "work"), rapid.IntRange(0, 3).Draw(t, "well") > 0)
		}
		was := m.State
		v, err := m.Do(c)
		sound(t, m, fmt.Sprintf("%T in %s gave %v, %v", c, was.Phase, v.Events, err))
		if again, _ := m.Do(c); err == nil && len(again.Events) > 0 {
			t.Fatalf("%T told twice in %s happened twice: %v and %v", c, was.Phase, v.Events, again.Events)
		}
	}
	return m
}

// sound is what holds in every state.
func sound(t *rapid.T, m *machine, after string) {
	s, owed := m.State, m.Owed()
	has := func(prefix string) bool {
		return slices.ContainsFunc(owed, func(k string) bool { return strings.HasPrefix(k, prefix) })
	}
	for what, broken := range map[string]bool{
		"active and nothing owed":                           s.Phase == Active && !has("plan/") && !has("job/") && !has("await/") && !has("register/") && !has("rollout/"),
		"a job that runs and nobody waits for":              s.Run != nil && s.Run.Made && !has("await/") && !has("stop/"),
		"a job that isn't stopped after the end":            s.Over() && s.Run != nil && !has("stop/"),
		"work after the end":                                s.Over() && s.Run == nil && len(owed) > 0,
		"a job made although it has no turn":                s.Phase != Active && has("job/"),
		"a run planned without a turn or beside another":    has("plan/") && (s.Phase != Active || s.Run != nil),
		"a run open in a stage without a job after the end": s.Over() && s.Run != nil && !withJob(s.Run.Stage),
		"a deadline that nobody watches":                    !s.Over() && s.Spec.Deadline != nil && !has("deadline/"),
		"yields without a turn":                             s.Yielding && s.Phase != Active,
		"more ended runs than runs":                         len(s.Runs) > int(s.Count),
		"a failure without an error":                        (s.Phase == Failed) != (s.Error != nil),
		"deleted and alive":                                 s.Deleted && !s.Over(),
		"over budget and a job is made":                     !s.Over() && has("job/") && s.spent(0) != nil,
		"a due time for what doesn't wait":                  s.DueMS != 0 && s.Phase != Pending,
		"it works and its view doesn't say so":              s.Run != nil && s.Run.Made && !View(s).(*messages.GoalView).Working,
	} {
		if broken {
			t.Fatalf("%s, after %s: %+v owes %v", what, after, s, owed)
		}
	}
}

// history checks what the journal tells: one end, runs one after the other, one job for each run and stage, no budget overrun, and sums that are right.
func history(t *rapid.T, s State, events []proto.Message) {
	var spec *messages.GoalSpec
	var ends, open, last uint32
	var total, stages int64
	jobs := map[string]bool{}
	for _, e := range events {
		if ends > 0 {
			switch e.(type) {
			case *messages.RunEnded, *messages.GoalDeleted, *messages.RungEnded:
			default:
				t.Fatalf("%T after the end", e)
			}
		}
		switch e := e.(type) {
		case *messages.GoalCreated:
			spec = e.Spec
		case *messages.GoalChanged:
			spec = e.Spec
		case *messages.GoalMet, *messages.GoalFailed, *messages.GoalCancelled:
			ends++
		case *messages.RunPlanned:
			if open != 0 || e.Run != last+1 {
				t.Fatalf("run %d begins after %d, while %d is open", e.Run, last, open)
			}
			if spec.BudgetRuns > 0 && e.Run > spec.BudgetRuns || spec.BudgetSeconds > 0 && total >= int64(spec.BudgetSeconds)*1000 {
				t.Fatalf("run %d begins with %d ms used of %v", e.Run, total, spec)
			}
			open, last, stages = e.Run, e.Run, 0
		case *messages.RunJobMade:
			if e.Run != open || jobs[e.Job] {
				t.Fatalf("job %s of run %d, and %d is open", e.Job, e.Run, open)
			}
			if spec.BudgetSeconds > 0 && total+stages >= int64(spec.BudgetSeconds)*1000 {
				t.Fatalf("job %s is made with %d ms used of %d s", e.Job, total+stages, spec.BudgetSeconds)
			}
			jobs[e.Job] = true
		case *messages.RunAdvanced:
			if e.Run != open {
				t.Fatalf("run %d advances, and %d is open", e.Run, open)
			}
			stages += e.DeviceMs
		case *messages.RunEnded:
			if e.Run != open || e.Result == 0 || e.DeviceMs < stages {
				t.Fatalf("run %d ends as %s with %d ms, of which stages say %d, and %d is open", e.Run, e.Result, e.DeviceMs, stages, open)
			}
			total += e.DeviceMs
			open, stages = 0, 0
		}
	}
	if ends > 1 || (ends == 1) != s.Over() || s.DeviceMS != total+stages {
		t.Fatalf("%d ends, %s, %d ms of %d", ends, s.Phase, s.DeviceMS, total+stages)
	}
}

func told(m *machine) (out []proto.Message) {
	for _, r := range m.Recorded {
		out = append(out, r.Events...)
	}
	return out
}

func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := wild(t)
		history(t, m.State, told(m))
		if err := m.Replayed(rapid.IntRange(0, len(m.Recorded)).Draw(t, "snapshot")); err != nil {
			t.Fatal(err)
		}
	})
}

// Once the world works and each goal that waits gets its turn, owed work alone brings every goal to its end: all of them have a bound of runs.
func TestLiveOnceCalm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := wild(t)
		for range 200 {
			m.Wait(6 * time.Minute)
			var c proto.Message
			owed := slices.DeleteFunc(m.Kind.Owed(m.State), func(e entity.Effect) bool { _, timer := e.(deadline); return timer })
			switch {
			case len(owed) > 0:
				c = does(t, owed[0], true)
			case m.State.Phase == Pending:
				c = &messages.StartGoal{}
			case m.State.Phase == Paused:
				c = &messages.ResumeGoal{}
			default:
				history(t, m.State, told(m))
				if !m.State.Over() || m.State.Run != nil {
					t.Fatalf("at rest in %+v", m.State)
				}
				return
			}
			if _, err := m.Do(c); err != nil {
				t.Fatal(err)
			}
			sound(t, m, fmt.Sprintf("%T, calm", c))
		}
		t.Fatalf("no end: %+v owes %v", m.State, m.Owed())
	})
}

// Whatever ends a goal, in whatever stage its run is: it ends once, and its run has ended too, or its job is being stopped.
func TestEachEndFromEachStage(t *testing.T) {
	spec := &messages.GoalSpec{Recipe: "lora", BudgetSeconds: 100, Deadline: timestamppb.New(entitytest.Epoch)}
	less := &messages.GoalSpec{Recipe: "lora", BudgetSeconds: 1}
	for name, c := range map[string]proto.Message{"cancel": &messages.CancelGoal{}, "delete": &messages.DeleteGoal{}, "delete, keep": &messages.DeleteGoal{KeepJobs: true},
		"deadline": &messages.ReportDeadline{}, "budget": &messages.ChangeGoal{Spec: less}} {
		for _, phase := range []Phase{Pending, Active, Paused} {
			for _, stage := range []Stage{0, Training, Registering, Evaluating, Comparing, RollingOut} {
				for _, made := range []bool{false, true} {
					s := State{ID: answers, Spec: spec, Phase: phase, Count: 3, DeviceMS: 7000, Run: &Run{Number: 3, Stage: stage, Spec: spec, Made: made && withJob(stage), DeviceMS: 2000}}
					if stage == 0 {
						s.Run = nil
					}
					v, err := Decide(s, c, entity.Stamp{Now: entitytest.Epoch})
					ends := 0
					for _, e := range v.Events {
						switch e.(type) {
						case *messages.GoalMet, *messages.GoalFailed, *messages.GoalCancelled:
							ends++
						}
						s = Evolve(s, e, 0)
					}
					owed := Owed(s)
					if err != nil || ends != 1 || !s.Over() || s.DeviceMS != 7000 || (s.Run != nil) != (len(owed) == 1) {
						t.Fatalf("%s in %s, %s, %t: %d ends, %s, %d ms, run %+v owes %v, %v", name, phase, stage, made, ends, s.Phase, s.DeviceMS, s.Run, owed, err)
					}
					if keeps := name == "delete, keep"; (s.Run != nil) != (withJob(stage) && !keeps) {
						t.Fatalf("%s in %s, %s: run %+v", name, phase, stage, s.Run)
					}
				}
			}
		}
	}
}

// A report of another run or stage than the present one changes nothing, in any phase.
func TestReportsOfOthersChangeNothing(t *testing.T) {
	spec := &messages.GoalSpec{Recipe: "lora", BudgetSeconds: 1}
	for _, phase := range []Phase{Pending, Active, Paused, Completed, Failed, Cancelled} {
		for _, stage := range []Stage{Training, Registering, Evaluating, Comparing, RollingOut} {
			s := State{ID: answers, Spec: spec, Phase: phase, Count: 3, Run: &Run{Number: 3, Stage: stage, Spec: spec, Made: withJob(stage)}}
			for of := range uint32(6) {
				for other := range Stage(7) {
					if of == 3 && other == stage {
						continue
					}
					for _, c := range []proto.Message{
						&messages.ReportRunJob{Run: of, Stage: other},
						&messages.ReportBudgetSpent{Run: of, Stage: other, DeviceMs: 5000},
						&messages.ReportStageEnded{Run: of, Stage: other, JobPhase: messages.JobView_failed, DeviceMs: 5},
					} {
						if v, err := Decide(s, c, entity.Stamp{}); err != nil || len(v.Events) > 0 {
							t.Errorf("%T of run %d, %s in %s, %s: %v, %v", c, of, other, phase, stage, v.Events, err)
						}
					}
				}
			}
		}
	}
}
