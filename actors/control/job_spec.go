package control

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"modelops/messages"
)

// usualRecipes are those of a kind of job whose request names none. lora and distillation are kinds of the old contract.
var usualRecipes = map[string]string{"fine_tune": "full", "lora": "lora", "rlhf": "dpo", "evaluate": "evaluate", "custom": "custom", "distillation": "distillation"}

// checkRequest refuses what no host could take.
func checkRequest(r *messages.LearningJobRequest) error {
	switch {
	case r.JobType != "" && usualRecipes[r.JobType] == "":
		return messages.Errorf(messages.InvalidArgument, "job_type", "Learning job 'invalid_job_type' error: Unknown job type: %s", r.JobType).
			WithHint("the types are fine_tune, rlhf, evaluate, custom, lora and distillation")
	case r.JobType == "" && r.Recipe == "":
		return invalid("recipe", "it is empty, and so is job_type", "name one of them")
	case r.JobId != "" && !messages.JobID.MatchString(r.JobId): // its actor would refuse it, and stay
		return badJobID("job_id", r.JobId)
	case r.VramMb < 0:
		return invalid("vram_mb", "it is negative", "leave it out for what the recipe needs")
	case r.Devices < 0:
		return invalid("devices", "it is negative", "leave it out for what the recipe needs")
	case len(r.Window) > 200:
		return invalid("window", "it is no window", "write it as 22:00-06:00")
	}
	for _, host := range r.Hosts {
		if !messages.PlainName.MatchString(host) {
			return invalid("hosts", fmt.Sprintf("%q is no host", host), "modelops cluster lists the members")
		}
	}
	return nil
}

func badJobID(field, id string) error {
	return invalid(field, fmt.Sprintf("%.100q can't be used", id), "give "+messages.GoodJobID)
}

// recipe finds the recipe of a request, and what its job is.
func (c *Control) recipe(r *messages.LearningJobRequest) (*messages.Recipe, messages.JobSpec_Kind, error) {
	if c.o.Jobs == nil {
		return nil, 0, messages.NewError(messages.Unsupported, "host "+c.o.Host, "it runs no jobs")
	}
	name := cmp.Or(r.Recipe, usualRecipes[r.JobType])
	recipe, kind := c.o.Jobs.Recipe(name)
	if recipe == nil {
		known := c.o.Jobs.Recipes()
		what := fmt.Sprintf("there is no recipe %q", name)
		if r.Recipe == "" {
			what = fmt.Sprintf("jobs of the type %s have no recipe of their own here, and none is named", r.JobType)
		}
		return nil, 0, invalid("recipe", what, messages.DidYouMean(name, known)+"the recipes of "+c.o.Host+" are "+strings.Join(known, ", ")+"; learning.recipes adds others")
	}
	said := map[string]string{"lora": "fine_tune", "distillation": "custom"}
	if r.Recipe != "" && r.JobType != "" && cmp.Or(said[r.JobType], r.JobType) != kind.String() {
		return nil, 0, invalid("job_type", fmt.Sprintf("the recipe %s is for jobs of the type %s, not %s", name, kind, r.JobType), "leave job_type out")
	}
	return recipe, kind, nil
}

// jobSpec is what a request asks for, with what follows from the configuration.
func (c *Control) jobSpec(ctx context.Context, r *messages.LearningJobRequest, recipe *messages.Recipe, kind messages.JobSpec_Kind) (*messages.JobSpec, error) {
	spec := &messages.JobSpec{Kind: kind, Dataset: r.DatasetPath, EvalDataset: r.EvalDataset, Recipe: recipe, Class: r.Class, VramBytes: uint64(r.VramMb) * messages.MiB,
		Devices: uint32(r.Devices), Hosts: r.Hosts, Window: r.Window, IdleOnly: r.IdleOnly, Unpreemptible: r.Unpreemptible}
	if r.Class != "" {
		rank, err := c.rankOf(r.Class)
		if err != nil {
			return nil, err
		}
		spec.Priority = rank
	}
	if r.Goal != "" {
		goal := strings.TrimPrefix(r.Goal, messages.KindGoal+"/")
		id, err := messages.ActorNamed(messages.KindGoal+"/"+goal, c.o.Host, c.knows)
		if err != nil {
			return nil, invalid("goal", fmt.Sprintf("%q is no goal", r.Goal), "goal/HOST/ID names one")
		}
		spec.Goal = id.String()
	}
	if kind != messages.JobSpec_custom {
		if r.ModelName == "" {
			return nil, invalid("model_name", "it is empty", "name the model that is to be trained or evaluated")
		}
		if r.DatasetPath == "" {
			return nil, invalid("dataset_path", "it is empty", "name the file with the data")
		}
	}
	if err := c.base(ctx, r, spec); err != nil {
		return nil, err
	}
	var err error
	spec.Parameters, err = parameters(r.Parameters, recipe)
	return spec, err
}

// base is the model and the file that a job starts from: the model's own, or one that an admin names.
func (c *Control) base(ctx context.Context, r *messages.LearningJobRequest, spec *messages.JobSpec) error {
	if r.ModelName != "" {
		id, v, err := c.declared(ctx, r.ModelName, "a job's model is one that its host declares: "+listModels)
		if err != nil {
			return err
		}
		spec.Model, spec.Base = id.Name(), c.o.Jobs.File(v.Spec)
	}
	switch {
	case r.Base != "" && r.Base != spec.Base && !messages.CallerFrom(ctx).May(messages.Role_ADMIN): // as for a load: some engines run code that comes with a file
		return messages.Errorf(messages.PermissionDenied, "base", "starting from a file that isn't the model's needs the role %s", messages.RoleName(messages.Role_ADMIN)).
			WithHint("leave it out, or use a key with that role")
	case r.Base != "":
		spec.Base = r.Base
	case spec.Base == "" && spec.Kind != messages.JobSpec_custom:
		return invalid("base", "the model "+spec.Model+" has no file of its own here", "name the file to start from")
	}
	return nil
}

// checkJob refuses a job that could only fail on this host.
func (c *Control) checkJob(job string, spec *messages.JobSpec) error {
	if c.o.Jobs == nil {
		return messages.NewError(messages.Unsupported, "host "+c.o.Host, "it runs no jobs")
	}
	err := c.o.Jobs.Check(job, spec)
	if e := messages.AsError(err); err != nil && e.Subject == "dataset" {
		return messages.Errorf(messages.InvalidArgument, "dataset_path", "Learning job 'dataset_not_found' error: Dataset not found: %s", spec.Dataset).WithHint(e.Hint).WithCause(err)
	}
	return err
}

const (
	mostParameters   = 200
	longestParameter = 4096
)

// parameters are a job's settings as texts. A recipe that declares parameters takes no others, so that a slip of the pen isn't passed over.
func parameters(given *structpb.Struct, recipe *messages.Recipe) (map[string]string, error) {
	if len(given.GetFields()) > mostParameters {
		return nil, invalid("parameters", fmt.Sprintf("there are more than %d", mostParameters), "put them into a file of the trainer")
	}
	var out map[string]string
	for _, name := range slices.Sorted(maps.Keys(given.GetFields())) {
		text, err := parameter(given.Fields[name])
		if err != nil {
			return nil, invalid("parameters", name+" "+err.Error(), "give a text, a number, true or false")
		}
		_, declared := recipe.Parameters[name]
		_, smaller := recipe.Smaller[name]
		known := slices.Sorted(maps.Keys(recipe.Parameters))
		switch {
		case len(recipe.Parameters) > 0 && !declared && !smaller:
			return nil, invalid("parameters", fmt.Sprintf("the recipe %s has no parameter %s", recipe.Name, name), messages.DidYouMean(name, known)+"it has "+strings.Join(known, ", "))
		case messages.BadName(name) != "":
			return nil, invalid("parameters", fmt.Sprintf("%q can't be the name of one", name), messages.GoodName)
		case messages.SecretName(name), messages.ReplaceSecrets(text, func(string) string { return "" }) != text:
			return nil, invalid("parameters", name+" holds a secret, and parameters are journaled", "put it into the recipe's env: ${env.NAME} is read when the job starts")
		case len(text) > longestParameter:
			return nil, invalid("parameters", fmt.Sprintf("%s is longer than %d bytes", name, longestParameter), "put it into a file of the trainer")
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = text
	}
	return out, nil
}

func parameter(v *structpb.Value) (string, error) {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		if strings.ContainsRune(k.StringValue, 0) {
			return "", fmt.Errorf("holds a zero byte")
		}
		return k.StringValue, nil
	case *structpb.Value_NumberValue:
		return strconv.FormatFloat(k.NumberValue, 'f', -1, 64), nil
	case *structpb.Value_BoolValue:
		return strconv.FormatBool(k.BoolValue), nil
	case *structpb.Value_NullValue, nil:
		return "", nil
	}
	text, err := json.Marshal(v.AsInterface())
	return string(text), err
}
