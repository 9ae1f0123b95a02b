package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

const listGoals = "modelops goals lists what there is"

// CreateGoal makes a goal, on the host where it is to live. The same id with the same request is the same goal.
func (c *Control) CreateGoal(ctx context.Context, r *messages.GoalRequest) (*messages.GoalReply, error) {
	at, err := c.goalHome(ctx, r)
	if err != nil {
		return nil, err
	}
	if at != c.o.Host {
		r = proto.CloneOf(r)
		r.Host = at
		return there[*messages.GoalReply](ctx, c, at, "CreateGoal", r)
	}
	spec := &messages.GoalSpec{}
	if err := c.goalSpec(spec, r); err != nil {
		return nil, err
	}
	if err := c.legacyGoal(spec, r); err != nil {
		return nil, err
	}
	id := messages.GoalActor(c.o.Host, r.GoalId)
	if r.GoalId == "" {
		id = messages.GoalActor(c.o.Host, c.newGoalID())
	}
	if err := c.checkGoal(ctx, id, spec); err != nil {
		return nil, err
	}
	if _, err := c.o.Door.Ask(ctx, id, &messages.CreateGoal{Spec: spec, By: messages.CallerFrom(ctx).Mark()}); err != nil {
		return nil, err
	}
	return c.goalReply(id, fmt.Sprintf("Goal %s created successfully", id.Name())), nil
}

// goalHome is the host on which a goal is to live: that of its jobs.
func (c *Control) goalHome(ctx context.Context, r *messages.GoalRequest) (string, error) {
	if lives := c.goalsOf(r.GoalId); r.Host == "" && r.GoalId != "" && len(lives) > 0 && messages.PeerFrom(ctx) == "" {
		return lives[0].Host(), nil
	}
	for _, host := range r.Hosts {
		if !messages.PlainName.MatchString(host) {
			return "", invalid("hosts", fmt.Sprintf("%q is no host", host), "modelops cluster lists the members")
		}
	}
	return c.home(ctx, &messages.LearningJobRequest{Host: r.Host, Hosts: r.Hosts})
}

func (c *Control) newGoalID() string {
	for {
		n := strings.ToLower(strings.ReplaceAll(c.NewID(), "-", ""))
		if id := "goal-" + n[max(0, len(n)-8):]; len(c.goalsOf(id)) == 0 {
			return id
		}
	}
}

func (c *Control) goalReply(id messages.ActorID, message string) *messages.GoalReply {
	out := &messages.GoalReply{Success: true, GoalId: id.Name(), Message: message, Host: id.Host()}
	if v := c.o.View.Goal(id); v.GetSpec() != nil { // the actor shows its decision before it answers
		out.Goal = c.learningGoal(v)
	}
	return out
}

// goalsOf are the goals of an id, that of this host first.
func (c *Control) goalsOf(name string) (out []messages.ActorID) {
	own := messages.GoalActor(c.o.Host, name)
	if v := c.o.View.Goal(own); v.GetSpec() != nil && !v.Deleted {
		out = append(out, own)
	}
	if c.o.Hosts == nil {
		return out
	}
	for _, v := range c.o.View.Goals() {
		if id, err := messages.ParseActorID(v.Id); err == nil && v.Name == name && id != own && !v.Deleted {
			out = append(out, id)
		}
	}
	return out
}

// goalNamed finds a goal by its id, HOST/ID, or the name of its actor.
func (c *Control) goalNamed(ctx context.Context, name, host string) (messages.ActorID, *messages.GoalView, error) {
	name = strings.TrimPrefix(name, messages.KindGoal+"/")
	if at, rest, ok := strings.Cut(name, "/"); ok && host == "" {
		host, name = at, rest
	}
	if name == "" {
		return messages.ActorID{}, nil, invalid("goal_id", "it is empty", listGoals)
	}
	if host != "" && host != c.o.Host && !c.isElsewhere(ctx, host) {
		return messages.ActorID{}, nil, messages.NoMember(host)
	}
	found := slices.DeleteFunc(c.goalsOf(name), func(id messages.ActorID) bool {
		return host != "" && id.Host() != host || messages.PeerFrom(ctx) != "" && id.Host() != c.o.Host
	})
	switch {
	case len(found) == 0:
		return messages.ActorID{}, nil, messages.NewError(messages.NotFound, messages.KindGoal+" "+name, "Goal not found").WithHint(listGoals)
	case len(found) > 1 && found[0].Host() != c.o.Host:
		return messages.ActorID{}, nil, messages.Errorf(messages.FailedPrecondition, messages.KindGoal+" "+name, "%s and %s have a goal of this id", found[0].Host(), found[1].Host()).
			WithHint("name one of them with --host, or in the field host")
	}
	return found[0], c.o.View.Goal(found[0]), nil
}

// GetGoal shows a goal. While its host can't be reached, what that said last is shown.
func (c *Control) GetGoal(ctx context.Context, r *messages.GoalOrder) (*messages.LearningGoal, error) {
	id, v, err := c.goalNamed(ctx, r.GoalId, r.Host)
	if err != nil {
		return nil, err
	}
	if c.isElsewhere(ctx, id.Host()) && c.o.Hosts.Reached(id.Host()) {
		g, err := there[*messages.LearningGoal](ctx, c, id.Host(), "GetGoal", &messages.GoalOrder{GoalId: id.Name(), Host: id.Host()})
		if !unanswered(err) {
			return g, err
		}
	}
	return c.learningGoal(v), nil
}

// ChangeGoal changes what a request says of a goal.
func (c *Control) ChangeGoal(ctx context.Context, r *messages.GoalRequest) (*messages.GoalReply, error) {
	id, v, err := c.goalNamed(ctx, r.GoalId, r.Host)
	if err != nil {
		return nil, err
	}
	if c.isElsewhere(ctx, id.Host()) {
		r = proto.CloneOf(r)
		r.GoalId, r.Host = id.Name(), id.Host()
		return there[*messages.GoalReply](ctx, c, id.Host(), "ChangeGoal", r)
	}
	spec := proto.CloneOf(v.Spec)
	if err := c.goalSpec(spec, r); err != nil {
		return nil, err
	}
	if err := c.checkGoal(ctx, id, spec); err != nil {
		return nil, err
	}
	if _, err := c.o.Door.Ask(ctx, id, &messages.ChangeGoal{Spec: spec, By: messages.CallerFrom(ctx).Mark()}); err != nil {
		return nil, err
	}
	return c.goalReply(id, fmt.Sprintf("Goal %s is changed", id.Name())), nil
}

// goalOrder gives a goal's actor a command, at the goal's host.
func (c *Control) goalOrder(ctx context.Context, operation string, r *messages.GoalOrder, command func(by string) proto.Message, done string) (*messages.GoalReply, error) {
	id, _, err := c.goalNamed(ctx, r.GoalId, r.Host)
	if err != nil {
		return nil, err
	}
	if c.isElsewhere(ctx, id.Host()) {
		return there[*messages.GoalReply](ctx, c, id.Host(), operation, &messages.GoalOrder{GoalId: id.Name(), Host: id.Host(), Reason: r.Reason, KeepJobs: r.KeepJobs})
	}
	if _, err := c.o.Door.Ask(ctx, id, command(messages.CallerFrom(ctx).Mark())); err != nil {
		return nil, err
	}
	return c.goalReply(id, fmt.Sprintf("Goal %s %s", id.Name(), done)), nil
}

func whyGoal(r *messages.GoalOrder) string { return r.Reason[:min(len(r.Reason), longestReason)] }

// PauseGoal keeps a goal from making jobs.
func (c *Control) PauseGoal(ctx context.Context, r *messages.GoalOrder) (*messages.GoalReply, error) {
	return c.goalOrder(ctx, "PauseGoal", r, func(by string) proto.Message { return &messages.PauseGoal{Reason: whyGoal(r), By: by} }, "is paused")
}

// ResumeGoal lets a paused goal go on.
func (c *Control) ResumeGoal(ctx context.Context, r *messages.GoalOrder) (*messages.GoalReply, error) {
	return c.goalOrder(ctx, "ResumeGoal", r, func(by string) proto.Message { return &messages.ResumeGoal{By: by} }, "goes on")
}

// CancelGoal ends a goal, with its jobs.
func (c *Control) CancelGoal(ctx context.Context, r *messages.GoalOrder) (*messages.GoalReply, error) {
	return c.goalOrder(ctx, "CancelGoal", r, func(by string) proto.Message {
		return &messages.CancelGoal{Reason: cmp.Or(whyGoal(r), "Goal cancelled by user"), By: by}
	}, "is cancelled")
}

// DeleteGoal forgets a goal, with its running job or without.
func (c *Control) DeleteGoal(ctx context.Context, r *messages.GoalOrder) (*messages.GoalReply, error) {
	return c.goalOrder(ctx, "DeleteGoal", r, func(by string) proto.Message { return &messages.DeleteGoal{KeepJobs: r.KeepJobs, By: by} }, "is deleted")
}
