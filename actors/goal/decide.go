package goal

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// tale is a decision in the making: each event is told to the state at once, so that what follows is decided from what the state then knows.
type tale struct {
	s      State
	at     entity.Stamp
	now    *timestamppb.Timestamp
	events []proto.Message
}

func (t *tale) tell(e proto.Message) {
	t.events = append(t.events, e)
	t.s = Evolve(t.s, e, 0)
}

func (t *tale) verdict() (entity.Verdict, error) { return entity.Facts(t.events...), nil }

// due is when a schedule is due next; nil without one.
func (t *tale) due(spec *messages.GoalSpec) *timestamppb.Timestamp {
	if spec.GetSchedule() == "" {
		return nil
	}
	s, err := messages.ParseSchedule(spec.Schedule)
	if err != nil {
		return nil
	}
	if at, ok := s.Next(t.at.Now); ok {
		return timestamppb.New(at)
	}
	return nil
}

func stale() (entity.Verdict, error) { return entity.Verdict{}, nil }

// Decide turns a command into facts.
func Decide(s State, command proto.Message, at entity.Stamp) (entity.Verdict, error) {
	t := &tale{s: s, at: at, now: timestamppb.New(at.Now)}
	if c, ok := command.(*messages.CreateGoal); ok {
		return t.create(c)
	}
	if s.Spec == nil {
		if _, err := messages.CommandNamed(messages.KindGoal, string(command.ProtoReflect().Descriptor().Name())); err != nil {
			return entity.Verdict{}, entity.Unknown(s.ID, command)
		}
		return entity.Verdict{}, messages.NewError(messages.NotFound, s.ID.String(), "there is no such goal")
	}
	switch c := command.(type) {
	case *messages.ChangeGoal:
		return t.change(c)
	case *messages.PauseGoal:
		return t.pause(c)
	case *messages.ResumeGoal:
		return t.resume(c)
	case *messages.CancelGoal:
		return t.cancel(c)
	case *messages.DeleteGoal:
		return t.delete(c)
	case *messages.StartGoal:
		return t.start()
	case *messages.YieldGoal:
		return t.yield(c)
	case *messages.PlanRun:
		return t.plan(c)
	case *messages.ReportRunJob:
		return t.runJob(c)
	case *messages.ReportStageEnded:
		return t.stageEnded(c)
	case *messages.ReportBudgetSpent:
		return t.budgetSpent(c)
	case *messages.ReportDeadline:
		return t.deadline()
	}
	return entity.Verdict{}, entity.Unknown(s.ID, command)
}

func (t *tale) create(c *messages.CreateGoal) (entity.Verdict, error) {
	switch {
	case t.s.Deleted:
		return entity.Verdict{}, messages.NewError(messages.Conflict, t.s.ID.String(), "a goal of this name was deleted, and its jobs have names made from it").WithHint("choose another name")
	case t.s.Spec != nil && proto.Equal(t.s.Spec, c.Spec):
		return stale()
	case t.s.Spec != nil:
		return entity.Verdict{}, messages.NewError(messages.Conflict, t.s.ID.String(), "it exists already, with another specification").WithHint("change it instead, or choose another name")
	}
	name := t.s.ID.Name()
	if why := messages.BadName(name); why != "" || strings.Contains(name, "/") || len(name) > longestName {
		return entity.Verdict{}, messages.Errorf(messages.InvalidArgument, "name", "%q can't be a goal's name", name).
			WithHint(fmt.Sprintf("a goal has a name of 1 to %d printable characters without spaces and slashes", longestName))
	}
	if err := check(c.Spec, t.at.Now); err != nil {
		return entity.Verdict{}, err
	}
	t.tell(&messages.GoalCreated{Spec: c.Spec, By: c.By, At: t.now, Due: t.due(c.Spec)})
	return t.verdict()
}

func (t *tale) change(c *messages.ChangeGoal) (entity.Verdict, error) {
	switch {
	case proto.Equal(t.s.Spec, c.Spec):
		return stale()
	case t.s.Over():
		return entity.Verdict{}, t.ended("changed")
	}
	if err := check(c.Spec, t.at.Now); err != nil {
		return entity.Verdict{}, err
	}
	t.tell(&messages.GoalChanged{Spec: c.Spec, By: c.By, At: t.now, Due: t.due(c.Spec)})
	t.settle()
	if due := t.due(c.Spec); due != nil && t.s.Phase == Active && t.s.Run == nil {
		t.tell(&messages.GoalYielded{At: t.now, Due: due})
	}
	return t.verdict()
}

// ended refuses what a goal that has ended can't do.
func (t *tale) ended(what string) error {
	return messages.Errorf(messages.FailedPrecondition, t.s.ID.String(), "it is %s, and a goal that has ended isn't %s", t.s.Phase, what).WithHint("create another goal")
}

func (t *tale) pause(c *messages.PauseGoal) (entity.Verdict, error) {
	switch {
	case t.s.Over():
		return entity.Verdict{}, t.ended("paused")
	case t.s.Phase == Paused:
		return stale()
	}
	t.tell(&messages.GoalPaused{Reason: clipped(c.Reason), By: c.By, At: t.now})
	return t.verdict()
}

func (t *tale) resume(c *messages.ResumeGoal) (entity.Verdict, error) {
	switch {
	case t.s.Over():
		return entity.Verdict{}, t.ended("resumed")
	case t.s.Phase != Paused:
		return stale()
	}
	r := &messages.GoalResumed{By: c.By, At: t.now}
	if t.s.Run == nil { // an open run goes on as soon as it has its turn
		r.Due = t.due(t.s.Spec)
	}
	t.tell(r)
	return t.verdict()
}

func (t *tale) cancel(c *messages.CancelGoal) (entity.Verdict, error) {
	if t.s.Over() {
		return stale()
	}
	t.end(&messages.GoalCancelled{Reason: clipped(c.Reason), By: c.By, At: t.now})
	return t.verdict()
}

func (t *tale) delete(c *messages.DeleteGoal) (entity.Verdict, error) {
	if t.s.Deleted {
		return stale()
	}
	if !t.s.Over() {
		t.tell(&messages.GoalCancelled{Reason: "it was deleted", By: c.By, At: t.now})
		switch {
		case c.KeepJobs && t.s.Run != nil:
			t.runEnded(messages.GoalRun_stopped, "the goal was deleted, and its jobs were to be kept", 0, nil)
		default:
			t.stopWithoutJob()
		}
	}
	t.tell(&messages.GoalDeleted{KeepJobs: c.KeepJobs, By: c.By, At: t.now})
	return t.verdict()
}

func (t *tale) start() (entity.Verdict, error) {
	if t.s.Phase != Pending || t.s.DueMS > t.at.Now.UnixMilli() {
		return stale()
	}
	t.tell(&messages.GoalStarted{At: t.now})
	return t.verdict()
}

func (t *tale) yield(c *messages.YieldGoal) (entity.Verdict, error) {
	if t.s.Phase != Active || t.s.Yielding {
		return stale()
	}
	t.tell(&messages.GoalYielded{To: cmp.Or(clipped(c.To), "another goal"), At: t.now})
	return t.verdict()
}

func (t *tale) deadline() (entity.Verdict, error) {
	if t.s.Over() || !t.s.late(t.at.Now) {
		return stale()
	}
	t.fail(t.s.tooLate())
	return t.verdict()
}

func (t *tale) budgetSpent(c *messages.ReportBudgetSpent) (entity.Verdict, error) {
	r := t.s.Run
	if r == nil || t.s.Over() || c.Run != r.Number || c.Stage != r.Stage || !r.Made {
		return stale()
	}
	if why := t.s.spent(amount(c.DeviceMs)); why != nil {
		t.fail(why)
	}
	return t.verdict()
}

// end tells a terminal event. A job that runs is stopped afterwards; other stages of a run end here.
func (t *tale) end(e proto.Message) {
	t.tell(e)
	t.stopWithoutJob()
}

func (t *tale) stopWithoutJob() {
	if r := t.s.Run; r != nil && !withJob(r.Stage) {
		t.runEnded(messages.GoalRun_stopped, "the goal has ended: "+t.s.Phase.String(), 0, nil)
	}
}

func (t *tale) fail(why *messages.Error) {
	why.Subject = t.s.ID.String()
	t.end(&messages.GoalFailed{Error: why.Body(), At: t.now})
}

// late tells whether the goal's time is over.
func (s State) late(now time.Time) bool {
	return s.Spec.GetDeadline() != nil && !now.Before(s.Spec.Deadline.AsTime())
}

// longestText bounds the reasons that are journaled.
const longestText = 2000

func clipped(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), longestText)], "")
}

// mostDeviceMS bounds a time that is reported: a sum of a thousand of them is still a number.
const mostDeviceMS = int64(1) << 50

func amount(ms int64) int64 { return min(max(ms, 0), mostDeviceMS) }
