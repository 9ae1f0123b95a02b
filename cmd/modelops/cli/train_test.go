package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"modelops/bridges/engine/train"
)

const (
	trainBase = "../../../testdata/model/tiny.gguf"
	trainData = "../../../testdata/train/ops-train.jsonl"
)

// trainProcess is a run as a child process, whose lines are read one by one.
type trainProcess struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

func startTrainer(t *testing.T, args ...string) *trainProcess {
	t.Helper()
	r := &trainProcess{t: t, cmd: exec.Command("modelops", append([]string{"train", "--base", trainBase, "--data", trainData, "--batch", "1", "--threads", "1"}, args...)...)}
	r.cmd.Stderr = &r.stderr
	var err error
	if r.stdin, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.lines = bufio.NewScanner(out)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// until reads lines up to the next of an event.
func (r *trainProcess) until(event string) map[string]any {
	r.t.Helper()
	for r.lines.Scan() {
		var m map[string]any
		if err := json.Unmarshal(r.lines.Bytes(), &m); err != nil {
			r.t.Fatalf("%q is no line of JSON: %v", r.lines.Text(), err)
		}
		if m["event"] == event {
			return m
		}
	}
	_ = r.cmd.Wait()
	r.t.Fatalf("it ended without %s; it says %s", event, r.stderr.String())
	return nil
}

// exit waits for the end.
func (r *trainProcess) exit() int {
	for r.lines.Scan() {
	}
	_ = r.cmd.Wait()
	return r.cmd.ProcessState.ExitCode()
}

// A signal and a line on standard input ask for a checkpoint, SIGTERM ends the run with one and exit code 75, and the same command
// continues it. That it yields the same file is tested beside the trainer.
func TestTrainIsStoppedAndResumed(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--out", filepath.Join(dir, "x.gguf"), "--checkpoints", filepath.Join(dir, "ck"), "--resume", "auto", "--steps", "1000000", "--checkpoint-every", "1000000"}
	r := startTrainer(t, args...)
	r.until("progress")
	r.signal(syscall.SIGUSR1)
	first := r.until("checkpoint")
	_, _ = io.WriteString(r.stdin, "something\ncheckpoint\n")
	second := r.until("checkpoint")
	_ = r.stdin.Close() // its end means nothing
	r.signal(syscall.SIGTERM)
	third, stopped := r.until("checkpoint"), r.until("stopped")
	if code := r.exit(); code != exitStopped {
		t.Fatal("exit code", code, r.stderr.String())
	}
	if !(first["step"].(float64) < second["step"].(float64) && second["step"].(float64) <= third["step"].(float64)) || third["step"] != stopped["step"] {
		t.Error("checkpoints after steps", first["step"], second["step"], third["step"], "stopped after", stopped["step"])
	}
	r = startTrainer(t, args...)
	if resumed := r.until("resumed"); resumed["step"] != stopped["step"] {
		t.Error("resumed at", resumed["step"], "stopped at", stopped["step"])
	}
	r.signal(syscall.SIGINT)
	if r.until("stopped"); r.exit() != exitStopped {
		t.Error("an interrupt ends it otherwise")
	}
}

func (r *trainProcess) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// A run whose reader has gone away goes on to its end: what it makes is in its files.
func TestTrainOutlivesItsReader(t *testing.T) {
	out := filepath.Join(t.TempDir(), "x.gguf")
	cmd := exec.Command("modelops", "train", "--base", trainBase, "--data", trainData, "--batch", "1", "--threads", "1", "--steps", "3", "--out", out)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = pipe.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if found, _ := filepath.Glob(out); len(found) != 1 {
		t.Error("there is no file")
	}
}

// Every option of the trainer has a flag, so that a recipe can set it.
func TestTrainHasAFlagForEachOption(t *testing.T) {
	cmd := (&cli{}).trainCommand()
	o := reflect.TypeFor[train.Options]()
	for i := range o.NumField() {
		name := o.Field(i).Name
		if name == "Report" || name == "Save" {
			continue
		}
		flag := strings.ToLower(name)
		for _, joined := range []string{"micro-batch", "weight-decay", "max-length", "checkpoint-every"} {
			if strings.ReplaceAll(joined, "-", "") == flag {
				flag = joined
			}
		}
		if cmd.Flags().Lookup(flag) == nil {
			t.Errorf("option %s has no flag --%s", name, flag)
		}
	}
}

func TestScoreRows(t *testing.T) {
	got := scoreRows(train.Scores{Loss: 1.25, Perplexity: 3.4903, Exact: 0.75, Rows: 16, Tokens: 186})
	want := [][2]string{{"rows", "16, with 186 tokens of answers"}, {"loss", "1.2500 nats a token"}, {"perplexity", "3.49"}, {"exact", "12 of 16"}}
	if !slices.Equal(got, want) {
		t.Error(got)
	}
}
