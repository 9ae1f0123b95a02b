//go:build e2e

package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// counted is a recipe whose trainer writes down each run and waits for a file before it ends.
const counted = `learning:
  recipes:
    counted:
      kind: custom
      vram_mb: 100
      cmd: [sh, -c, 'echo run >> "$COUNT"; until [ -e "$GO" ]; do sleep 0.05; done; echo "{\"event\":\"done\"}"']
      env: ["COUNT=DIR/count", "GO=DIR/go"]
`

// counting is a daemon with the recipe, on one simulated device for one such job.
func counting(t *testing.T) *daemon {
	d := prepare(t, "")
	d.write("cluster.yaml", base+"resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 1000}], vram_soft_limit_mb: 1000, margin_mb: 0}\n"+strings.ReplaceAll(counted, "DIR", d.dir))
	d.launch()
	return d
}

func (d *daemon) runs() int {
	b, _ := os.ReadFile(filepath.Join(d.dir, "count"))
	return strings.Count(string(b), "run")
}

func (d *daemon) submitCounted(id string, more ...string) {
	d.t.Helper()
	if o := d.cli(append([]string{"jobs", "submit", "--recipe", "counted", "--id", id}, more...)...); o.code != 0 {
		d.t.Fatal(o)
	}
}

// once checks that a job has one end, and that its memory is back.
func (d *daemon) once(id, end string) {
	d.t.Helper()
	var ends []string
	for _, event := range []string{"job.completed", "job.failed", "job.cancelled"} {
		for range d.told(id, event) {
			ends = append(ends, event)
		}
	}
	if strings.Join(ends, " ") != end {
		d.t.Errorf("%s ends as %q, want %q", id, ends, end)
	}
	d.until(waitLimit, "the memory of "+id+" is back", func() bool {
		for _, l := range d.leases() {
			if strings.HasSuffix(l.Holder, "/"+id) {
				return false
			}
		}
		return true
	})
}

// TestS21AJobThatEndedWhileNobodyLooked: it is taken as completed, and not run again.
func TestS21AJobThatEndedWhileNobodyLooked(t *testing.T) {
	t.Parallel()
	d := counting(t)
	d.submitCounted("away")
	d.awaitJob("away", "runs", func(*messages.LearningJob) bool { return d.runs() == 1 })
	d.kill()
	d.write("go", "")
	until(t, waitLimit, "its processes are gone", func() bool { return len(processesOf(d.dir)) == 0 })
	d.launch()
	d.awaitJob("away", "is completed", inPhase("completed"))
	if n := d.runs(); n != 1 {
		t.Errorf("it ran %d times", n)
	}
	d.once("away", "job.completed")
}

// TestS22KilledWhileAJobStarts: the daemon dies at any moment of a job's start, again and again; each job ends once, and runs once for each attempt that its journal tells of.
func TestS22KilledWhileAJobStarts(t *testing.T) {
	t.Parallel()
	d := counting(t)
	d.write("go", "")
	for i := range 8 {
		id := fmt.Sprintf("job-%d", i)
		process := d.cmd.Process
		time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { _ = process.Kill() })
		d.cli("jobs", "submit", "--recipe", "counted", "--id", id) // the kill may come before, in the middle or after it
		d.kill()
		d.launch()
		if a := d.get("/learning/jobs/" + id); a.status == http.StatusNotFound {
			d.submitCounted(id) // nothing of it was stored
		}
		d.awaitJob(id, "is completed", inPhase("completed"))
		d.once(id, "job.completed")
	}
	started := 0
	for i := range 8 {
		started += d.told(fmt.Sprintf("job-%d", i), "job.reserved")
	}
	if n := d.runs(); n < 8 || n > started {
		t.Errorf("%d runs of %d attempts", n, started)
	}
}

// TestS23ACancelOfAJobThatWaitsIsNotLost: it waits for memory, is cancelled, and the daemon dies; it never runs.
func TestS23ACancelOfAJobThatWaitsIsNotLost(t *testing.T) {
	t.Parallel()
	d := counting(t)
	d.submitCounted("first", "--vram", "900M")
	d.awaitJob("first", "runs", func(*messages.LearningJob) bool { return d.runs() == 1 })
	d.submitCounted("second", "--vram", "900M")
	d.awaitJob("second", "waits", inPhase("pending"))
	if o := d.cli("jobs", "cancel", "second"); o.code != 0 {
		t.Fatal(o)
	}
	d.kill()
	d.launch()
	d.write("go", "")
	d.awaitJob("first", "is completed", inPhase("completed"))
	d.awaitJob("second", "is cancelled", inPhase("cancelled"))
	d.once("first", "job.completed")
	d.once("second", "job.cancelled")
	if n := d.runs(); n != 1 {
		t.Errorf("%d runs", n)
	}
}

// TestADrainHasJobsLeave: with a checkpoint, from which they go on when the drain is over.
func TestADrainHasJobsLeave(t *testing.T) {
	t.Parallel()
	d := start(t, learns)
	d.submit("long", 100_000)
	d.awaitJob("long", "has begun", atStep(5))
	if o := d.cli("drain", "main_pc", "--wait"); o.code != 0 {
		t.Fatal(o)
	}
	at := d.job("long")
	if at.Phase != "preempted" || at.Checkpoint.GetStep() < 5 || len(at.Gpus) > 0 || len(processesOf(d.dir)) > 0 {
		t.Errorf("%v, %v", at, processesOf(d.dir))
	}
	if o := d.cli("drain", "main_pc", "--undo"); o.code != 0 {
		t.Fatal(o)
	}
	d.awaitJob("long", "goes on from its checkpoint", func(j *messages.LearningJob) bool {
		return j.Phase == "running" && j.Attempts == 2 && j.Step > at.Checkpoint.GetStep()
	})
	if o := d.cli("jobs", "cancel", "long"); o.code != 0 {
		t.Error(o)
	}
	d.awaitJob("long", "is cancelled", inPhase("cancelled"))
}
