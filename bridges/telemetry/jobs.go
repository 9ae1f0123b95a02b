package telemetry

import (
	"cmp"
	"time"

	"modelops/messages"
)

// SetJobs shows the jobs of this host as they are now.
func (m *Metrics) SetJobs(jobs []*messages.JobView) {
	states, statuses := map[string]float64{}, map[string]float64{}
	for phase, name := range messages.JobView_Phase_name {
		if phase != 0 {
			states[name], statuses[messages.JobView_Phase(phase).Status()] = 0, 0
		}
	}
	for _, j := range jobs {
		states[j.Phase.String()]++
		statuses[j.Phase.Status()]++
	}
	for name, n := range states {
		if name != messages.JobView_phase_unknown.String() {
			m.gauge("modelops_jobs").WithLabelValues(name).Set(n)
		}
	}
	for name, n := range statuses {
		m.gauge("modelops_learning_jobs_total").WithLabelValues(name).Set(n)
	}
}

// SetGoals shows the goals of this host as they are now.
func (m *Metrics) SetGoals(goals []*messages.GoalView) {
	type series struct{ status, priority string }
	counted := map[series]float64{}
	for phase := range messages.GoalView_Phase_name {
		for _, priority := range messages.GoalPriorities {
			counted[series{messages.GoalView_Phase(phase).Status(), priority}] = 0
		}
	}
	for _, g := range goals {
		counted[series{g.Phase.Status(), cmp.Or(g.GetSpec().GetPriority(), messages.DefaultGoalPriority)}]++
	}
	for s, n := range counted {
		m.gauge("modelops_goals_total").WithLabelValues(s.status, s.priority).Set(n)
	}
}

// JobEnded takes the time from a job's first start to its end.
func (m *Metrics) JobEnded(kind messages.JobSpec_Kind, d time.Duration) {
	m.histogram("modelops_learning_job_duration_seconds").WithLabelValues(kind.String()).Observe(d.Seconds())
}

// countJob takes how long attempts wait for their memory.
func (m *Metrics) countJob(job messages.ActorID, e any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch e := e.(type) {
	case *messages.JobSubmitted:
		m.waiting[job] = e.At.AsTime()
	case *messages.JobPreempted:
		m.waiting[job] = e.At.AsTime()
	case *messages.JobResumed:
		m.waiting[job] = e.At.AsTime()
	case *messages.JobRetrying:
		m.waiting[job] = e.At.AsTime()
	case *messages.JobReserved:
		if since, ok := m.waiting[job]; ok {
			m.histogram("modelops_job_queue_wait_seconds").WithLabelValues().Observe(max(e.At.AsTime().Sub(since), 0).Seconds())
		}
		delete(m.waiting, job)
	case *messages.JobPaused, *messages.JobCancelled, *messages.JobFailed, *messages.JobDeleted:
		delete(m.waiting, job)
	}
}
