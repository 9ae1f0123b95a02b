package trainer

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

// A trainer that reports everything: samples are kept, checkpoints come one after the other with their checksums, the outcome comes last.
func TestATrainerReports(t *testing.T) {
	b := newBench(t)
	a := b.attempt(`
		echo '{"event":"start","total":2}'
		echo '{"event":"progress","step":1,"total":2,"loss":0.5,"lr":0.1,"eta_s":1,"metrics":{"acc":0.25}}'
		echo one > $JOB_CHECKPOINTS/1; echo '{"event":"checkpoint","step":1,"path":"'$JOB_CHECKPOINTS/1'"}'
		until [ -e go ]; do sleep 0.02; done
		echo '{"event":"progress","step":2,"of":2,"loss":0.25}'
		echo two > $JOB_CHECKPOINTS/2; echo '{"event":"checkpoint","step":2,"path":"'$JOB_CHECKPOINTS/2'"}'
		echo result > $JOB_OUT/model
		echo '{"event":"done","artifact":{"path":"'$JOB_OUT/model'"},"metrics":{"eval_loss":0.125}}'`)
	r := b.start(a)
	first, _ := b.follow(a, r, 0)
	if sum := sha256.Sum256([]byte("one\n")); first.GetStep() != 1 || first.Sha256 != hex.EncodeToString(sum[:]) || first.Bytes != 4 {
		t.Fatal(first)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "j", "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second, _ := b.follow(a, r, 1)
	if second.GetStep() != 2 {
		t.Fatal(second)
	}
	_, out := b.follow(a, r, 2)
	if out.GetEnd() != messages.JobOutcome_done || out.Step != 2 || out.Total != 2 || out.Metrics["eval_loss"] != 0.125 || out.Metrics["loss"] != 0.25 || out.Metrics["acc"] != 0.25 ||
		len(out.Artifacts) != 1 || out.Artifacts[0].Bytes != 7 || out.Artifacts[0].Sha256 == "" {
		t.Fatal(out)
	}
	samples, err := b.Samples("j", 0, 100)
	if err != nil || len(samples) != 2 || samples[0].Metrics["loss"] != 0.5 || samples[0].ETA != 1 || samples[1].Step != 2 || samples[1].N != 2 {
		t.Fatal(samples, err)
	}
	if after, _ := b.Samples("j", 1, 100); len(after) != 1 || after[0].N != 2 {
		t.Error(after)
	}
}

// What a trainer prints that can't be believed changes nothing of what it said before, and the attempt ends all the same.
func TestAnOddTrainer(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		end    messages.JobOutcome_End
		step   uint64
		says   string
	}{
		"prints nothing":          {``, messages.JobOutcome_done, 0, ""},
		"prints garbage":          {`head -c 100000 /dev/urandom; echo; echo '{"event":'; echo '[1]'; echo '{"event":7}'`, messages.JobOutcome_done, 0, ""},
		"a line of 40 MB":         {`head -c 40000000 /dev/zero | tr '\0' x; echo; echo '{"event":"progress","step":3}'; echo '{"event":"done"}'`, messages.JobOutcome_done, 3, ""},
		"a line without end":      {`echo '{"event":"progress","step":3}'; head -c 3000000 /dev/zero | tr '\0' x; exit 3`, messages.JobOutcome_broke, 3, "exit code 3"},
		"steps back":              {`echo '{"event":"progress","step":5}'; echo '{"event":"progress","step":2}'; echo '{"event":"done"}'`, messages.JobOutcome_done, 5, ""},
		"steps beyond":            {`echo '{"event":"progress","step":5,"total":9}'; echo '{"event":"progress","step":1e6,"total":9}'; exit 1`, messages.JobOutcome_broke, 5, "exit code 1"},
		"no step":                 {`echo '{"event":"progress","step":-1}'; echo '{"event":"progress","step":1.5}'; echo '{"event":"progress","step":1e300}'; exit 1`, messages.JobOutcome_broke, 0, ""},
		"not done":                {`echo '{"event":"progress","step":5,"total":9}'`, messages.JobOutcome_broke, 5, "never said that it was done"},
		"says why":                {`echo '{"event":"error","message":"the data is empty"}'; exit 65`, messages.JobOutcome_broke, 0, "the data is empty"},
		"its last words":          {`echo 'Traceback'; echo 'ValueError: no such column'; exit 1`, messages.JobOutcome_broke, 0, "ValueError: no such column"},
		"an artifact not there":   {`echo '{"event":"done","artifact":{"path":"nowhere"}}'`, messages.JobOutcome_broke, 0, "can't be read"},
		"an artifact of a fifo":   {`mkfifo y; echo '{"event":"done","artifact":{"path":"y"}}'`, messages.JobOutcome_broke, 0, "no regular file"},
		"an artifact of a lie":    {`echo x > y; echo '{"event":"done","artifact":{"path":"y","sha256":"00"}}'`, messages.JobOutcome_broke, 0, "has the checksum"},
		"ends by a signal":        {`kill -9 $$`, messages.JobOutcome_broke, 0, "signal 9"},
		"asks to be run again":    {`exit 75`, messages.JobOutcome_stopped, 0, "75"},
		"no such program":         {`exec /does/not/exist`, messages.JobOutcome_broke, 0, "127"},
		"memory of the device":    {`echo 'RuntimeError: CUDA out of memory. Tried to allocate 2 GiB'; exit 1`, messages.JobOutcome_broke, 0, "CUDA out of memory"},
		"checkpoint without path": {`echo '{"event":"checkpoint","step":4}'; echo '{"event":"done"}'`, messages.JobOutcome_done, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			out := b.outcome(b.attempt(c.script))
			if out.End != c.end || out.Step != c.step || !strings.Contains(out.Reason, c.says) || out.LogFile == "" {
				t.Error(out)
			}
			if out.OutOfMemory != (name == "memory of the device") {
				t.Error("out of memory", out)
			}
			if wants := name != "says why" && name != "no such program" && c.end == messages.JobOutcome_broke && !strings.HasPrefix(name, "an artifact"); c.end == messages.JobOutcome_broke && out.Retriable != wants {
				t.Error("retriable", out)
			}
			if st, err := os.Stat(out.LogFile); err != nil || st.Size() > 1<<20 {
				t.Error("log", st, err)
			}
		})
	}
}

// The outcome of an attempt that ended while nobody looked is on disk: it is found and not run again.
func TestTheOutcomeOutlivesTheDaemon(t *testing.T) {
	b := newBench(t)
	a := b.attempt(`echo run >> runs; echo '{"event":"progress","step":4,"total":4}'; echo '{"event":"done"}'`)
	b.start(a)
	b.await("an exit.json", func() bool { return b.read("attempt-1", "exit.json") != "" })

	later := at(t, b.dir)
	r := later.start(a)
	if _, out := later.follow(a, r, 0); out.GetEnd() != messages.JobOutcome_done || out.Step != 4 {
		t.Error(out)
	}
	if runs := b.read("runs"); runs != "run\n" {
		t.Errorf("it ran %d times", strings.Count(runs, "run"))
	}
}

// A second start with the nonce finds the runner of the first one.
func TestStartsOnce(t *testing.T) {
	b := newBench(t)
	a := b.attempt(`echo run >> runs; until [ -e go ]; do sleep 0.02; done`)
	first := b.start(a)
	second := at(t, b.dir).start(a)
	if first.Pid != second.Pid || first.StartTicks != second.StartTicks {
		t.Error(first, second)
	}
	b.await("its run", func() bool { return b.says("run", "runs") })
	if found, err := b.Find(t.Context(), a); err != nil || found.GetPid() != first.Pid {
		t.Error(found, err)
	}
}

// A runner that is killed takes its trainer along, and the attempt is lost, not done.
func TestAKilledRunner(t *testing.T) {
	b := newBench(t)
	a := b.attempt(`echo $$ > pid; echo '{"event":"progress","step":1,"total":4}'; sleep 600`)
	r := b.start(a)
	b.await("its pid", func() bool { return b.says("\n", "pid") })
	if err := syscall.Kill(int(r.Pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, out := b.follow(a, r, 0); out.GetEnd() != messages.JobOutcome_lost || !out.Retriable {
		t.Error(out)
	}
	if process.Variable(number(t, b.read("pid")), "JOB_ID") != "" {
		t.Error("the trainer lives on without its runner")
	}
}

func number(t *testing.T, text string) (n int64) {
	t.Helper()
	for _, c := range strings.TrimSpace(text) {
		n = 10*n + int64(c-'0')
	}
	return n
}

const patient = `
	trap 'echo x > $JOB_CHECKPOINTS/asked; echo "{\"event\":\"checkpoint\",\"step\":7,\"path\":\"$JOB_CHECKPOINTS/asked\"}"' USR1
	trap 'exit 75' TERM
	echo ready > ready
	while true; do sleep 0.02; done`

// A trainer that takes signals writes a checkpoint before it is ended, and the checkpoint is seen before the outcome.
func TestStopsWithACheckpoint(t *testing.T) {
	b := newBench(t)
	a := b.attempt(patient, func(s *messages.JobSpec) { s.Recipe.Checkpoint = "signal" })
	r := b.start(a)
	b.await("the trainer", func() bool { return b.says("ready", "ready") })
	if err := b.Checkpoint(t.Context(), a, r); err != nil {
		t.Fatal(err)
	}
	if err := b.Stop(t.Context(), a, r, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	c, out := b.follow(a, r, 0)
	if c.GetStep() != 7 || out != nil {
		t.Fatal(c, out)
	}
	if _, out = b.follow(a, r, c.Step); out.GetEnd() != messages.JobOutcome_stopped || out.ExitCode != 75 || !out.Retriable {
		t.Error(out)
	}
}

// A trainer that is asked over its input writes one and goes on.
func TestACheckpointByStdin(t *testing.T) {
	b := newBench(t)
	a := b.attempt(`while read line; do echo $line > $JOB_CHECKPOINTS/c; echo '{"event":"checkpoint","step":3,"path":"'$JOB_CHECKPOINTS/c'"}'; done`,
		func(s *messages.JobSpec) { s.Recipe.Checkpoint = "stdin" })
	r := b.start(a)
	b.await("its start", func() bool { return b.says("started", "attempt-1", "reports.jsonl") })
	if err := b.Checkpoint(t.Context(), a, r); err != nil {
		t.Fatal(err)
	}
	if c, _ := b.follow(a, r, 0); c.GetStep() != 3 || c.Bytes != uint64(len("checkpoint\n")) {
		t.Error(c)
	}
}

// A trainer that doesn't end when it is asked is killed after its grace, with what it started.
func TestStopsADeafTrainer(t *testing.T) {
	b := newBench(t)
	a := b.attempt(`trap '' TERM USR1; (trap '' TERM; sleep 600) & echo ready > ready; while true; do sleep 0.02; done`, func(s *messages.JobSpec) { s.Recipe.GraceSeconds = 1 })
	r := b.start(a)
	b.await("the trainer", func() bool { return b.says("ready", "ready") })
	if err := b.Stop(t.Context(), a, r, time.Second); err != nil {
		t.Fatal(err)
	}
	if _, out := b.follow(a, r, 0); out.GetEnd() == messages.JobOutcome_done || out == nil {
		t.Error(out)
	}
	if left, _ := b.o.Processes.Owned(); len(left) > 0 {
		t.Error("something is left:", left)
	}
}

func TestOvertime(t *testing.T) {
	b := newBench(t)
	a := b.attempt(`sleep 600`, func(s *messages.JobSpec) { s.Recipe.GraceSeconds = 1 })
	a.WallLeft = 200 * time.Millisecond
	if out := b.outcome(a); out.End != messages.JobOutcome_overtime || out.RanMs < 200 {
		t.Error(out)
	}
}

// Only checkpoints below the job's folder, with the checksum that was told, count.
func TestCheckpointsThatDontCount(t *testing.T) {
	b := newBench(t)
	out := b.outcome(b.attempt(`
		say() { echo '{"event":"checkpoint","step":'$1',"path":"'$2'","sha256":"'$3'"}'; }
		echo x > $JOB_OUT/elsewhere; say 1 $JOB_OUT/elsewhere
		echo x > $JOB_CHECKPOINTS/other; say 2 $JOB_CHECKPOINTS/other 00
		: > $JOB_CHECKPOINTS/empty; say 3 $JOB_CHECKPOINTS/empty
		say 4 $JOB_CHECKPOINTS/missing
		ln -s $JOB_OUT/elsewhere $JOB_CHECKPOINTS/link; say 5 $JOB_CHECKPOINTS/link
		say 6 $JOB_CHECKPOINTS/../out/elsewhere; say 7 $JOB_CHECKPOINTS
		mkfifo $JOB_CHECKPOINTS/fifo; say 8 $JOB_CHECKPOINTS/fifo
		echo '{"event":"done"}'`))
	if out.End != messages.JobOutcome_done {
		t.Error(out)
	}
	if got := b.newest(t.Context(), b.attempt(""), 0, map[string]bool{}); got != nil {
		t.Error(got)
	}
	if n := len(b.checkpoints(b.attempt(""))); n != 8 {
		t.Error(n)
	}
}

// Older checkpoints are deleted once a later one is acknowledged, but as many as the recipe keeps.
func TestRetention(t *testing.T) {
	b := newBench(t)
	a := b.attempt(`for i in 1 2 3 4 5; do
			mkdir $JOB_CHECKPOINTS/$i; echo $i > $JOB_CHECKPOINTS/$i/w; echo '{"event":"checkpoint","step":'$i',"path":"'$JOB_CHECKPOINTS/$i'"}'
			until [ -e kept/$i ]; do sleep 0.02; done
		done; echo '{"event":"done"}'`, func(s *messages.JobSpec) { s.Recipe.KeepCheckpoints = 3 })
	b.outcome(a)
	for folder, want := range map[string]string{"kept": "3 4 5", "checkpoints": "5"} {
		left, err := os.ReadDir(filepath.Join(b.dir, "j", folder))
		var names []string
		for _, e := range left {
			names = append(names, e.Name())
		}
		if strings.Join(names, " ") != want {
			t.Error(folder, names, err)
		}
	}
}

// A trainer that writes each checkpoint over the one before doesn't touch the acknowledged one.
func TestACheckpointWrittenOver(t *testing.T) {
	b := newBench(t)
	a := b.attempt(`say() { echo '{"event":"checkpoint","step":'$1',"path":"'$JOB_CHECKPOINTS/state'"}'; }
		echo first > $JOB_CHECKPOINTS/state; say 1; until [ -e kept/1 ]; do sleep 0.02; done; echo half > $JOB_CHECKPOINTS/state; echo x > over; sleep 600`)
	r := b.start(a)
	c, _ := b.follow(a, r, 0)
	b.await("the second one", func() bool { return b.says("x", "over") })
	if text, err := os.ReadFile(c.Path); err != nil || string(text) != "first\n" {
		t.Errorf("%q %v", text, err)
	}
}

func TestACheckpointThatChangedIsNotResumed(t *testing.T) {
	b := newBench(t)
	a := b.attempt("true")
	a.Resume = &messages.Checkpoint{Step: 3, Path: filepath.Join(b.dir, "c"), Sha256: "00"}
	if _, err := b.Start(t.Context(), a); messages.CodeOf(err) != messages.FailedPrecondition || !strings.Contains(err.Error(), "step 3") {
		t.Error(err)
	}
}

// The environment of an attempt: no secret that its recipe doesn't name.
func TestTheEnvironmentOfAnAttempt(t *testing.T) {
	b := newBench(t)
	b.outcome(b.attempt(`env > $JOB_OUT/env`, func(s *messages.JobSpec) {
		s.Recipe.Env = []string{"LR=${lr}", "NAMED=${env.TOKEN_OF_HUB}"}
		s.Recipe.Parameters = map[string]string{"lr": "0.1", "batch": "8"}
		s.Parameters = map[string]string{"batch": "4"}
	}))
	env := process.NewEnvironment(strings.Split(b.read("out", "env"), "\n"))
	want := map[string]string{"LR": "0.1", "NAMED": "canary", "TOKEN_OF_HUB": "", "PLAIN": "seen", "JOB_ID": "j", "JOB_PARAMETERS": `{"batch":"4","lr":"0.1"}`}
	got := map[string]string{}
	for name := range want {
		got[name] = env[name]
	}
	if !maps.Equal(got, want) {
		t.Error(got)
	}
}

func TestCheckRefuses(t *testing.T) {
	b := newBench(t)
	for name, c := range map[string]struct {
		change func(*messages.JobSpec)
		says   string
	}{
		"dataset":    {func(s *messages.JobSpec) { s.Dataset = "/no/such/data" }, "/no/such/data can't be read"},
		"base":       {func(s *messages.JobSpec) { s.Base = "/no/such/base" }, "/no/such/base"},
		"no command": {func(s *messages.JobSpec) { s.Recipe.Command = nil }, "no command"},
		"a macro":    {func(s *messages.JobSpec) { s.Recipe.Command = []string{"train", "${NOPE}"} }, "${NOPE} means nothing here"},
		"a variable": {func(s *messages.JobSpec) { s.Recipe.Env = []string{"A=${env.NOT_SET}"} }, "NOT_SET is not set"},
	} {
		a := b.attempt("true", c.change)
		err := b.Check("j", a.Spec)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, started := b.Start(t.Context(), a); messages.CodeOf(started) != messages.CodeOf(err) {
			t.Errorf("%s: start says %v", name, started)
		}
	}
	b.o.MinFree = 1 << 62
	if err := b.Check("j", b.attempt("true").Spec); err == nil || !strings.Contains(err.Error(), "of disk") {
		t.Error(err)
	}
}

func TestRemove(t *testing.T) {
	b := newBench(t)
	b.outcome(b.attempt(`echo 0123456789 > $JOB_OUT/x`))
	if n, err := b.Remove(t.Context(), "j"); err != nil || n < 11 {
		t.Error(n, err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "j")); !os.IsNotExist(err) {
		t.Error(err)
	}
	for _, bad := range []string{"", ".", "..", "a/b", "../x"} {
		if _, err := b.Remove(t.Context(), bad); err == nil {
			t.Errorf("%q is removed", bad)
		}
	}
}

// Limits that can't be set here are no reason not to run.
func TestLimitsThatCantBeSet(t *testing.T) {
	b := newBench(t)
	if out := b.outcome(b.attempt(`echo '{"event":"done"}'`, func(s *messages.JobSpec) { s.Recipe.MemoryBytes, s.Recipe.Cpus = 1<<30, 1 })); out.End != messages.JobOutcome_done {
		t.Error(out)
	}
	if _, err := cgroup2(t.TempDir()); err == nil {
		t.Error("a folder of another file system is taken for a cgroup")
	}
}
