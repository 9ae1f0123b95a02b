package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/goal"
	"modelops/messages"
)

// serving is what answers a model's name: the model itself, or the one to which the name is routed.
func (c *Control) serving(model string) string {
	for _, r := range c.o.View.Host(c.hostID()).GetRoutes() {
		if r.Name == model && r.To != "" {
			return r.To
		}
	}
	return model
}

// version is a version of a lineage of this host by its name; nil when there is none.
func (c *Control) version(name string) *messages.ModelVersion {
	model, number, is := messages.VersionOf(name)
	if !is {
		return nil
	}
	for _, v := range c.o.View.Lineage(messages.LineageActor(c.o.Host, model)).GetVersions() {
		if v.Number == number {
			return v
		}
	}
	return nil
}

// versionFile is where a version lies, or a model's own file.
func (c *Control) versionFile(name string) (string, error) {
	if v := c.version(name); v != nil {
		if v.State != messages.ModelVersion_registered {
			return "", messages.Errorf(messages.FailedPrecondition, name, "its file isn't there: it is %s", v.State)
		}
		return v.Path, nil
	}
	v := c.o.View.Model(c.modelID(name))
	if path := ""; v.GetSpec() != nil && c.o.Jobs != nil {
		if path = c.o.Jobs.File(v.Spec); path != "" {
			return path, nil
		}
	}
	return "", messages.NewError(messages.FailedPrecondition, name, "it has no file of its own here")
}

// Serving implements goal.Versions.
func (g GoalWork) Serving(ctx context.Context, model string) (string, error) {
	if err := g.Recovered(ctx); err != nil {
		return "", err
	}
	name := g.serving(model)
	if _, err := g.versionFile(name); err != nil {
		return "", nil // what can't be measured isn't compared with
	}
	return name, nil
}

// Register implements goal.Versions: the lineage of the model copies what the run's job left.
func (g GoalWork) Register(ctx context.Context, w goal.Work) (string, error) {
	if err := g.Recovered(ctx); err != nil {
		return "", err
	}
	job := g.o.View.Job(w.Trained)
	if job.GetSpec().GetKind() == messages.JobSpec_evaluate { // it makes no version: what it measured is one
		return g.serving(w.Spec.Model), nil
	}
	a, err := g.artifact(w.Trained)
	if err != nil {
		return "", err
	}
	id := messages.LineageActor(g.o.Host, w.Spec.Model)
	origin := &messages.VersionOrigin{Job: w.Trained.String(), Path: a.Path, Sha256: a.Sha256, Bytes: a.Bytes, Parent: g.parent(w.Spec.Model, job.Spec.Base), Dataset: job.Spec.Dataset,
		DatasetSha256: job.Spec.DatasetSha256, Recipe: job.Spec.GetRecipe().GetName(), Parameters: job.Spec.Parameters, Metrics: job.GetOutcome().GetMetrics(), Goal: w.Goal.String(), Run: w.Run}
	if _, err := g.o.Door.Ask(ctx, id, &messages.RegisterVersion{Origin: origin}); err != nil {
		return "", err
	}
	v, err := g.awaitVersion(ctx, id, w.Trained.String())
	if err != nil {
		return "", err
	}
	if w.Spec.Rollout == "by_hand" {
		err = g.declareVersion(ctx, w.Spec.Model, v)
	}
	return v.Name, err
}

// parent is the version whose file a job started from; the model's name for another file.
func (c *Control) parent(model, base string) string {
	for _, v := range c.o.View.Lineage(messages.LineageActor(c.o.Host, model)).GetVersions() {
		if v.Path != "" && v.Path == base {
			return v.Name
		}
	}
	return model
}

// awaitVersion waits until the version of a job is stored.
func (g GoalWork) awaitVersion(ctx context.Context, id messages.ActorID, job string) (*messages.ModelVersion, error) {
	for {
		changed := g.o.View.Changed()
		for _, v := range g.o.View.Lineage(id).GetVersions() {
			if v.GetOrigin().GetJob() != job {
				continue
			}
			switch v.State {
			case messages.ModelVersion_registered, messages.ModelVersion_dropped:
				return v, nil
			case messages.ModelVersion_failed:
				return nil, v.Error.Err()
			}
		}
		select {
		case <-ctx.Done():
			return nil, messages.AsError(context.Cause(ctx))
		case <-changed:
		}
	}
}

// declareVersion lets a version be asked for as MODEL@N, with the settings of its model.
func (g GoalWork) declareVersion(ctx context.Context, model string, v *messages.ModelVersion) error {
	of := g.o.View.Model(g.modelID(model)).GetSpec()
	if of == nil {
		return messages.NewError(messages.ModelNotFound, model, "its declaration was withdrawn")
	}
	id := g.modelID(v.Name)
	spec := proto.CloneOf(of)
	spec.Name, spec.Path, spec.Aliases, spec.DeclaredBy = v.Name, v.Path, nil, messages.DeclaredByAPI
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s", of.Revision, v.Path, v.Sha256))
	spec.Revision = hex.EncodeToString(sum[:8])
	if proto.Equal(g.o.View.Model(id).GetSpec(), spec) {
		return nil
	}
	if _, err := g.o.Door.Ask(ctx, id, &messages.DeclareModel{Spec: spec}); err != nil {
		return err
	}
	_, err := g.o.Door.Ask(ctx, messages.ActorID{Kind: messages.KindGateway, ID: g.o.Host}, &messages.QueryView{}) // it knows the model once it answers
	return err
}

// RollOut implements goal.Versions: the name is swapped to the version, with a trial and the swap's own rollback.
func (g GoalWork) RollOut(ctx context.Context, w goal.Work) error {
	if err := g.Recovered(ctx); err != nil {
		return messages.Errorf(messages.Unavailable, w.Version, "the daemon is stopping")
	}
	v := g.version(w.Version)
	if v == nil || v.State != messages.ModelVersion_registered {
		return messages.NewError(messages.FailedPrecondition, w.Version, "its file isn't there")
	}
	if err := g.declareVersion(ctx, w.Spec.Model, v); err != nil {
		return err
	}
	if g.serving(w.Spec.Model) != v.Name {
		if err := g.swap(ctx, w, v); err != nil {
			return err
		}
	}
	_, err := g.o.Door.Ask(ctx, messages.LineageActor(g.o.Host, w.Spec.Model), &messages.ServeVersion{Version: v.Number})
	return err
}

func (g GoalWork) swap(ctx context.Context, w goal.Work, v *messages.ModelVersion) error {
	r, err := g.askHost(ctx, &messages.SwapModel{Name: w.Spec.Model, To: v.Name, CanaryPct: w.Spec.CanaryPct, JudgeSeconds: w.Spec.CanarySeconds})
	if err != nil {
		return err
	}
	for {
		changed := g.o.View.Changed()
		for _, s := range g.o.View.Host(g.hostID()).GetSwaps() {
			if s.Name != w.Spec.Model {
				continue
			}
			switch {
			case s.Id != r.Id && s.Id != "":
				return messages.Errorf(messages.Conflict, w.Spec.Model, "another rollout, to %s, took its place", s.To)
			case s.Phase == messages.SwapReply_promoted:
				return nil
			case s.Phase == messages.SwapReply_rolled_back:
				return messages.Errorf(messages.FailedPrecondition, v.Name, "it was rolled back: %s", s.Reason)
			}
		}
		select {
		case <-ctx.Done():
			return messages.NewError(messages.Unavailable, v.Name, "the wait for its rollout ended").WithRetry(time.Second)
		case <-changed:
		}
	}
}

// GetLineage shows the versions of a model.
func (c *Control) GetLineage(ctx context.Context, r *messages.LineageRequest) (*messages.LineageReply, error) {
	if r.ModelName == "" {
		return nil, invalid("model_name", "it is empty", "name a model: modelops models lists what there is")
	}
	if r.Host != "" && r.Host != c.o.Host {
		if !c.isElsewhere(ctx, r.Host) {
			return nil, messages.NoMember(r.Host)
		}
		return there[*messages.LineageReply](ctx, c, r.Host, "GetLineage", r)
	}
	name := c.canonical(r.ModelName)
	v := c.o.View.Lineage(messages.LineageActor(c.o.Host, name))
	if len(v.GetVersions()) == 0 {
		if _, _, err := c.declared(ctx, name, listModels); err != nil {
			return nil, err
		}
	}
	out := &messages.LineageReply{ModelName: name, Host: c.o.Host, Serving: c.serving(name), Versions: v.GetVersions(), Bytes: v.GetBytes()}
	out.Base, _ = c.versionFile(name)
	return out, nil
}

// GoalRuns tells lineages what became of goals' runs. It implements lineage.Runs.
type GoalRuns struct{ GoalWork }

// Await implements lineage.Runs.
func (g GoalRuns) Await(ctx context.Context, name string, run uint32) (*messages.GoalRun, error) {
	if err := g.Recovered(ctx); err != nil {
		return nil, err
	}
	id, err := messages.ParseActorID(name)
	if err != nil {
		return nil, messages.NewError(messages.NotFound, name, "no goal made it")
	}
	for {
		changed := g.o.View.Changed()
		v := g.o.View.Goal(id)
		var found *messages.GoalRun
		for _, r := range v.GetRuns() {
			if r.Run == run {
				found = r
			}
		}
		switch {
		case found == nil:
			return nil, messages.Errorf(messages.NotFound, name, "its goal doesn't know run %d any more", run)
		case found.Stage == messages.GoalRun_ended:
			return found, nil
		}
		select {
		case <-ctx.Done():
			return nil, messages.AsError(context.Cause(ctx))
		case <-changed:
		}
	}
}
