package messages

import (
	"cmp"
	"regexp"
	"time"
)

// JobID is what a job may be called: its folder has the same name. GoodJobID says it in words.
var JobID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$`)

// GoodJobID says what JobID takes.
const GoodJobID = "an id of 1 to 128 letters, digits and . _ : @ -, which begins with a letter or a digit"

// JobActor is one training or evaluation run.
func JobActor(host, id string) ActorID { return ActorID{KindJob, host + "/" + id} }

// Status is a phase in the words of the old contract: pending, running, completed, failed or cancelled.
func (p JobView_Phase) Status() string {
	switch p {
	case JobView_reserved, JobView_preempted, JobView_paused, JobView_phase_unknown:
		return JobView_pending.String()
	case JobView_checkpointing:
		return JobView_running.String()
	}
	return p.String()
}

// BatchRank is the priority of jobs that say none: below that of models, which is 0, because requests wait for these.
const BatchRank = -10

// Rank is a job's priority among holders of memory. A job without a class, or of class batch, goes after models.
func (x *JobSpec) Rank() int32 {
	if x.GetPriority() == 0 && (x.GetClass() == "" || x.GetClass() == "batch") {
		return BatchRank
	}
	return x.GetPriority()
}

// Grace is the time for a checkpoint and the end after it.
func (x *JobSpec) Grace() time.Duration {
	return time.Duration(cmp.Or(x.GetRecipe().GetGraceSeconds(), 30)) * time.Second
}

// RunsOn is on how many devices a job runs at once.
func (x *JobSpec) RunsOn() uint32 { return cmp.Or(x.GetDevices(), x.GetRecipe().GetDevices(), 1) }

// WantsBytes is what a job needs of each device as far as it or its recipe says so; 0 = they don't.
func (x *JobSpec) WantsBytes() uint64 { return cmp.Or(x.GetVramBytes(), x.GetRecipe().GetVramBytes()) }
