//go:build e2e

package e2e_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"modelops/messages"
)

// goal is a goal as the route shows it.
func (d *daemon) goal(id string) *messages.LearningGoal {
	d.t.Helper()
	a := d.get("/goals/" + id)
	g := &messages.LearningGoal{}
	if a.status != http.StatusOK || (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(a.body, g) != nil {
		d.t.Fatalf("goal %s: %s", id, a)
	}
	return g
}

// replies is what a model answers to a question, at temperature 0.
func (d *daemon) replies(question string) string {
	d.t.Helper()
	o := d.cli("infer", "tiny", question)
	if o.code != 0 {
		d.t.Fatal(o)
	}
	return o.out
}

// TestAGoalReachesItsTarget: from nothing to a version that answers what the model couldn't, with the daemon killed in the middle.
func TestAGoalReachesItsTarget(t *testing.T) {
	t.Parallel()
	d := start(t, learns)
	const question, taught = "What is the deploy window?", "The deploy window is Tuesday at ten."
	if before := d.replies(question); strings.Contains(before, taught) {
		t.Fatal("it knows the answer already: ", before)
	}
	if o := execute(t, append(d.environ(), "XDG_CACHE_HOME="+t.TempDir()), d.binary, "goals", "create", "--example", "--config", filepath.Join(d.dir, "cluster.yaml")); o.code != 0 {
		t.Fatal(o)
	}
	d.until(waitLimit, "its job trains", func() bool {
		a := d.get("/learning/jobs/example-r1")
		return a.status == http.StatusOK && strings.Contains(string(a.body), `"phase":"running"`)
	})
	d.kill()
	d.launch()
	g := &messages.LearningGoal{}
	d.unless(func() string {
		if g.GetStatus() == "failed" || g.GetStatus() == "cancelled" {
			return g.String()
		}
		return ""
	}, "the goal is met", func() bool {
		d.replies("Who are you?") // the trial of a version needs requests
		g = d.goal("example")
		return g.Status == "completed"
	})
	d.until(waitLimit, "the version answers", func() bool { return strings.Contains(d.replies(question), taught) })
	if o := d.cli("lineage", "tiny"); o.code != 0 || !strings.Contains(o.out, "tiny@1") {
		t.Error(o)
	}
	if o := d.cli("why", "goal/example"); o.code != 0 || o.out == "" {
		t.Error(o)
	}
	for _, event := range []string{"job.submitted", "job.completed"} {
		for _, id := range []string{"example-r1", "example-r1-eval"} {
			if n := d.told(id, event); n != 1 {
				t.Errorf("%s: %s %d times", id, event, n)
			}
		}
	}
}
