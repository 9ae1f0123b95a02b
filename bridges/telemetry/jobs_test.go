package telemetry

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/messages"
)

// TestJobs: states are told in both words, the states of no job as 0, and each wait of a job once.
func TestJobs(t *testing.T) {
	m := everything()
	at := func(s int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(s, 0)) }
	for _, e := range []proto.Message{&messages.JobSubmitted{At: at(0)}, &messages.JobReserved{At: at(20)}, &messages.JobPreempted{At: at(30)}, &messages.JobReserved{At: at(34)},
		&messages.JobReserved{At: at(40)}} { // the last wait wasn't seen to begin
		m.Count(messages.Recorded{Actor: messages.JobActor("main_pc", "j"), Events: []proto.Message{e}})
	}
	page := scrape(t, m)
	for _, line := range []string{
		`modelops_jobs{state="running"} 1`, `modelops_jobs{state="paused"} 1`, `modelops_jobs{state="failed"} 0`,
		`modelops_learning_jobs_total{status="running"} 2`, `modelops_learning_jobs_total{status="pending"} 1`, `modelops_learning_jobs_total{status="cancelled"} 0`,
		`modelops_learning_job_duration_seconds_sum{job_type="fine_tune"} 60`,
		`modelops_job_queue_wait_seconds_sum 24`, `modelops_job_queue_wait_seconds_count 2`,
	} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("%s is missing", line)
		}
	}
	if strings.Contains(page, "phase_unknown") {
		t.Error("a state that no job has is told")
	}
}
