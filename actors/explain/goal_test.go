package explain

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/messages"
)

const better = "goal/main_pc/better"

func goalTale(events ...proto.Message) *tale {
	spec := &messages.GoalSpec{Title: "better answers", Recipe: "lora", Metric: "eval_loss", Comparison: messages.GoalSpec_at_most, Value: 1.5, BudgetSeconds: 600, BudgetRuns: 5, Evaluation: "held_out"}
	return twoLoaded().tell(better, &messages.GoalCreated{Spec: spec, By: "alice"}).then(better, events...)
}

// ranGoal has made a run that didn't reach the target.
func ranGoal(events ...proto.Message) *tale {
	return goalTale(&messages.GoalStarted{}, &messages.RunPlanned{Run: 1, Parameters: map[string]string{"rate": "0.1"}},
		&messages.RunJobMade{Run: 1, Stage: messages.GoalRun_training, Job: "better-r1"},
		&messages.RunAdvanced{Run: 1, Ended: messages.GoalRun_training, Next: messages.GoalRun_evaluating, DeviceMs: 60_000},
		&messages.RunAdvanced{Run: 1, Ended: messages.GoalRun_evaluating, Next: messages.GoalRun_ended, DeviceMs: 5000, Metrics: map[string]float64{"eval_loss": 2.25}},
		&messages.RunEnded{Run: 1, Result: messages.GoalRun_lost, Reason: "it isn't better", Metrics: map[string]float64{"eval_loss": 2.25}, DeviceMs: 65_000}).then(better, events...)
}

func TestWhyAGoal(t *testing.T) {
	no := &messages.ErrorBody{Code: "FAILED_PRECONDITION", Message: "its budget is spent"}
	for name, c := range map[string]struct {
		tale *tale
		want []string
	}{
		"it waits for its turn": {goalTale(), []string{"goal goal/main_pc/better\nbetter (better answers) is pending and waits for its turn", "It made 0 of 5 runs with 0 s of 600 s of device time; no run has a figure, and the target is eval_loss at most 1.5",
			"created: recipe lora, eval_loss at most 1.5, at most 600 s of device time, at most 5 runs", "a higher priority or weight"}},
		"for its schedule": {goalTale(&messages.GoalYielded{Due: timestamppb.New(start.Add(time.Hour))}), []string{"waits for its schedule, due at", "it waits for its schedule, due at", "its schedule to be due"}},
		"between its runs": {ranGoal(), []string{"is active and waits for its next run to begin", "It made 1 of 5 runs with 65 s of 600 s of device time; its best eval_loss is 2.25 (run 1), and the target is at most 1.5",
			"Run 1: lost, it isn't better", "runs with a figure so far: 1", "run 1 begins with rate=0.1", "run 1, evaluating is done: eval_loss 2.25, with 5s of device time", "run 1 lost: it isn't better; it took 1m5s of device time"}},
		"for its job": {ranGoal(&messages.RunPlanned{Run: 2, Bracket: 1, Trials: 3}, &messages.RunJobMade{Run: 2, Stage: messages.GoalRun_training, Job: "better-r2"}),
			[]string{"waits for the job of run 2, which is training: job/main_pc/better-r2", "modelops why job/main_pc/better-r2", "run 2 begins (search 1, rung 0, trial 0 of 3)", "Run 2: training"}},
		"to be resumed":       {ranGoal(&messages.GoalPaused{Reason: "the weekend"}), []string{"is paused (the weekend) and waits for somebody to resume it", "paused: the weekend"}},
		"nothing: it failed":  {ranGoal(&messages.GoalFailed{Error: no}), []string{"is failed: its budget is spent", "failed: FAILED_PRECONDITION: its budget is spent", "isn't opened again"}},
		"nothing: it is over": {ranGoal(&messages.GoalCancelled{Reason: "not needed"}, &messages.GoalDeleted{}), []string{"is cancelled: not needed", "cancelled: not needed", "deleted"}},
		"it was met":          {ranGoal(&messages.GoalMet{Run: 1, Value: 1}), []string{"is completed. It made", "completed by run 1"}},
		"it gives way":        {ranGoal(&messages.GoalYielded{To: "goal/main_pc/other"}, &messages.GoalResumed{}, &messages.RungEnded{Bracket: 1, Kept: []uint32{1}, Halved: []uint32{0, 2}}), []string{"it gives its turn to other after its run", "resumed", "rung 0 of search 1 is over: trials [1] go on, [0 2] don't"}},
		"it was changed":      {ranGoal(&messages.GoalChanged{Spec: &messages.GoalSpec{Recipe: "full", Deadline: timestamppb.New(start.Add(time.Hour))}}), []string{"changed: recipe full, until 2"}},
	} {
		got := plain(whyID(better, c.tale.records, c.tale.present()))
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in\n%s", name, want, got)
			}
		}
	}
	if _, err := whyID("goal/main_pc/other", goalTale().records, goalTale().present()); messages.CodeOf(err) != messages.NotFound {
		t.Errorf("another goal: %v", err)
	}
}

func TestAGoalIsASubject(t *testing.T) {
	q, err := Subject(better, nil, nil)
	if err != nil || q.ID != better || q.Home() != "main_pc" || q.Model != (messages.ActorID{}) {
		t.Errorf("%+v, %v", q, err)
	}
	if home := (Question{Model: messages.ModelActor("pc2", "a")}).Home(); home != "pc2" {
		t.Error(home)
	}
}
