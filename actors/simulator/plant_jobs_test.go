package simulator

import (
	"context"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/arbiter"
	"modelops/actors/entity"
	"modelops/actors/job"
	"modelops/messages"
)

// jobDeciding answers some commands wrongly.
func jobDeciding(lie func(s job.State, c proto.Message, at entity.Stamp) (entity.Verdict, bool)) func(entity.Kind[job.State]) entity.Kind[job.State] {
	return func(k entity.Kind[job.State]) entity.Kind[job.State] {
		right := k.Decide
		k.Decide = func(s job.State, c proto.Message, at entity.Stamp) (entity.Verdict, error) {
			if v, lies := lie(s, c, at); lies {
				return v, nil
			}
			return right(s, c, at)
		}
		return k
	}
}

// jobOwing leaves out work.
func jobOwing(forgets func(s job.State, key string) bool) func(entity.Kind[job.State]) entity.Kind[job.State] {
	return func(k entity.Kind[job.State]) entity.Kind[job.State] {
		right := k.Owed
		k.Owed = func(s job.State) []entity.Effect {
			return slices.DeleteFunc(right(s), func(e entity.Effect) bool { return forgets(s, e.Key()) })
		}
		return k
	}
}

// endsTwice completes a job that has ended when a report comes once more.
func endsTwice(s job.State, c proto.Message, at entity.Stamp) (entity.Verdict, bool) {
	r, ok := c.(*messages.ReportJobEnded)
	if !ok || !over(s.Phase) || s.Deleted {
		return entity.Verdict{}, false
	}
	return entity.Facts(&messages.JobCompleted{Attempt: r.Attempt, Outcome: r.Outcome, At: timestamppb.New(at.Now)}), true
}

// losesCancel acknowledges the cancel of a job that waits, and forgets about it.
func losesCancel(s job.State, c proto.Message, _ entity.Stamp) (entity.Verdict, bool) {
	if _, ok := c.(*messages.CancelJob); !ok || s.Phase != job.Pending {
		return entity.Verdict{}, false
	}
	return entity.Verdict{Answer: func(uint64) proto.Message { return &messages.Done{} }}, true
}

// jobsSeeing changes the allocations that the arbiter reads for a job's claim.
func jobsSeeing(lie func(*messages.Allocation)) func(entity.Kind[arbiter.State]) entity.Kind[arbiter.State] {
	return func(k entity.Kind[arbiter.State]) entity.Kind[arbiter.State] {
		right := k.Observe
		k.Observe = func(ctx context.Context, c proto.Message) proto.Message {
			seen := right(ctx, c)
			if r, ok := c.(*messages.RequestPlacement); ok && isJob(r.Holder) {
				for _, a := range seen.(*messages.SchedulerReadings).Allocations {
					lie(a)
				}
			}
			return seen
		}
		return k
	}
}

func TestPlantedBugsOfJobsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		plants Plants
		says   string
	}{
		"a job ends twice":           {Plants{Job: jobDeciding(endsTwice)}, "ends twice"},
		"a cancel is lost":           {Plants{Job: jobDeciding(losesCancel)}, "although it was cancelled"},
		"the arbiter sees no goals":  {Plants{Arbiter: arbiterSeeing(func(r *messages.Allocation) { r.Goal = "" })}, "quota overrun"},
		"the arbiter sees no quotas": {Plants{Arbiter: arbiterSeeing(func(r *messages.Allocation) { r.Devices = 0 })}, "quota overrun"},
		"a preempted job asks for nothing": {Plants{Job: jobOwing(func(s job.State, key string) bool {
			return s.Phase == job.Preempted && strings.HasPrefix(key, "place/")
		})}, "not at rest"},
		"a job gives nothing back": {Plants{Job: jobOwing(func(_ job.State, key string) bool { return strings.HasPrefix(key, "return/") })}, "not at rest"},
		"a job gives its memory back before its process is gone": {Plants{Job: jobDeciding(func(s job.State, c proto.Message, at entity.Stamp) (entity.Verdict, bool) {
			if _, ok := c.(*messages.CancelJob); !ok || s.Phase != job.Running {
				return entity.Verdict{}, false
			}
			return entity.Facts(&messages.JobCancelled{At: timestamppb.New(at.Now)}), true
		})}, "alive without its lease"},
		"the arbiter doesn't see who is never asked to leave": {Plants{Arbiter: arbiterSeeing(func(r *messages.Allocation) { r.Pinned = r.Pinned && !r.Job })}, "although it is never asked to|and is never asked to leave"},
		"the arbiter takes all jobs for urgent ones": {Plants{Arbiter: arbiterSeeing(func(r *messages.Allocation) {
			if r.Job && r.State == messages.Allocation_settled {
				r.Priority = -100
			}
		})}, "has to leave for"},
		"the arbiter counts no jobs that run": {Plants{Arbiter: arbiterSeeing(func(r *messages.Allocation) { r.Job = r.Job && r.State != messages.Allocation_settled })}, "at most 2 may|quota overrun"},
		"the arbiter sees no windows":         {Plants{Arbiter: arbiterSeeing(func(r *messages.Allocation) { r.NotNow = "" })}, "after its window closed"},
		"a job that runs beside none isn't":   {Plants{Arbiter: arbiterSeeing(func(r *messages.Allocation) { r.IdleOnly = false })}, "runs only while nothing else does"},
		"a job sees idle models only":         {Plants{Arbiter: jobsSeeing(func(r *messages.Allocation) { r.IdleMs += 60_000 })}, "although it was in use"},
	} {
		t.Run(name, func(t *testing.T) {
			v := find(t, studious, c.plants)
			if v == nil {
				t.Fatalf("not found in %d steps", findWithin)
			}
			if !slices.ContainsFunc(strings.Split(c.says, "|"), func(says string) bool { return strings.Contains(v.What, says) }) {
				t.Errorf("found something else: %v", v)
			}
			t.Logf("seed %d, step %d: %s", v.Seed, v.Step, v.What)
		})
	}
}
