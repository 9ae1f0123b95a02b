package trainer

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"modelops/bridges/process"
	"modelops/messages"
)

// TestMain lets the test binary be the runner: Trainer starts it with these words.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "runner" {
		if err := Run(context.Background(), os.Args[2], os.Stdout); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// bench is a Trainer over a folder of its own.
type bench struct {
	*Trainer
	t   *testing.T
	dir string
}

func newBench(t *testing.T) bench {
	t.Helper()
	return at(t, t.TempDir())
}

func at(t *testing.T, dir string) bench {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	env := process.NewEnvironment([]string{"PATH=" + os.Getenv("PATH"), "TOKEN_OF_HUB=canary", "PLAIN=seen"})
	return bench{New(Options{Dir: dir, Self: self, Processes: process.New(process.Options{Owner: dir, Logs: process.Logs{Root: dir}}), Env: env, PassEnv: []string{"PLAIN"}}), t, dir}
}

// attempt is the first attempt of job j by a shell script.
func (b bench) attempt(script string, change ...func(*messages.JobSpec)) Attempt {
	spec := &messages.JobSpec{Kind: messages.JobSpec_custom, Recipe: &messages.Recipe{Name: "script", Command: []string{"sh", "-c", script}, GraceSeconds: 10}}
	for _, c := range change {
		c(spec)
	}
	return Attempt{Job: "j", Number: 1, Nonce: "nonce-" + filepath.Base(b.dir) + b.t.Name(), Spec: spec}
}

func (b bench) start(a Attempt) *messages.Runner {
	b.t.Helper()
	r, err := b.Start(b.t.Context(), a)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = b.Stop(context.Background(), a, r, 0) })
	return r
}

// follow is Follow with the patience of a test.
func (b bench) follow(a Attempt, r *messages.Runner, after uint64) (*messages.Checkpoint, *messages.JobOutcome) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	c, out, err := b.Follow(ctx, a, r, after)
	if err != nil {
		b.t.Fatal(err)
	}
	return c, out
}

// outcome runs a script to its end.
func (b bench) outcome(a Attempt) *messages.JobOutcome {
	b.t.Helper()
	r := b.start(a)
	for after := uint64(0); ; {
		c, out := b.follow(a, r, after)
		if out != nil {
			return out
		}
		after = c.Step
	}
}

func (b bench) await(what string, is func() bool) {
	b.t.Helper()
	for began := time.Now(); !is(); {
		if time.Since(began) > time.Minute {
			b.t.Fatal("not within a minute: " + what)
		}
		b.wait()
	}
}

// wait lets the processes go on.
func (b bench) wait() { _ = process.Sleep(b.t.Context(), 10*time.Millisecond) }

func (b bench) read(names ...string) string {
	text, _ := os.ReadFile(filepath.Join(append([]string{b.dir, "j"}, names...)...))
	return string(text)
}

func (b bench) says(words string, names ...string) bool {
	return strings.Contains(b.read(names...), words)
}
