//go:build e2e

package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"modelops/messages"
)

// TestJobsOfAnotherHost: a job is submitted to another host, and listed, shown, read and ordered from any, while it runs and once it has ended.
func TestJobsOfAnotherHost(t *testing.T) {
	main, pc2 := pair(t, func(string) string { return learns })
	main.until(startLimit, "pc2's model is known", func() bool { return main.phaseAt("tiny", "pc2") != "" })
	main.submit("far", 100_000, "--host", "pc2")
	main.submit("near", 3)
	listed := func(id string) (j *messages.LearningJob) {
		l := &messages.JobList{}
		if a := main.get("/learning/jobs"); a.status != http.StatusOK || protojson.Unmarshal(a.body, l) != nil {
			t.Fatal(a)
		}
		for _, j = range l.Jobs {
			if j.JobId == id {
				return j
			}
		}
		return &messages.LearningJob{}
	}
	main.until(waitLimit, "the list tells how far pc2's job is", func() bool {
		j := listed("far")
		return j.Host == "pc2" && j.Phase == "running" && j.Step > 5 && j.Progress > 0
	})
	main.awaitJob("near", "is completed", inPhase("completed"))
	if o := main.cli("jobs", "--host", "pc2"); o.code != 0 || !strings.Contains(o.out, "far") || strings.Contains(o.out, "near") {
		t.Errorf("%d: %s", o.code, o)
	}
	for _, args := range [][]string{{"show", "far"}, {"metrics", "far"}, {"logs", "far", "-n", "1"}, {"checkpoint", "far"}} {
		if o := main.cli(append([]string{"jobs"}, args...)...); o.code != 0 || o.out == "" {
			t.Errorf("%v ends with %d: %s", args, o.code, o)
		}
	}
	again := object{"recipe": "lora", "model_name": "tiny", "dataset_path": opsRows(), "job_id": "far", "parameters": object{"steps": "100000", "checkpoint_every": "10"}}
	if a := main.post("/learning/jobs", again); a.status != http.StatusOK || !strings.Contains(string(a.body), `"host":"pc2"`) {
		t.Errorf("the same job, submitted elsewhere: %s", a)
	}
	again["parameters"] = object{"steps": 7}
	if a := main.post("/learning/jobs", again); a.code() != "CONFLICT" {
		t.Errorf("another job under the same id: %s", a)
	}
	if o := main.cli("jobs", "cancel", "far"); o.code != 0 {
		t.Error(o)
	}
	pc2.awaitJob("far", "is cancelled", inPhase("cancelled"))
	main.until(soonLimit, "main_pc sees the end", func() bool { return listed("far").Phase == "cancelled" })
	if a := main.get("/learning/jobs/far?host=main_pc"); a.status != http.StatusNotFound {
		t.Errorf("main_pc has no such job: %s", fmt.Sprint(a))
	}
}
