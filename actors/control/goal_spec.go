package control

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/messages"
)

// set changes a field that a request says.
func set[T any](field *T, said *T) {
	if said != nil {
		*field = *said
	}
}

// goalSpec puts into a specification what a request says. What can't be meant, the goal's actor refuses.
func (c *Control) goalSpec(spec *messages.GoalSpec, r *messages.GoalRequest) (err error) {
	set(&spec.Title, r.Title)
	set(&spec.Description, r.Description)
	set(&spec.Metric, r.Metric)
	set(&spec.Value, r.Value)
	set(&spec.Model, r.Model)
	set(&spec.Recipe, r.Recipe)
	set(&spec.Evaluation, r.Evaluation)
	set(&spec.Dataset, r.Dataset)
	set(&spec.EvalDataset, r.EvalDataset)
	set(&spec.Schedule, r.Schedule)
	set(&spec.Seed, r.Seed)
	set(&spec.Rollout, r.Rollout)
	set(&spec.CanaryPct, r.CanaryPct)
	set(&spec.CanarySeconds, r.CanarySeconds)
	set(&spec.Weight, r.Weight)
	set(&spec.Class, r.Class)
	set(&spec.Window, r.Window)
	set(&spec.IdleOnly, r.IdleOnly)
	if len(r.Search) > 0 {
		spec.Search = r.Search
	}
	if len(r.Hosts) > 0 {
		spec.Hosts = r.Hosts
	}
	if r.Metadata != nil {
		if spec.Labels, err = texts(r.Metadata, "metadata"); err != nil {
			return err
		}
	}
	if r.Parameters != nil {
		if spec.Parameters, err = texts(r.Parameters, "parameters"); err != nil {
			return err
		}
	}
	if spec.Model != "" {
		spec.Model = c.canonical(spec.Model)
	}
	return goalBounds(spec, r)
}

// goalBounds are the target's direction, the priority, the deadline and the budgets.
func goalBounds(spec *messages.GoalSpec, r *messages.GoalRequest) error {
	if r.Priority != nil {
		spec.Priority = r.GetPriority()
		if spec.Priority != "" && !slices.Contains(messages.GoalPriorities, spec.Priority) {
			return messages.Errorf(messages.InvalidArgument, "priority", "Goal 'invalid_priority' error: Invalid priority: %.100s", spec.Priority).WithHint("critical, high, medium or low")
		}
	}
	if r.Comparison != nil {
		n, known := messages.GoalSpec_Comparison_value[r.GetComparison()]
		if !known && r.GetComparison() != "" {
			return invalid("comparison", fmt.Sprintf("%.100q isn't known", r.GetComparison()), "write at_least or at_most")
		}
		spec.Comparison = messages.GoalSpec_Comparison(n)
	}
	if r.Deadline != nil {
		at, err := messages.ParseEnd(r.GetDeadline())
		if err != nil {
			return invalid("deadline", fmt.Sprintf("%.100q is no time", r.GetDeadline()), "a date such as 2026-12-31, or a time such as 2026-12-31T12:00:00Z")
		}
		if spec.Deadline = timestamppb.New(at); at.IsZero() {
			spec.Deadline = nil
		}
	}
	if r.BudgetGpuHours != nil {
		hours := r.GetBudgetGpuHours()
		if !(hours >= 0) || math.IsInf(hours, 0) || hours > 1e7 {
			return invalid("budget_gpu_hours", fmt.Sprintf("%v is no budget", hours), "a budget is above 0; 0 is no bound")
		}
		spec.BudgetSeconds = uint64(math.Ceil(hours * 3600))
	}
	if r.BudgetRuns != nil {
		if r.GetBudgetRuns() < 0 {
			return invalid("budget_runs", fmt.Sprintf("%d is no budget", r.GetBudgetRuns()), "a budget is above 0; 0 is no bound")
		}
		spec.BudgetRuns = uint32(r.GetBudgetRuns())
	}
	return nil
}

func texts(s *structpb.Struct, field string) (map[string]string, error) {
	if len(s.Fields) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for name, v := range s.Fields {
		text, err := parameter(v)
		if err != nil {
			return nil, invalid(field, name+" "+err.Error(), "give a text, a number, true or false")
		}
		if messages.SecretName(name) || messages.ReplaceSecrets(text, func(string) string { return "" }) != text {
			return nil, invalid(field, name+" holds a secret, and goals are journaled", "put it into the recipe's env: ${env.NAME} is read when a job starts")
		}
		out[name] = text
	}
	return out, nil
}

// legacyGoal reads the old coordinator's goals, which say in words what is to be done, and in metadata with what.
func (c *Control) legacyGoal(spec *messages.GoalSpec, r *messages.GoalRequest) error {
	if spec.Recipe != "" {
		return nil
	}
	words := strings.ToLower(spec.Description)
	says := func(any ...string) bool {
		return slices.ContainsFunc(any, func(w string) bool { return strings.Contains(words, w) })
	}
	switch {
	case says("train", "fine-tune"):
		spec.Recipe = usualRecipes["fine_tune"]
	case says("evaluate", "test"):
		spec.Recipe = usualRecipes["evaluate"]
	default:
		return invalid("recipe", "it is empty, and the description asks neither to train or fine-tune nor to evaluate or test", "name one of the configuration's recipes, and a model and a dataset for it")
	}
	said := r.GetMetadata().GetFields()
	spec.Model = c.canonical(cmp.Or(spec.Model, said["model_name"].GetStringValue()))
	spec.Dataset = cmp.Or(spec.Dataset, said["dataset_path"].GetStringValue())
	if settings := said["training_params"].GetStructValue(); settings != nil && len(spec.Parameters) == 0 {
		var err error
		spec.Parameters, err = texts(settings, "metadata.training_params")
		return err
	}
	return nil
}

// longestStage is the longest name that a goal adds to its own for a job.
const longestStage = "-r100000-eval"

// checkGoal refuses a goal whose jobs couldn't be made: a recipe, a model or a file that isn't there, a parameter that the recipe doesn't have.
func (c *Control) checkGoal(ctx context.Context, id messages.ActorID, spec *messages.GoalSpec) error {
	if len(spec.Search) > 0 && c.o.AutoTune != nil && !c.o.AutoTune() {
		return messages.NewError(messages.FailedPrecondition, "search", "this host's configuration doesn't let goals search for settings").WithHint("learning.enable_auto_tune: true permits it")
	}
	if model := c.model(spec.Model); !messages.CallerFrom(ctx).Scope.Has(model) {
		return messages.Errorf(messages.PermissionDenied, "model", "this key isn't for the model %s", spec.Model).WithHint("use a key for it")
	}
	settings := maps.Clone(spec.Parameters)
	for _, d := range spec.Search {
		if settings == nil {
			settings = map[string]string{}
		}
		if settings[d.GetName()] = fmt.Sprint(d.GetLow()); len(d.GetValues()) > 0 {
			settings[d.Name] = d.Values[0]
		}
	}
	if spec.Recipe == "" { // the actor says it better
		return nil
	}
	for _, r := range []*messages.LearningJobRequest{trainingOf(id, spec, settings), evaluationOf(id, spec)} {
		if r.Recipe == "" {
			continue
		}
		r.JobId = id.Name() + "-r1"
		if !messages.JobID.MatchString(id.Name() + longestStage) { // its jobs are named after it
			return badJobID("goal_id", id.Name())
		}
		if err := checkRequest(r); err != nil {
			return err
		}
		_, job, err := c.specified(ctx, r)
		if err == nil {
			err = c.checkJob(r.JobId, job)
		}
		if err != nil {
			return goalField(err, r.Recipe == spec.Evaluation && r.DatasetPath == spec.EvalDataset)
		}
	}
	return nil
}

// goalField names the field of the goal in place of that of its job.
func goalField(err error, evaluation bool) error {
	e := *messages.AsError(err)
	names := map[string]string{"model_name": "model", "dataset_path": "dataset"}
	if evaluation {
		names = map[string]string{"model_name": "model", "dataset_path": "eval_dataset", "recipe": "evaluation"}
	}
	e.Subject = cmp.Or(names[e.Subject], e.Subject)
	return &e
}

// trainingOf is the job of a goal's run.
func trainingOf(id messages.ActorID, spec *messages.GoalSpec, settings map[string]string) *messages.LearningJobRequest {
	return &messages.LearningJobRequest{Recipe: spec.Recipe, ModelName: spec.Model, DatasetPath: spec.Dataset, EvalDataset: spec.EvalDataset, Parameters: structOf(settings), Goal: id.String(),
		Class: spec.Class, Hosts: spec.Hosts, Window: spec.Window, IdleOnly: spec.IdleOnly}
}

// evaluationOf is the job that measures a version.
func evaluationOf(id messages.ActorID, spec *messages.GoalSpec) *messages.LearningJobRequest {
	return &messages.LearningJobRequest{Recipe: spec.Evaluation, ModelName: spec.Model, DatasetPath: spec.EvalDataset, Goal: id.String(),
		Class: spec.Class, Hosts: spec.Hosts, Window: spec.Window, IdleOnly: spec.IdleOnly}
}

func structOf(texts map[string]string) *structpb.Struct {
	if len(texts) == 0 {
		return nil
	}
	out := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for name, text := range texts {
		out.Fields[name] = structpb.NewStringValue(text)
	}
	return out
}
