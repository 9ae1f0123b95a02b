package trainer

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"modelops/messages"
)

// TestVariablesOfRecipes: the environment and secrets are filled in at the start, but words of recipes and parameters come first; nothing of it is in what
// is journaled.
func TestVariablesOfRecipes(t *testing.T) {
	b := newBench(t)
	b.o.Secret = func(recipe string, n int) string { return map[int]string{1: "canary-" + recipe}[n] }
	spec := &messages.JobSpec{Kind: messages.JobSpec_custom, Dataset: "/dev/null", Parameters: map[string]string{"PLAIN": "mine"}, Recipe: &messages.Recipe{Name: "r",
		Command: []string{"x", "${DATASET}", "${TOKEN_OF_HUB}", "${NONE:there}", "${PLAIN}", "${secret.1}", "${env.PLAIN}"}, Env: []string{"A=${secret.1}"}}}
	said := spec.String()
	if err := b.Check("j", spec); err != nil {
		t.Fatal(err)
	}
	o, env, err := b.order(t.Context(), Attempt{Job: "j", Number: 1, Spec: spec})
	if err != nil || !slices.Equal(o.Argv, []string{"x", "/dev/null", "canary", "there", "mine", "canary-r", "seen"}) || !slices.Contains(env, "A=canary-r") {
		t.Errorf("%q, %q, %v", o.Argv, env, err)
	}
	if spec.String() != said {
		t.Error("the specification was changed")
	}
	spec.Recipe.Command = []string{"x", "${NOWHERE}"}
	if err := b.Check("j", spec); messages.CodeOf(err) != messages.InvalidArgument || !strings.Contains(err.Error(), "${NOWHERE}") {
		t.Error(err)
	}
}

// TestLastSample is read from the end of a long file, and half a line of a running trainer is passed over.
func TestLastSample(t *testing.T) {
	b := newBench(t)
	if _, ok := b.Last("j"); ok {
		t.Error("there is one of a job without files")
	}
	if err := os.MkdirAll(filepath.Join(b.dir, "j"), 0o750); err != nil {
		t.Fatal(err)
	}
	c, err := openCurve(b.folder("j").metrics())
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(3000) {
		if err := c.add(Sample{Step: n + 1, Total: 3000, Metrics: map[string]float64{"loss": 1}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.file.WriteString(`{"n": 3001, "st`); err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if s, ok := b.Last("j"); !ok || s.N != 3000 || s.Step != 3000 {
		t.Errorf("%+v", s)
	}
}

// TestLogOfAttempts reads one attempt behind the other, in the order of their numbers, and nothing outside of the jobs' folder.
func TestLogOfAttempts(t *testing.T) {
	b := newBench(t)
	for n, text := range map[uint64]string{2: "two\n", 10: "ten\nrest"} {
		dir := b.folder("j[1]").attempt(n)
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "20060102T150405.000000-nonce.log"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := b.ReadLog("j[1]", "", 10)
	if err != nil || p.Log != "attempt-10" || !slices.Equal(p.Lines, []string{"ten"}) || p.Unfinished != "rest" {
		t.Errorf("%+v, %v", p, err)
	}
	first, err := b.ReadLog("j[1]", "attempt-2@0", 10)
	if err != nil || !slices.Equal(first.Lines, []string{"two"}) {
		t.Errorf("%+v, %v", first, err)
	}
	if next, err := b.ReadLog("j[1]", first.Next, 10); err != nil || !slices.Equal(next.Lines, []string{"ten"}) {
		t.Errorf("%+v, %v", next, err)
	}
	for _, job := range []string{"../j[1]", "", "none"} {
		if p, err := b.ReadLog(job, "", 10); err != nil || p.Log != "" {
			t.Errorf("%q: %+v, %v", job, p, err)
		}
	}
}

// TestLogsHaveNamesOfTheirOwn: what holds the log of a dead runner is ended, and a log is known by its name wherever it lies. When all had one name, the end of
// an attempt killed the runners of other jobs.
func TestLogsHaveNamesOfTheirOwn(t *testing.T) {
	b := newBench(t)
	gate := filepath.Join(b.dir, "gate")
	logs := map[string]bool{}
	for _, job := range []string{"one", "two"} {
		for n := range uint64(2) {
			a := b.attempt("until [ -e " + gate + " ]; do sleep 0.01; done")
			a.Job, a.Number, a.Nonce = job, n+1, a.Nonce+job+strconv.FormatUint(n, 10)
			r := b.start(a)
			logs[filepath.Base(r.LogPath)] = true
			if b.folder(job).log(n+1) != r.LogPath || !strings.Contains(r.LogPath, url.PathEscape(a.Nonce)) {
				t.Errorf("%s isn't the log of %s", r.LogPath, a.Nonce)
			}
		}
	}
	if len(logs) != 4 {
		t.Errorf("four attempts write to %v", logs)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPeakOfAnAttempt: the largest amount that was measured while it ran is part of its outcome.
func TestPeakOfAnAttempt(t *testing.T) {
	b := newBench(t)
	measured := make(chan int64, 100)
	b.o.Measure = func(_ context.Context, job string, pid int64) (uint64, error) {
		measured <- pid
		return 77, nil
	}
	gate := filepath.Join(b.dir, "gate")
	a := b.attempt("until [ -e " + gate + " ]; do sleep 0.01; done")
	r := b.start(a)
	go func() {
		if pid := <-measured; pid != r.Pid {
			t.Errorf("measured process %d, not %d", pid, r.Pid)
		}
		if err := os.WriteFile(gate, nil, 0o600); err != nil {
			t.Error(err)
		}
	}()
	if _, out := b.follow(a, r, 0); out.GetPeakBytes() != 77 || out.End != messages.JobOutcome_done {
		t.Errorf("%v", out)
	}
}

// TestLastWordsTellNoSecret: they are part of the outcome, which is journaled.
func TestLastWordsTellNoSecret(t *testing.T) {
	b := newBench(t)
	b.o.Hide = func(text string) string { return strings.ReplaceAll(text, "canary", "[redacted]") }
	a := b.attempt("echo the key canary is wrong; exit 1")
	if _, out := b.follow(a, b.start(a), 0); strings.Contains(out.String(), "canary") || !strings.Contains(out.Reason, "the key [redacted] is wrong") {
		t.Errorf("%v", out)
	}
}
