package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"modelops/actors/explain"
	"modelops/messages"
)

// Jobs is what a host knows of the jobs that it runs, and of the recipes for further ones.
type Jobs interface {
	// Recipes are the names of the recipes, in order.
	Recipes() []string
	// Recipe is a recipe as it is journaled with a job, and what its jobs are; nil when there is none of the name.
	Recipe(name string) (*messages.Recipe, messages.JobSpec_Kind)
	// File is where a model's file lies; empty = it has none of ours.
	File(*messages.ModelSpec) string
	// Check refuses a specification with which no attempt can succeed: a file that isn't there, too little disk.
	Check(job string, spec *messages.JobSpec) error
	// Hash is the checksum of data; empty = it isn't known.
	Hash(ctx context.Context, path string) string
	// Samples are those of a job of this host behind a number, as many at most.
	Samples(job string, after uint64, most int) ([]*messages.JobSample, error)
	// Last is the last sample of a job of any host, as far as it is known here; nil = none is.
	Last(job messages.ActorID) *messages.JobSample
	// Log reads the log of a job's attempts on this host.
	Log(job, after string, lines int) (*messages.LogPage, error)
}

const listJobs = "modelops jobs lists what there is"

// SubmitJob makes a job, on the host where it is to live. The same id with the same specification is the same job.
func (c *Control) SubmitJob(ctx context.Context, r *messages.LearningJobRequest) (*messages.LearningJobReply, error) {
	if err := checkRequest(r); err != nil {
		return nil, err
	}
	at, err := c.home(ctx, r)
	if err != nil {
		return nil, err
	}
	if at != c.o.Host {
		r = proto.CloneOf(r)
		r.Host = at
		return there[*messages.LearningJobReply](ctx, c, at, "SubmitJob", r)
	}
	id, spec, err := c.specified(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := c.admit(ctx, id, spec); err != nil {
		return nil, err
	}
	return c.submitted(ctx, id, spec)
}

// specified is the job that a request asks for, which lives here.
func (c *Control) specified(ctx context.Context, r *messages.LearningJobRequest) (messages.ActorID, *messages.JobSpec, error) {
	recipe, kind, err := c.recipe(r)
	if err != nil {
		return messages.ActorID{}, nil, err
	}
	id := messages.JobActor(c.o.Host, cmp.Or(r.JobId, c.newJobID(recipe.Name)))
	if before := c.o.View.Job(id).GetSpec().GetRecipe(); before.GetName() == recipe.Name { // asked again after the configuration changed, it is the same job
		recipe = before
	}
	spec, err := c.jobSpec(ctx, r, recipe, kind)
	return id, spec, err
}

// admit refuses a new job that could only fail here, and notes the checksum of its data.
func (c *Control) admit(ctx context.Context, id messages.ActorID, spec *messages.JobSpec) error {
	known := c.o.View.Job(id)
	spec.DatasetSha256 = known.GetSpec().GetDatasetSha256()
	if known != nil {
		return nil
	}
	if err := c.checkJob(id.Name(), spec); err != nil {
		return err
	}
	spec.DatasetSha256 = c.o.Jobs.Hash(ctx, spec.Dataset)
	return nil
}

func (c *Control) submitted(ctx context.Context, id messages.ActorID, spec *messages.JobSpec) (*messages.LearningJobReply, error) {
	if _, err := c.o.Door.Ask(ctx, id, &messages.SubmitJob{Spec: spec, By: messages.CallerFrom(ctx).Mark()}); err != nil {
		return nil, err
	}
	return c.jobReply(id, fmt.Sprintf("Learning job %s submitted successfully", id.Name())), nil
}

func (c *Control) jobReply(id messages.ActorID, message string) *messages.LearningJobReply {
	out := &messages.LearningJobReply{Success: true, JobId: id.Name(), Message: message, Host: id.Host()}
	if v := c.o.View.Job(id); v != nil { // the actor shows its decision before it answers
		out.Job = c.learningJob(v, c.places())
	}
	return out
}

// home is the host on which a job is to live: where a job of its id lives already, else the one that is named, else this one where it may run here.
func (c *Control) home(ctx context.Context, r *messages.LearningJobRequest) (string, error) {
	switch {
	case r.Host == c.o.Host, c.o.Hosts == nil && r.Host == "", messages.PeerFrom(ctx) != "":
		return c.o.Host, nil
	case r.Host != "" && c.isElsewhere(ctx, r.Host):
		return r.Host, nil
	case r.Host != "":
		return "", messages.NoMember(r.Host)
	}
	if r.JobId != "" {
		if lives := c.jobsOf(r.JobId); len(lives) > 0 {
			return lives[0].Host(), nil
		}
	}
	if len(r.Hosts) == 0 || slices.Contains(r.Hosts, c.o.Host) {
		return c.o.Host, nil
	}
	for _, host := range r.Hosts {
		if !c.isElsewhere(ctx, host) {
			return "", messages.NoMember(host)
		}
		if c.o.Hosts.Reached(host) {
			return host, nil
		}
	}
	return "", messages.Errorf(messages.Unavailable, "hosts", "none of %s can be reached", strings.Join(r.Hosts, ", "))
}

// newJobID makes an id that no host has.
func (c *Control) newJobID(recipe string) string {
	for {
		n := strings.ToLower(strings.ReplaceAll(c.NewID(), "-", ""))
		id := recipe + "-" + n[max(0, len(n)-8):]
		if len(c.jobsOf(id)) == 0 {
			return id
		}
	}
}

// jobsOf are the jobs of an id, that of this host first.
func (c *Control) jobsOf(name string) (out []messages.ActorID) {
	own := messages.JobActor(c.o.Host, name)
	if c.o.View.Job(own).GetSpec() != nil {
		out = append(out, own)
	}
	if c.o.Hosts == nil {
		return out
	}
	for _, v := range c.o.View.Jobs() {
		if id, err := messages.ParseActorID(v.Id); err == nil && v.Name == name && id != own {
			out = append(out, id)
		}
	}
	return out
}

// jobNamed finds a job by its id, HOST/ID, or the name of its actor.
func (c *Control) jobNamed(ctx context.Context, name, host string) (messages.ActorID, *messages.JobView, error) {
	name = strings.TrimPrefix(name, messages.KindJob+"/")
	if at, rest, ok := strings.Cut(name, "/"); ok && (host == "" || host == at) {
		host, name = at, rest
	}
	if name == "" {
		return messages.ActorID{}, nil, invalid("job_id", "it is empty", listJobs)
	}
	if host != "" && host != c.o.Host && !c.isElsewhere(ctx, host) {
		return messages.ActorID{}, nil, messages.NoMember(host)
	}
	found := slices.DeleteFunc(c.jobsOf(name), func(id messages.ActorID) bool {
		v := c.o.View.Job(id)
		return host != "" && id.Host() != host || v == nil || v.Deleted || messages.PeerFrom(ctx) != "" && id.Host() != c.o.Host
	})
	switch {
	case len(found) == 0:
		return messages.ActorID{}, nil, messages.NewError(messages.NotFound, messages.KindJob+" "+name, "Job not found").WithHint(listJobs)
	case len(found) > 1 && found[0].Host() != c.o.Host:
		return messages.ActorID{}, nil, messages.Errorf(messages.FailedPrecondition, messages.KindJob+" "+name, "%s and %s have a job of this id", found[0].Host(), found[1].Host()).
			WithHint("name one of them with --host, or in the field host")
	}
	return found[0], c.o.View.Job(found[0]), nil
}

// GetJob shows a job. While its host can't be reached, what that said last is shown.
func (c *Control) GetJob(ctx context.Context, r *messages.JobRequest) (*messages.LearningJob, error) {
	id, v, err := c.jobNamed(ctx, r.JobId, r.Host)
	if err != nil {
		return nil, err
	}
	if c.isElsewhere(ctx, id.Host()) && c.o.Hosts.Reached(id.Host()) {
		j, err := there[*messages.LearningJob](ctx, c, id.Host(), "GetJob", &messages.JobRequest{JobId: id.Name(), Host: id.Host()})
		if !unanswered(err) {
			return j, err
		}
	}
	j := c.learningJob(v, c.places())
	if v.WaitingSinceMs > 0 && id.Host() == c.o.Host { // the arbiter says in its journal what it waits for
		if x, err := c.o.Explain(ctx, explain.Question{Subject: id.String(), Model: id}); err == nil {
			j.Reason = cmp.Or(j.Reason, x.Summary)
		}
	}
	return j, nil
}

// order gives a job's actor a command, at the job's host.
func (c *Control) order(ctx context.Context, operation string, r *messages.JobRequest, command func(by string) proto.Message, done string) (*messages.LearningJobReply, error) {
	id, _, err := c.jobNamed(ctx, r.JobId, r.Host)
	if err != nil {
		return nil, err
	}
	if c.isElsewhere(ctx, id.Host()) {
		return there[*messages.LearningJobReply](ctx, c, id.Host(), operation, &messages.JobRequest{JobId: id.Name(), Host: id.Host(), Reason: r.Reason, NewJobId: r.NewJobId})
	}
	reply, err := c.o.Door.Ask(ctx, id, command(messages.CallerFrom(ctx).Mark()))
	if err != nil {
		return nil, err
	}
	message := fmt.Sprintf("Learning job %s %s", id.Name(), done)
	if d, ok := reply.Answer.(*messages.Done); ok && d.GetNote() != "" && len(reply.Events) == 0 {
		message = fmt.Sprintf("Learning job %s: %s", id.Name(), d.Note)
	}
	return c.jobReply(id, message), nil
}

// longestReason bounds what a caller says of its reason: it is journaled.
const longestReason = 1000

func said(r *messages.JobRequest) string { return r.Reason[:min(len(r.Reason), longestReason)] }

// CancelJob ends a job.
func (c *Control) CancelJob(ctx context.Context, r *messages.JobRequest) (*messages.LearningJobReply, error) {
	return c.order(ctx, "CancelJob", r, func(by string) proto.Message {
		return &messages.CancelJob{Reason: cmp.Or(said(r), "Job cancelled by user"), By: by}
	}, "is cancelled")
}

// PauseJob has a job give its memory back until ResumeJob.
func (c *Control) PauseJob(ctx context.Context, r *messages.JobRequest) (*messages.LearningJobReply, error) {
	return c.order(ctx, "PauseJob", r, func(by string) proto.Message { return &messages.PauseJob{Reason: said(r), By: by} }, "is paused")
}

// ResumeJob lets a paused job go on.
func (c *Control) ResumeJob(ctx context.Context, r *messages.JobRequest) (*messages.LearningJobReply, error) {
	return c.order(ctx, "ResumeJob", r, func(by string) proto.Message { return &messages.ResumeJob{By: by} }, "goes on")
}

// DeleteJob forgets a job that has ended.
func (c *Control) DeleteJob(ctx context.Context, r *messages.JobRequest) (*messages.LearningJobReply, error) {
	return c.order(ctx, "DeleteJob", r, func(by string) proto.Message { return &messages.DeleteJob{By: by} }, "is deleted")
}

// CheckpointJob asks a running job for a checkpoint.
func (c *Control) CheckpointJob(ctx context.Context, r *messages.JobRequest) (*messages.LearningJobReply, error) {
	return c.order(ctx, "CheckpointJob", r, func(by string) proto.Message { return &messages.CheckpointJob{By: by} }, "is asked for a checkpoint")
}

// RetryJob submits a job that has ended once more. It begins from the beginning, by the recipe that the first one had.
func (c *Control) RetryJob(ctx context.Context, r *messages.JobRequest) (*messages.LearningJobReply, error) {
	id, v, err := c.jobNamed(ctx, r.JobId, r.Host)
	if err != nil {
		return nil, err
	}
	if c.isElsewhere(ctx, id.Host()) {
		return there[*messages.LearningJobReply](ctx, c, id.Host(), "RetryJob", &messages.JobRequest{JobId: id.Name(), Host: id.Host(), NewJobId: r.NewJobId})
	}
	if r.NewJobId != "" && !messages.JobID.MatchString(r.NewJobId) {
		return nil, badJobID("new_job_id", r.NewJobId)
	}
	if v.EndedMs == 0 {
		return nil, messages.Errorf(messages.FailedPrecondition, id.String(), "it hasn't ended: it is %s", v.Phase).WithHint("cancel it first")
	}
	spec := proto.CloneOf(v.Spec)
	spec.RetryOf = id.Name()
	if err := c.checkJob(cmp.Or(r.NewJobId, id.Name()), spec); err != nil {
		return nil, err
	}
	if r.NewJobId != "" {
		return c.submitted(ctx, messages.JobActor(c.o.Host, r.NewJobId), spec)
	}
	first := cmp.Or(v.Spec.RetryOf, id.Name())
	for n := 2; ; n++ {
		again := fmt.Sprintf("%s-%d", first[:min(len(first), longestRetried)], n)
		if len(c.jobsOf(again)) > 0 {
			continue
		}
		reply, err := c.submitted(ctx, messages.JobActor(c.o.Host, again), spec)
		if messages.CodeOf(err) != messages.Conflict || n > mostRetries { // one of that id was deleted
			return reply, err
		}
	}
}

// longestRetried leaves room for a number in an id, and mostRetries bounds the search for one that is free.
const longestRetried, mostRetries = 120, 1000
