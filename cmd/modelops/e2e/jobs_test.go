//go:build e2e

package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"modelops/messages"
)

// opsRows and opsHeldOut are the data that comes with the source.
func opsRows() string    { return filepath.Join(root, "testdata", "train", "ops-train.jsonl") }
func opsHeldOut() string { return filepath.Join(root, "testdata", "train", "ops-eval.jsonl") }

const learns = "models: {declare: {tiny: {path: TINY}}}\n"

// submit makes a job of the trainer in the box.
func (d *daemon) submit(id string, steps int, more ...string) {
	d.t.Helper()
	args := append([]string{"jobs", "submit", "--id", id, "--recipe", "lora", "--model", "tiny", "--data", opsRows(), "--param", fmt.Sprintf("steps=%d", steps),
		"--param", "checkpoint_every=10"}, more...)
	if o := d.cli(args...); o.code != 0 || !strings.Contains(o.out, "Learning job "+id+" submitted successfully") {
		d.t.Fatalf("submit ends with %d: %s", o.code, o)
	}
}

// job is a job as the old route shows it.
func (d *daemon) job(id string) *messages.LearningJob {
	d.t.Helper()
	a := d.get("/learning/jobs/" + id)
	j := &messages.LearningJob{}
	if a.status != http.StatusOK || protojson.Unmarshal(a.body, j) != nil {
		d.t.Fatalf("job %s: %s", id, a)
	}
	return j
}

// awaitJob waits for a state of a job; another end than it fails the test at once.
func (d *daemon) awaitJob(id, what string, is func(*messages.LearningJob) bool) (j *messages.LearningJob) {
	d.t.Helper()
	d.unless(func() string {
		if j.EndedMs > 0 {
			return fmt.Sprintf("it has ended: %v", j)
		}
		return ""
	}, "job "+id+" "+what, func() bool { j = d.job(id); return is(j) })
	return j
}

func atStep(n uint64) func(*messages.LearningJob) bool {
	return func(j *messages.LearningJob) bool { return j.Phase == "running" && j.Step >= n }
}

func inPhase(phase string) func(*messages.LearningJob) bool {
	return func(j *messages.LearningJob) bool { return j.Phase == phase }
}

// runnerOf is the process that runs a job's attempt.
func (d *daemon) runnerOf(id string) *messages.Runner {
	d.t.Helper()
	s, err := view(d.nats(), messages.JobActor("main_pc", id))
	v := &messages.JobView{}
	if err != nil || protojson.Unmarshal([]byte(s.ViewJson), v) != nil || v.Runner == nil {
		d.t.Fatalf("no runner of %s is known: %v, %v", id, s, err)
	}
	return v.Runner
}

// told is how often a job's journal tells of an event.
func (d *daemon) told(id, event string) int {
	d.t.Helper()
	a := d.get("/api/journal?limit=1000&actor=job/main_pc/" + id)
	if a.status != http.StatusOK {
		d.t.Fatal(a)
	}
	return strings.Count(string(a.body), `"`+event+`"`)
}

// TestAJobIsSubmittedAndEnds: the trainer in the box, on the small model, at every door; and what was asked for wrongly makes none.
func TestAJobIsSubmittedAndEnds(t *testing.T) {
	t.Parallel()
	d := start(t, learns)
	o := d.cli("jobs", "submit", "--recipe", "lora", "--model", "tiny", "--data", opsRows(), "--eval", opsHeldOut(), "--param", "steps=12", "--id", "first", "--wait", "--json")
	j := &messages.LearningJob{}
	if err := protojson.Unmarshal([]byte(o.out), j); err != nil || o.code != 0 || j.Status != "completed" || j.Step != 12 || j.Metrics["eval_loss"] == 0 || j.Progress != 1 {
		t.Fatalf("%d: %v, %s", o.code, err, o)
	}
	if _, err := os.Stat(j.ResultPath.GetValue()); err != nil || !strings.HasPrefix(j.ResultPath.GetValue(), d.state()) {
		t.Error(err)
	}
	if o := d.cli("jobs", "metrics", "first"); o.code != 0 || !regexp.MustCompile(`(?m)^loss +[▁-█]+ `).MatchString(o.out) {
		t.Errorf("%d: %s", o.code, o)
	}
	if o := d.cli("jobs", "logs", "first"); o.code != 0 || !strings.Contains(o.out, `"event":"done"`) {
		t.Errorf("%d: %s", o.code, o)
	}
	if o := d.cli("why", "job/first"); o.code != 0 || !strings.Contains(o.out, "completed") {
		t.Errorf("%d: %s", o.code, o)
	}
	old := d.post("/learning/jobs", object{"job_type": "lora", "model_name": "tiny", "dataset_path": opsRows(), "parameters": object{"steps": 3}, "job_id": "second"})
	if old.status != http.StatusOK || !strings.Contains(string(old.body), `"success":true`) || !strings.Contains(string(old.body), "Learning job second submitted successfully") {
		t.Error(old)
	}
	d.awaitJob("second", "is completed", inPhase("completed"))
	for path, want := range map[string]string{"/learning/jobs?status=completed": `"job_id":"second"`, "/learning/jobs/first": `"error_message":null`} {
		if a := d.get(path); a.status != http.StatusOK || !strings.Contains(string(a.body), want) {
			t.Error(a)
		}
	}
	wrong := object{"job_type": "fine_tune", "model_name": "tiny", "dataset_path": "/nowhere.jsonl"}
	if a := d.post("/learning/jobs", wrong); a.status != http.StatusBadRequest || !strings.Contains(string(a.body), `"detail":"Learning job 'dataset_not_found' error: Dataset not found: /nowhere.jsonl"`) {
		t.Error(a)
	}
	if a := d.get("/learning/jobs/never"); a.status != http.StatusNotFound || !strings.Contains(string(a.body), `"detail":"Job not found"`) {
		t.Error(a)
	}
	if n := d.metric("modelops_jobs", "state", "completed"); n != 2 {
		t.Errorf("modelops_jobs tells of %v", n)
	}
	d.until(soonLimit, "the durations are counted", func() bool {
		return d.metric("modelops_learning_job_duration_seconds_count", "job_type", "fine_tune") == 2
	})
}

// TestAJobSurvives kill -9 of the daemon, in which it goes on and is adopted, and kill -9 of its runner, after which it goes on from its last checkpoint. It is
// paused and resumed, and ends once.
func TestAJobSurvives(t *testing.T) {
	t.Parallel()
	d := start(t, learns)
	const steps = 600
	d.submit("long", steps)
	d.awaitJob("long", "has begun", atStep(20))
	before := d.runnerOf("long")
	d.kill()
	if !alive(int(before.Pid)) {
		t.Fatal("its runner ended with the daemon")
	}
	d.launch()
	at := d.awaitJob("long", "goes on", atStep(30))
	if after := d.runnerOf("long"); after.Pid != before.Pid || at.Attempts != 1 {
		t.Fatalf("it was begun again: %v, then %v", before, after)
	}
	at = d.awaitJob("long", "has a checkpoint", func(j *messages.LearningJob) bool { return j.Checkpoint != nil })
	if err := syscall.Kill(int(before.Pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	at = d.awaitJob("long", "runs again", func(j *messages.LearningJob) bool { return j.Attempts == 2 && j.Phase == "running" })
	if at.Checkpoint.GetStep() == 0 {
		t.Errorf("its checkpoint is gone: %v", at)
	}
	d.awaitJob("long", "is beyond its checkpoint", atStep(at.Checkpoint.Step+5))

	if o := d.cli("jobs", "pause", "long", "--reason", "lunch"); o.code != 0 {
		t.Fatal(o)
	}
	at = d.awaitJob("long", "is paused", inPhase("paused"))
	if len(at.Gpus) > 0 || at.Reason != "lunch" {
		t.Errorf("%v", at)
	}
	d.until(waitLimit, "its processes are gone", func() bool { return len(processesOf(d.dir)) == 0 })
	if o := d.cli("jobs", "resume", "long"); o.code != 0 {
		t.Fatal(o)
	}
	if o := d.cli("jobs", "watch", "long"); o.code != 0 {
		t.Errorf("%d: %s", o.code, o)
	}
	at = d.job("long")
	if at.Phase != "completed" || at.Step != steps || at.Attempts != 3 {
		t.Errorf("%v", at)
	}
	if n := d.told("long", "job.completed"); n != 1 {
		t.Errorf("it was completed %d times", n)
	}
	if o := d.cli("jobs", "delete", "long"); o.code != 0 {
		t.Error(o)
	}
	d.until(soonLimit, "its files are gone", func() bool { _, err := os.Stat(filepath.Join(d.state(), "jobs", "long")); return os.IsNotExist(err) })
}

// TestAJobIsCancelled: its processes are gone, it ends once, and a retry is a job of its own.
func TestAJobIsCancelled(t *testing.T) {
	t.Parallel()
	d := start(t, learns)
	d.submit("long", 100_000)
	d.awaitJob("long", "has begun", atStep(5))
	if o := d.cli("jobs", "cancel", "long"); o.code != 0 {
		t.Fatal(o)
	}
	at := d.awaitJob("long", "is cancelled", inPhase("cancelled"))
	if at.ErrorMessage.GetValue() != "Job cancelled by user" || d.told("long", "job.cancelled") != 1 {
		t.Errorf("%v", at)
	}
	d.until(waitLimit, "its processes are gone", func() bool { return len(processesOf(d.dir)) == 0 })
	if o := d.cli("jobs", "retry", "long"); o.code != 0 || !strings.Contains(o.out, "long-2") {
		t.Fatal(o)
	}
	d.awaitJob("long-2", "has begun", atStep(1))
	if o := d.cli("jobs", "cancel", "long-2"); o.code != 0 {
		t.Error(o)
	}
}

// TestBringYourOwnTrainer runs the example of docs/trainers.md as it is printed: it reports, writes a checkpoint when it is paused, and goes on from it.
func TestBringYourOwnTrainer(t *testing.T) {
	t.Parallel()
	page := text(t, "docs/trainers.md")
	script := regexp.MustCompile("(?s)```sh\n(#!/bin/sh\n# train.sh.*?)```").FindStringSubmatch(page)
	recipe := regexp.MustCompile("(?s)```yaml\n(learning:\n  recipes:\n    mine: .*?)```").FindStringSubmatch(page)
	if script == nil || recipe == nil {
		t.Fatal("docs/trainers.md has no example")
	}
	if n := strings.Count(script[1], "\n"); n > 24 {
		t.Errorf("the example has %d lines", n)
	}
	d := prepare(t, base+recipe[1])
	d.write("train.sh", script[1])
	d.launch()
	if o := d.cli("jobs", "submit", "--recipe", "mine", "--param", "steps=40", "--id", "own"); o.code != 0 {
		t.Fatal(o)
	}
	d.awaitJob("own", "has begun", atStep(3))
	if o := d.cli("jobs", "pause", "own"); o.code != 0 {
		t.Fatal(o)
	}
	at := d.awaitJob("own", "is paused", inPhase("paused"))
	if at.Checkpoint.GetStep() < 3 {
		t.Errorf("%v", at)
	}
	if o := d.cli("jobs", "resume", "own"); o.code != 0 {
		t.Fatal(o)
	}
	at = d.awaitJob("own", "is completed", inPhase("completed"))
	if said, err := os.ReadFile(at.ResultPath.GetValue()); err != nil || string(said) != "40 steps\n" || at.Attempts != 2 {
		t.Errorf("%q, %v, %v\n%s\n%s", said, err, at, d.cli("why", "job/own"), d.cli("jobs", "logs", "own"))
	}

	d.write("cluster.yaml", base+strings.Replace(recipe[1], "mine:", "later:", 1))
	if o := d.cli("config", "apply"); o.code != 0 || !strings.Contains(o.out, "learning: changed") {
		t.Errorf("%d: %s", o.code, o)
	}
	if o := d.cli("jobs", "submit", "--recipe", "later", "--param", "steps=2", "--wait"); o.code != 0 {
		t.Errorf("a recipe that came without a restart: %d: %s", o.code, o)
	}
	if o := d.cli("jobs", "submit", "--recipe", "mine"); o.code != 2 || !strings.Contains(o.err, "the recipes of main_pc are dpo, evaluate, full, later, lora") {
		t.Errorf("a recipe that is gone: %d: %s", o.code, o)
	}
}
