package control

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"modelops/actors/entity"
	"modelops/actors/goal"
	"modelops/actors/lineage"
	"modelops/messages"
)

// withGoals is a host whose goals and lineages decide as they do, and whose jobs take every specification.
func withGoals() *house {
	h, _ := withJobs()
	jobs, goals, versions := h.obey, map[messages.ActorID]goal.State{}, map[messages.ActorID]lineage.State{}
	clock := int64(1000)
	h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
		clock += 1000
		at := entity.Stamp{Now: time.UnixMilli(clock), ID: "id"}
		h.sequence++
		switch to.Kind {
		case messages.KindGoal:
			s, known := goals[to]
			if !known {
				s = goal.New(to)
			}
			v, err := goal.Decide(s, m, at)
			for _, e := range v.Events {
				s = goal.Evolve(s, e, h.sequence)
			}
			goals[to] = s
			if err == nil {
				h.view.StateChanged(to, h.sequence, goal.View(s))
			}
			return messages.Reply{Events: v.Events}, err
		case messages.KindLineage:
			s, known := versions[to]
			if !known {
				s = lineage.New(to)
			}
			v, err := lineage.Rules{}.Decide(s, m, at)
			for _, e := range v.Events {
				s = lineage.Evolve(s, e, h.sequence)
			}
			if r, ok := m.(*messages.RegisterVersion); ok && err == nil { // its file is stored at once
				s = lineage.Evolve(s, &messages.VersionRegistered{Version: uint32(len(s.Versions)), Path: "/versions" + r.Origin.Path, Sha256: r.Origin.Sha256}, h.sequence)
			}
			versions[to] = s
			h.view.StateChanged(to, h.sequence, lineage.View(s))
			return messages.Reply{}, err
		}
		return jobs(to, m)
	}
	return h
}

func better() *messages.GoalRequest {
	settings, _ := structpb.NewStruct(map[string]any{"steps": 40})
	return &messages.GoalRequest{GoalId: "better", Title: proto.String("better answers"), Priority: proto.String("high"), Metric: proto.String("exact"), Comparison: proto.String("at_least"), Value: proto.Float64(1),
		Deadline: proto.String("2100-01-01"), BudgetGpuHours: proto.Float64(0.5), BudgetRuns: proto.Int32(3), Model: proto.String("small"), Recipe: proto.String("lora"), Dataset: proto.String("/d"),
		Evaluation: proto.String("measure"), EvalDataset: proto.String("/e"), Parameters: settings, Rollout: proto.String("auto")}
}

// TestCreateGoal: asked twice, it is one goal, of the model that an alias leads to; what a change doesn't say stays.
func TestCreateGoal(t *testing.T) {
	h := withGoals()
	ctx := operator(t.Context())
	for range 2 {
		r, err := h.CreateGoal(ctx, better())
		if err != nil || r.GoalId != "better" || !r.Success || r.Goal.Status != "pending" || r.Goal.Priority != "high" || r.Message != "Goal better created successfully" {
			t.Fatalf("%v, %v", r, err)
		}
	}
	v := h.view.Goal(messages.GoalActor("h", "better"))
	if s := v.Spec; s.Model != "tiny" || s.BudgetSeconds != 1800 || s.BudgetRuns != 3 || s.Parameters["steps"] != "40" || s.Comparison != messages.GoalSpec_at_least || s.Deadline == nil || v.By != "abc" {
		t.Errorf("%v", v)
	}
	r, err := h.ChangeGoal(ctx, &messages.GoalRequest{GoalId: "goal/h/better", BudgetRuns: proto.Int32(5), Deadline: proto.String("")})
	if s := r.GetGoal().GetGoal().GetSpec(); err != nil || s.BudgetRuns != 5 || s.Deadline != nil || s.Recipe != "lora" || s.Parameters["steps"] != "40" {
		t.Errorf("%v, %v", r, err)
	}
	for _, c := range []struct {
		phase string
		order func(context.Context, *messages.GoalOrder) (*messages.GoalReply, error)
	}{{"paused", h.PauseGoal}, {"pending", h.ResumeGoal}, {"cancelled", h.CancelGoal}, {"cancelled", h.CancelGoal}} {
		if r, err := c.order(ctx, &messages.GoalOrder{GoalId: "better"}); err != nil || r.Goal.Phase != c.phase {
			t.Errorf("%v, %v, want it %s", r, err, c.phase)
		}
	}
	if g, err := h.GetGoal(ctx, &messages.GoalOrder{GoalId: "better"}); err != nil || g.GetErrorMessage().GetValue() != "Goal cancelled by user" || g.Goal.Forecast.GetText() == "" {
		t.Errorf("%v, %v", g, err)
	}
	if _, err := h.DeleteGoal(ctx, &messages.GoalOrder{GoalId: "better"}); err != nil {
		t.Error(err)
	}
	_, err = h.GetGoal(ctx, &messages.GoalOrder{GoalId: "better"})
	is(t, err, messages.NotFound, "goal better", "Goal not found")
}

// What can't be done is refused before a goal exists, by the name of its field.
func TestWrongGoals(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*messages.GoalRequest)
		code    messages.Code
		subject string
		text    string
	}{
		"no such recipe":     {func(r *messages.GoalRequest) { r.Recipe = proto.String("none") }, messages.InvalidArgument, "recipe", `no recipe "none"`},
		"no such evaluation": {func(r *messages.GoalRequest) { r.Evaluation = proto.String("none") }, messages.InvalidArgument, "evaluation", `no recipe "none"`},
		"no such model":      {func(r *messages.GoalRequest) { r.Model = proto.String("none") }, messages.ModelNotFound, "model/h/none", "not found"},
		"no such data":       {func(r *messages.GoalRequest) { r.Dataset = proto.String("/gone") }, messages.InvalidArgument, "dataset", "Dataset not found: /gone"},
		"no held-out data":   {func(r *messages.GoalRequest) { r.EvalDataset = proto.String("/gone") }, messages.InvalidArgument, "eval_dataset", "/gone"},
		"no such setting": {func(r *messages.GoalRequest) {
			r.Parameters, _ = structpb.NewStruct(map[string]any{"step": 1})
		}, messages.InvalidArgument, "parameters", "no parameter step"},
		"a dimension that isn't one": {func(r *messages.GoalRequest) {
			r.Search = []*messages.Dimension{{Name: "rate", Low: 1, High: 2}}
		}, messages.InvalidArgument, "parameters", "no parameter rate"},
		"a name that no job can have": {func(r *messages.GoalRequest) { r.GoalId = "better/.." }, messages.InvalidArgument, "goal_id", "can't be used"},
		"a priority":                  {func(r *messages.GoalRequest) { r.Priority = proto.String("huge") }, messages.InvalidArgument, "priority", "Goal 'invalid_priority' error: Invalid priority: huge"},
		"a comparison":                {func(r *messages.GoalRequest) { r.Comparison = proto.String("near") }, messages.InvalidArgument, "comparison", "near"},
		"a negative budget":           {func(r *messages.GoalRequest) { r.BudgetGpuHours = proto.Float64(-1) }, messages.InvalidArgument, "budget_gpu_hours", "-1 is no budget"},
		"negative runs":               {func(r *messages.GoalRequest) { r.BudgetRuns = proto.Int32(-1) }, messages.InvalidArgument, "budget_runs", "-1 is no budget"},
		"a time that isn't":           {func(r *messages.GoalRequest) { r.Deadline = proto.String("soon") }, messages.InvalidArgument, "deadline", "soon"},
		"a time before now":           {func(r *messages.GoalRequest) { r.Deadline = proto.String("1969-01-01") }, messages.InvalidArgument, "deadline", "has passed"},
		"nothing to do":               {func(r *messages.GoalRequest) { r.Recipe = nil }, messages.InvalidArgument, "recipe", "it is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			h := withGoals()
			r := better()
			c.change(r)
			_, err := h.CreateGoal(operator(t.Context()), r)
			is(t, err, c.code, c.subject, c.text)
			if v := h.view.Goal(messages.GoalActor("h", "better")); v.GetSpec() != nil {
				t.Errorf("it was made: %v", v)
			}
		})
	}
	h := withGoals()
	h.o.AutoTune = func() bool { return false }
	r := better()
	r.Search = []*messages.Dimension{{Name: "lr", Low: 1, High: 2}}
	_, err := h.CreateGoal(operator(t.Context()), r)
	is(t, err, messages.FailedPrecondition, "search", "doesn't let goals search")
}

// The old contract's goals say what they want in words. They are listed by the text of their priority, then by age.
func TestLegacyGoals(t *testing.T) {
	h := withGoals()
	said, _ := structpb.NewStruct(map[string]any{"model_name": "small", "dataset_path": "/d", "training_params": map[string]any{"steps": 20}})
	for _, c := range []struct{ id, words, priority, recipe string }{{"a", "Train it on new data", "medium", "full"}, {"b", "please fine-tune", "low", "full"}, {"c", "train", "critical", "full"}, {"d", "train", "high", "full"}, {"e", "train", "", "full"}} {
		r, err := h.CreateGoal(operator(t.Context()), &messages.GoalRequest{GoalId: c.id, Title: proto.String(c.id), Description: proto.String(c.words), Priority: proto.String(c.priority), Metadata: said})
		if s := r.GetGoal().GetGoal().GetSpec(); err != nil || s.Recipe != c.recipe || s.Model != "tiny" || s.Dataset != "/d" || s.Parameters["steps"] != "20" {
			t.Fatalf("%v, %v", r, err)
		}
	}
	l, err := h.ListGoals(t.Context(), &messages.GoalsRequest{Status: "pending"})
	var ids []string
	for _, g := range l.GetGoals() {
		ids = append(ids, g.GoalId)
	}
	if got := strings.Join(ids, ""); err != nil || got != "cdbae" || l.Goals[0].Metadata.Fields["model_name"].GetStringValue() != "small" {
		t.Errorf("%s, %v, %v", got, l, err)
	}
	if l, err := h.ListGoals(t.Context(), &messages.GoalsRequest{Status: "running"}); err != nil || len(l.Goals) > 0 {
		t.Errorf("%v, %v", l, err)
	}
	_, err = h.ListGoals(t.Context(), &messages.GoalsRequest{Status: "strange"})
	is(t, err, messages.InvalidArgument, "status", "strange")
}

// A key for some models sees and changes the goals of these, and can't move one to another model.
func TestGoalsOfOtherModels(t *testing.T) {
	h := withGoals()
	h.shows(&messages.ModelView{Name: "other", Spec: &messages.ModelSpec{Name: "other", Path: "/o.gguf"}})
	if _, err := h.CreateGoal(operator(t.Context()), better()); err != nil {
		t.Fatal(err)
	}
	as := func(models ...string) context.Context {
		return messages.WithCaller(t.Context(), messages.Caller{Principal: messages.Principal{Name: "s", Role: messages.Role_OPERATE, Scope: &messages.Scope{Models: models}}})
	}
	if _, err := h.Scoped().GetGoal(as("other"), &messages.GoalOrder{GoalId: "better"}); messages.CodeOf(err) != messages.PermissionDenied {
		t.Errorf("%v", err)
	}
	if l, err := h.Scoped().ListGoals(as("other"), &messages.GoalsRequest{}); err != nil || len(l.Goals) > 0 {
		t.Errorf("%v, %v", l, err)
	}
	if g, err := h.Scoped().GetGoal(as("tiny"), &messages.GoalOrder{GoalId: "better"}); err != nil || g.GoalId != "better" {
		t.Errorf("%v, %v", g, err)
	}
	_, err := h.Scoped().ChangeGoal(as("tiny"), &messages.GoalRequest{GoalId: "better", Model: proto.String("other")})
	is(t, err, messages.PermissionDenied, "model", "isn't for the model other")
}

// A goal's jobs are those that SubmitJob would make: the training goes on from what serves, and a version is measured by its own file.
func TestWorkOfGoals(t *testing.T) {
	h := withGoals()
	ctx := t.Context()
	if _, err := h.CreateGoal(operator(ctx), better()); err != nil {
		t.Fatal(err)
	}
	g := GoalWork{h.Control, func(context.Context) error { return nil }}
	v := h.view.Goal(messages.GoalActor("h", "better"))
	w := goal.Work{Goal: messages.GoalActor("h", "better"), Spec: v.Spec, Run: 1, Stage: goal.Training, Parameters: map[string]string{"steps": "7"}, Job: messages.JobActor("h", "better-r1"), Trained: messages.JobActor("h", "better-r1")}
	spec, err := g.Job(ctx, w, "")
	if err != nil || spec.Base != "/tiny.gguf" || spec.Parameters["steps"] != "7" || spec.Goal != "goal/h/better" || spec.Recipe.Name != "lora" {
		t.Fatalf("%v, %v", spec, err)
	}
	for range 2 {
		if err := g.Submit(ctx, w.Job, spec); err != nil {
			t.Fatal(err)
		}
	}
	if j := h.view.Job(w.Job); j.By != "abc" || j.Spec.DatasetSha256 != "sum" {
		t.Errorf("%v", j)
	}
	h.job("better-r1", func(j *messages.JobView) {
		j.Spec, j.Phase, j.EndedMs = spec, messages.JobView_completed, 9
		j.DeviceMs, j.Outcome = 7, &messages.JobOutcome{Artifacts: []*messages.Artifact{{Path: "/notes.txt"}, {Path: "/out/model.gguf", Sha256: "s"}}}
	})
	if end, err := g.Await(ctx, w.Job, 5); err != nil || end.Phase != messages.JobView_completed || end.DeviceMS != 7 {
		t.Errorf("%v, %v", end, err)
	}
	name, err := g.Register(ctx, w)
	if again, err2 := g.Register(ctx, w); err != nil || err2 != nil || name != "tiny@1" || again != name {
		t.Fatalf("%s, %s, %v, %v", name, again, err, err2)
	}
	w.Stage = goal.Evaluating
	if spec, err := g.Job(ctx, w, name); err != nil || spec.Base != "/versions/out/model.gguf" || spec.Dataset != "/e" || spec.Kind != messages.JobSpec_evaluate {
		t.Errorf("%v, %v", spec, err)
	}
	if spec, err := g.Job(ctx, w, ""); err != nil || spec.Base != "/out/model.gguf" {
		t.Errorf("a trial: %v, %v", spec, err)
	}
	if serving, err := g.Serving(ctx, "tiny"); err != nil || serving != "tiny" {
		t.Errorf("%s, %v", serving, err)
	}
	h.view.StateChanged(messages.HostActor("h"), 1, &messages.HostView{Routes: []*messages.Route{{Name: "tiny", To: name}}})
	w.Stage, w.Run = goal.Training, 2
	if spec, err := g.Job(ctx, w, ""); err != nil || spec.Base != "/versions/out/model.gguf" {
		t.Errorf("the run after a rollout: %v, %v", spec, err)
	}
	l, err := h.GetLineage(ctx, &messages.LineageRequest{ModelName: "small"})
	if err != nil || l.Serving != name || l.Base != "/tiny.gguf" || len(l.Versions) != 1 || l.Versions[0].Origin.Parent != "tiny" {
		t.Errorf("%v, %v", l, err)
	}
	if _, err := g.Await(ctx, messages.JobActor("h", "nobody"), 0); messages.CodeOf(err) != messages.NotFound {
		t.Errorf("%v", err)
	}
}

// A rollout is a swap: it ends well when that is promoted, and fails when that is rolled back.
func TestRollOutOfAVersion(t *testing.T) {
	for phase, want := range map[messages.SwapReply_Phase]messages.Code{messages.SwapReply_promoted: 0, messages.SwapReply_rolled_back: messages.FailedPrecondition} {
		h := withGoals()
		others := h.obey
		h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
			switch c := m.(type) {
			case *messages.SwapModel:
				h.view.StateChanged(to, 1, &messages.HostView{Swaps: []*messages.SwapReply{{Id: "s", Name: c.Name, To: c.To, Phase: phase, Reason: "too many failed"}}})
				return messages.Reply{Answer: &messages.SwapReply{Id: "s"}}, nil
			case *messages.DeclareModel, *messages.QueryView:
				return messages.Reply{}, nil
			}
			return others(to, m)
		}
		g := GoalWork{h.Control, func(context.Context) error { return nil }}
		w := goal.Work{Goal: messages.GoalActor("h", "better"), Spec: &messages.GoalSpec{Model: "tiny", CanaryPct: 10}, Version: "tiny@1", Trained: messages.JobActor("h", "better-r1")}
		if err := g.RollOut(t.Context(), w); messages.CodeOf(err) != messages.FailedPrecondition {
			t.Errorf("a version that isn't there: %v", err)
		}
		h.job("better-r1", func(j *messages.JobView) {
			j.Outcome = &messages.JobOutcome{Artifacts: []*messages.Artifact{{Path: "/out/model.gguf"}}}
		})
		if _, err := g.Register(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		if err := g.RollOut(t.Context(), w); messages.CodeOf(err) != want {
			t.Errorf("%v: %v", phase, err)
		}
		served := h.view.Lineage(messages.LineageActor("h", "tiny")).Versions[0].ServedMs > 0
		if asked := strings.Join(h.asked, ", "); served != (want == 0) || !strings.Contains(asked, "model/h/tiny@1 DeclareModel") {
			t.Errorf("%v: served %v, asked %s", phase, served, asked)
		}
	}
}
