package messages

import "regexp"

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
