package goal

import (
	"cmp"
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// plan begins the next run, unless the goal has to end.
func (t *tale) plan(c *messages.PlanRun) (entity.Verdict, error) {
	if t.s.Phase != Active || t.s.Run != nil || c.Run != t.s.Count+1 {
		return stale()
	}
	if t.settle(); t.s.Phase != Active {
		return t.verdict()
	}
	t.tell(t.s.planned(t))
	return t.verdict()
}

func (s State) planned(t *tale) *messages.RunPlanned {
	e := &messages.RunPlanned{Run: s.Count + 1, Parameters: s.Spec.Parameters, At: t.now}
	if len(s.Spec.Search) > 0 {
		x := s.nextTrial()
		e.Bracket, e.Trials, e.Rung, e.Trial, e.Parameters = x.bracket, x.trials, x.rung, x.trial, x.parameters
	}
	return e
}

func (t *tale) runJob(c *messages.ReportRunJob) (entity.Verdict, error) {
	r := t.s.Run
	if r == nil || t.s.Over() || c.Run != r.Number || c.Stage != r.Stage || r.Made || !withJob(r.Stage) {
		return stale()
	}
	t.tell(&messages.RunJobMade{Run: c.Run, Stage: c.Stage, Job: jobName(t.s.ID, *r, r.Stage), Version: c.Version, At: t.now})
	return t.verdict()
}

// jobName is made from the goal's name, so that asking twice makes one job. No goal has another one's jobs: what follows the last -rN is the stage.
func jobName(goal messages.ActorID, r Run, stage Stage) string {
	name := fmt.Sprintf("%s-r%d", goal.Name(), r.Number)
	switch stage {
	case Evaluating:
		return name + "-eval"
	case Comparing:
		return name + "-base"
	}
	return name
}

func (t *tale) stageEnded(c *messages.ReportStageEnded) (entity.Verdict, error) {
	r := t.s.Run
	if r == nil || c.Run != r.Number || c.Stage != r.Stage {
		return stale()
	}
	took := amount(c.DeviceMs)
	figures := finite(c.GetOutcome().GetMetrics(), metric(t.s.Spec))
	if t.s.Over() {
		t.runEnded(messages.GoalRun_stopped, "the goal has ended: "+t.s.Phase.String(), took, nil)
		return t.verdict()
	}
	if result, why := t.failed(c); why != nil {
		t.runEnded(result, why.Message, took, why)
		t.afterRun()
		return t.verdict()
	}
	if withJob(c.Stage) && c.JobPhase != messages.JobView_completed && !(c.Stage == Comparing && !r.Made) {
		return entity.Verdict{}, messages.Errorf(messages.InvalidArgument, t.s.ID.String(), "the report says that a job has ended, and that it is %s", c.JobPhase)
	}
	t.advance(c, figures, took)
	return t.verdict()
}

// failed says what a stage that came to nothing makes of its run; no error when it went well.
func (t *tale) failed(c *messages.ReportStageEnded) (messages.GoalRun_Result, *messages.Error) {
	why := c.Error.Err()
	word := map[Stage]string{Training: "its job", Registering: "the registration of its version", Evaluating: "its evaluation", Comparing: "the evaluation of what serves", RollingOut: "its rollout"}[c.Stage]
	said := cmp.Or(c.GetOutcome().GetReason(), "no reason was given")
	if why != nil {
		said = why.Message
	}
	said = clipped(said)
	switch {
	case c.JobPhase == messages.JobView_cancelled:
		return messages.GoalRun_stopped, messages.Errorf(messages.Cancelled, t.s.ID.String(), "%s was cancelled: %s", word, said)
	case c.JobPhase == messages.JobView_failed || why != nil && c.Stage != RollingOut:
		e := messages.Errorf(messages.JobError, t.s.ID.String(), "%s failed: %s", word, said)
		if why != nil {
			e.Hint = why.Hint
		}
		return messages.GoalRun_broke, e
	case why != nil:
		return messages.GoalRun_lost, messages.Errorf(why.Code, t.s.ID.String(), "%s failed: %s", word, said)
	case c.Stage == Registering && c.Version == "":
		return messages.GoalRun_broke, messages.Errorf(messages.JobError, t.s.ID.String(), "%s gave it no name", word)
	}
	return 0, nil
}

// advance ends a stage that went well, and the run after its last.
func (t *tale) advance(c *messages.ReportStageEnded, figures map[string]float64, took int64) {
	e := &messages.RunAdvanced{Run: c.Run, Ended: c.Stage, DeviceMs: took, At: t.now}
	switch c.Stage {
	case Training, Evaluating:
		e.Metrics = figures
	case Registering:
		e.Version = clipped(c.Version)
	case Comparing:
		e.Version, e.Metrics = cmp.Or(clipped(c.Version), t.s.Run.BaseVersion), figures
		if known := t.s.Bases[baseKey(t.s.Run.Spec, e.Version)]; len(figures) == 0 {
			e.Metrics = maps.Clone(known)
		}
	}
	r := *advanced(t.s, e).Run
	r.Stage = c.Stage
	lacks := t.s.lacks(r)
	if e.Next = t.s.next(r); lacks != "" {
		e.Next = Ended
	}
	t.tell(e)
	switch why := t.s.spent(0); {
	case lacks != "":
		t.runEnded(messages.GoalRun_broke, lacks, 0, messages.NewError(messages.JobError, t.s.ID.String(), lacks))
	case e.Next == Ended:
		result, reason := t.s.result(r)
		t.runEnded(result, reason, 0, nil)
	case why != nil && withJob(e.Next):
		t.fail(why)
		t.runEnded(messages.GoalRun_stopped, why.Message, 0, nil)
		return
	default:
		return
	}
	t.afterRun()
}

// runEnded ends the open run; took is the device time of its last stage.
func (t *tale) runEnded(result messages.GoalRun_Result, reason string, took int64, why *messages.Error) {
	r := t.s.Run
	t.tell(&messages.RunEnded{Run: r.Number, Result: result, Reason: clipped(reason), Metrics: r.Metrics, DeviceMs: r.DeviceMS + took, Error: why.Body(), At: t.now})
	if t.s.Over() {
		return
	}
	if e := t.s.rungDone(); e != nil {
		e.At = t.now
		t.tell(e)
	}
}

// settle ends the goal when it is to end: between two runs, or when a change has left less than it has used.
func (t *tale) settle() {
	if t.s.Run == nil {
		if e := t.s.finish(t); e != nil {
			t.end(e)
		}
	} else if why := t.s.spent(0); why != nil {
		t.fail(why)
	}
}

// afterRun ends the goal, or the turn of one whose next run has its time.
func (t *tale) afterRun() {
	t.settle()
	if due := t.due(t.s.Spec); due != nil && (t.s.Phase == Active || t.s.Phase == Pending) {
		t.tell(&messages.GoalYielded{At: t.now, Due: due})
	}
}

// finish is the event that ends the goal now; nil when there is none.
func (s State) finish(t *tale) proto.Message {
	fail := func(why *messages.Error) proto.Message {
		why.Subject = s.ID.String()
		return &messages.GoalFailed{Error: why.Body(), At: t.now}
	}
	last := ""
	if len(s.Runs) > 0 {
		last = s.Runs[len(s.Runs)-1].Reason
	}
	switch {
	case s.BestRun > 0 && reaches(s.Spec, s.Best):
		return &messages.GoalMet{Run: s.BestRun, Value: s.Best, At: t.now}
	case s.Broke >= mostBroke:
		return fail(messages.Errorf(messages.JobError, "", "%d runs in a row came to nothing; the last one: %s", s.Broke, last))
	case s.made() && !s.Fine:
		return fail(messages.Errorf(messages.JobError, "", "no run ended well; the last one: %s", last))
	case s.made():
		return &messages.GoalMet{Run: s.BestRun, Value: s.Best, At: t.now}
	case s.late(t.at.Now):
		return fail(s.tooLate())
	}
	if why := s.spent(0); why != nil {
		return fail(why)
	}
	return nil
}

// mostBroke is how many runs in a row may break before the goal fails.
const mostBroke = 3

// made tells whether a goal without a target has made its runs. One with a schedule and no bound goes on until somebody ends it.
func (s State) made() bool {
	bound := s.Spec.GetBudgetRuns()
	switch {
	case s.Spec.GetMetric() != "":
		return false
	case len(s.Spec.GetSearch()) > 0 && s.Spec.GetSchedule() == "":
		return s.Search.Through || bound > 0 && s.Count >= bound
	case s.Spec.GetSchedule() != "":
		return bound > 0 && s.Count >= bound
	}
	return s.Count >= max(bound, 1)
}
