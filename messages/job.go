package messages

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
