package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"modelops/actors/goal"
	"modelops/messages"
)

// ListGoals lists goals as the old coordinator did: by the text of their priority, then by age.
func (c *Control) ListGoals(ctx context.Context, r *messages.GoalsRequest) (*messages.GoalList, error) {
	if _, phase := messages.GoalView_Phase_value[r.Status]; r.Status != "" && r.Status != "running" && (!phase || r.Status == messages.GoalView_phase_unknown.String()) {
		return nil, invalid("status", fmt.Sprintf("%.100q is none", r.Status), "pending, running, completed, failed or cancelled, or a phase: active, paused")
	}
	model := r.Model
	if model != "" {
		model = c.canonical(model)
	}
	found := slices.DeleteFunc(c.o.View.Goals(), func(v *messages.GoalView) bool {
		return v.Deleted || r.Status != "" && r.Status != v.Phase.String() && r.Status != v.Phase.Status() || r.Host != "" && v.Host != r.Host ||
			model != "" && v.Spec.Model != model || messages.PeerFrom(ctx) != "" && v.Host != c.o.Host
	})
	slices.SortFunc(found, func(a, b *messages.GoalView) int {
		return cmp.Or(cmp.Compare(priority(a), priority(b)), cmp.Compare(a.CreatedMs, b.CreatedMs), strings.Compare(a.Id, b.Id))
	})
	out := &messages.GoalList{}
	for _, v := range found {
		g := c.learningGoal(v)
		g.Goal.Runs = nil
		out.Goals = append(out.Goals, g)
	}
	out.Hosts, _ = c.others(ctx)
	return out, nil
}

func priority(v *messages.GoalView) string {
	return cmp.Or(v.Spec.GetPriority(), messages.DefaultGoalPriority)
}

// learningGoal is a goal as doors show it.
func (c *Control) learningGoal(v *messages.GoalView) *messages.LearningGoal {
	v = proto.CloneOf(v) // others read it too
	v.Forecast = goal.Forecast(v, c.o.Now())
	g := &messages.LearningGoal{GoalId: v.Name, Title: v.Spec.Title, Description: v.Spec.Description, Priority: priority(v), Status: v.Phase.Status(), Progress: goal.Progress(v),
		CreatedAt: isoTime(v.CreatedMs), Metadata: structOf(v.Spec.Labels), Phase: v.Phase.String(), Host: v.Host, Goal: v}
	if v.StartedMs > 0 {
		g.StartedAt = wrapperspb.String(isoTime(v.StartedMs))
	}
	if v.EndedMs > 0 {
		g.CompletedAt = wrapperspb.String(isoTime(v.EndedMs))
	}
	switch {
	case v.Phase == messages.GoalView_cancelled:
		g.ErrorMessage = wrapperspb.String(cmp.Or(v.Reason, "Goal cancelled by user"))
	case v.Error != nil:
		g.ErrorMessage = wrapperspb.String(v.Error.Message)
	}
	return g
}
