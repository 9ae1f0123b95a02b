package arbiter

import (
	"testing"

	"modelops/messages"
)

// A job is a holder like a model, and no kin of a model of its name.
func TestJobsAreHolders(t *testing.T) {
	for holder, valid := range map[string]bool{"job/main_pc/tune": true, "job/*/tune": true, "job/main_pc": false, "goal/main_pc/tune": false, "model/main_pc/tune": true} {
		if validHolder(holder) != valid {
			t.Errorf("%s: valid %t", holder, !valid)
		}
	}
	if familyOf("model/main_pc/tune").has("job/main_pc/tune") || same("model/*/tune", "job/main_pc/tune") {
		t.Error("a job is taken for a model of its name")
	}
	now := int64(100_000)
	runs := AllocationOfJob(&messages.JobView{Id: "job/h/tune", Phase: messages.JobView_running, BeganMs: 1, Placement: &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/h/g", Bytes: 8}}}}, now)
	if use := useOf(runs, 0); use != busy || movable(runs, use, false) || !movable(runs, use, true) {
		t.Errorf("a running job is a victim of a claim that isn't overdue, or never one: %v", runs)
	}
}
