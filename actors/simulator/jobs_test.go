package simulator

import (
	"testing"

	"modelops/actors/arbiter"
	"modelops/messages"
)

// studious is the small world with jobs beside the models, under quotas.
func studious(seed uint64) Options {
	o := small(seed)
	o.Rate, o.Defrag = 0.5, ""
	o.Jobs = Traffic{Rate: 0.2, Most: 12, Fixed: 0.1}
	o.Learning = arbiter.Learning{MaxJobs: 2, Goals: map[string]arbiter.Quota{"a": {Devices: 1}, "b": {Devices: 1}}}
	return o
}

func TestRoughWorldsWithJobsStaySafeAndComeToRest(t *testing.T) {
	ended, taken := map[string]int{}, 0
	for seed := uint64(1); taken < stepsWanted(t); seed++ {
		w := New(studious(seed))
		if err := w.Run(t.Context(), perWorld); err != nil {
			t.Fatal(err)
		}
		if err := w.Calm(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, m := range w.jobs {
			ended[m.state.Phase.String()]++
			ended["preemptions"] += int(m.state.Preemptions)
		}
		taken += w.steps
	}
	t.Logf("%d steps, %v", taken, ended)
	if ended[messages.JobView_completed.String()] == 0 || ended[messages.JobView_cancelled.String()] == 0 || ended["preemptions"] == 0 {
		t.Errorf("the worlds show too little: %v", ended)
	}
}
