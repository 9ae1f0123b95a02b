package trainer

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"modelops/messages"
)

// engine is a false cluster: a folder with one file a run, which holds its state.
func (b bench) engine(submits string) Attempt {
	return b.attempt("", func(s *messages.JobSpec) {
		s.Recipe.Attached = true
		s.Recipe.Command = []string{"sh", "-c", submits}
		s.Recipe.Watch = []string{"sh", "-c", `cat state-${ATTACHED_ID}`}
		s.Recipe.Cancel = []string{"sh", "-c", `echo CANCELLED > state-${ATTACHED_ID}`}
	})
}

func (b bench) set(state string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, "j", "state-r7"), []byte(state), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

const submits = `echo sub >> subs; echo RUNNING > state-r7; echo "Submitted batch job r7"`

// A run at an existing engine is watched by its id; a runner that is killed doesn't end it, and the next attempt goes on with it.
func TestAnAttachedRunOutlivesItsRunner(t *testing.T) {
	b := newBench(t)
	a := b.engine(submits)
	r := b.start(a)
	b.await("its id", func() bool { return b.says("r7", "attempt-1", "reports.jsonl") })
	if err := syscall.Kill(int(r.Pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, out := b.follow(a, r, 0); out.GetEnd() != messages.JobOutcome_lost {
		t.Fatal(out)
	}
	b.set("{\"event\":\"progress\",\"step\":9,\"total\":9,\"loss\":0.5}\nSUCCEEDED")
	a.Number, a.Nonce = 2, a.Nonce+"-2"
	if out := b.outcome(a); out.End != messages.JobOutcome_done || out.Step != 9 || out.Metrics["loss"] != 0.5 {
		t.Error(out)
	}
	if subs := strings.Count(b.read("subs"), "sub"); subs != 1 {
		t.Errorf("it was submitted %d times", subs)
	}
}

func TestAnAttachedRunIsCancelled(t *testing.T) {
	b := newBench(t)
	a := b.engine(submits)
	r := b.start(a)
	b.await("its id", func() bool { return b.says("r7", "attempt-1", "reports.jsonl") })
	if err := b.Stop(t.Context(), a, r, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if _, out := b.follow(a, r, 0); out.GetEnd() != messages.JobOutcome_stopped || !b.says("CANCELLED", "state-r7") {
		t.Error(out)
	}
}

func TestAnAttachedRunThatCantBeSubmitted(t *testing.T) {
	b := newBench(t)
	if out := b.outcome(b.engine(`echo no quota >&2; exit 3`)); out.End != messages.JobOutcome_broke || !strings.Contains(out.Reason, "submitted") {
		t.Error(out)
	}
}
