package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// trained runs to the end and returns the file.
func trained(t testing.TB, o Options) []byte {
	t.Helper()
	if err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(o.Out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// One, two and three threads, and parts of any size of a batch, make the same file; another seed makes another one.
func TestRunsAreReproducible(t *testing.T) {
	for _, method := range []string{Full, LoRA, DPO} {
		o := smallRun(t, method)
		want := trained(t, o)
		for _, threads := range []int{1, 2, 3} {
			o.Threads = threads
			if !bytes.Equal(trained(t, o), want) {
				t.Errorf("%s: %d threads make another file", method, threads)
			}
		}
		o.Seed++
		if bytes.Equal(trained(t, o), want) {
			t.Errorf("%s: another seed makes the same file", method)
		}
	}
}

// A run that is stopped at any steps, and resumed from whatever checkpoint is the latest, yields the file of a run that was not.
func TestStoppedRunsYieldTheSameFile(t *testing.T) {
	files := map[string][]byte{}
	options := map[string]Options{}
	for _, method := range []string{Full, LoRA, DPO, "adapters by preference"} {
		o := smallRun(t, strings.Replace(method, "adapters by preference", DPO, 1))
		if method == "adapters by preference" {
			o.Rank = 2
		}
		o.Steps = 8
		options[method], files[method] = o, trained(t, o)
	}
	rapid.Check(t, func(rt *rapid.T) {
		method := rapid.SampledFrom([]string{Full, LoRA, DPO, "adapters by preference"}).Draw(rt, "method")
		o := options[method]
		dir, err := os.MkdirTemp(t.TempDir(), "run")
		if err != nil {
			rt.Fatal(err)
		}
		o.Checkpoints, o.Resume, o.Out = filepath.Join(dir, "ck"), "auto", filepath.Join(dir, "out.gguf")
		if rapid.Bool().Draw(rt, "no evaluation") {
			o.Eval = ""
		}
		o.CheckpointEvery, o.Keep, o.Threads = rapid.IntRange(1, 5).Draw(rt, "every"), rapid.IntRange(1, 3).Draw(rt, "keep"), rapid.IntRange(1, 2).Draw(rt, "threads")
		for range rapid.IntRange(1, 2).Draw(rt, "stops") {
			stoppedRun(rt, t, o, rapid.IntRange(0, 8).Draw(rt, "events until it is stopped"), rapid.Bool().Draw(rt, "killed"))
		}
		o.Report = nil
		if got := trained(t, o); !bytes.Equal(got, files[method]) {
			rt.Fatal("another file")
		}
	})
}

// stoppedRun asks a run to stop after some events. A killed one loses its last checkpoint half written.
func stoppedRun(rt *rapid.T, t *testing.T, o Options, after int, killed bool) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	h := &heard{t: t}
	o.Report = h.report
	h.on = func(map[string]any) {
		if after--; after <= 0 {
			stop()
		}
	}
	err := Run(ctx, o)
	switch {
	case errors.Is(err, ErrStopped):
		if !strings.HasSuffix(h.names(), "checkpoint stopped") || h.last("checkpoint")["step"] != h.last("stopped")["step"] {
			rt.Fatal("a stopped run says", h.names())
		}
	case err != nil:
		rt.Fatal(err)
	case h.last("done") == nil:
		rt.Fatal("a finished run says", h.names())
	}
	steps, err := shelf{o.Checkpoints, 1}.steps()
	if err != nil || len(steps) > o.Keep {
		rt.Fatal(steps, err)
	}
	if !killed || len(steps) == 0 {
		return
	}
	latest := shelf{o.Checkpoints, 1}.path(steps[0])
	b, err := os.ReadFile(latest)
	if err == nil {
		err = errors.Join(os.Remove(latest), os.WriteFile(latest+unfinished, b[:len(b)/2], 0o600))
	}
	if err != nil {
		rt.Fatal(err)
	}
}

func TestEventsOfARun(t *testing.T) {
	o := smallRun(t, Full)
	h := &heard{t: t}
	o.Report, o.Checkpoints, o.CheckpointEvery, o.Keep = h.report, filepath.Join(t.TempDir(), "ck"), 2, 1
	save := make(chan struct{}, 1)
	o.Save = save
	h.on = func(e map[string]any) {
		if e["event"] == "progress" && e["step"] == 1.0 {
			save <- struct{}{}
		}
	}
	trained(t, o)
	if got := h.names(); got != "start eval checkpoint checkpoint checkpoint eval done" {
		t.Error("events:", got)
	}
	for event, fields := range map[string]string{
		"start":      "base_sha256 batch data_sha256 eval_rows event method params pid rows seed t threads total trainable",
		"progress":   "eta_s event loss lr rss_mb step t tok_s total",
		"eval":       "event exact loss perplexity rows step t tokens",
		"checkpoint": "bytes event ms path sha256 step t",
		"done":       "artifact event metrics step t",
	} {
		var got []string
		for name := range h.last(event) {
			got = append(got, name)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != fields {
			t.Errorf("%s has %s", event, got)
		}
	}
	var steps []any
	for _, e := range h.events {
		if e["event"] == "checkpoint" {
			steps = append(steps, e["step"])
		}
	}
	if !reflect.DeepEqual(steps, []any{1.0, 2.0, 4.0}) {
		t.Error("checkpoints after steps", steps)
	}
	for _, said := range []map[string]any{h.last("checkpoint"), h.last("done")["artifact"].(map[string]any)} {
		path := said["path"].(string)
		sum, err := hashFile(path)
		st, _ := os.Stat(path)
		if err != nil || sum != said["sha256"] || float64(st.Size()) != said["bytes"] {
			t.Error(said, sum, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(o.Checkpoints, "*")); len(left) != 2 { // the lock and one checkpoint
		t.Error("left are", left)
	}
}

// A damaged checkpoint is passed over with a warning; one of another run, and a directory in use, are refused.
func TestResuming(t *testing.T) {
	o := smallRun(t, Full)
	o.Checkpoints, o.CheckpointEvery, o.Keep = filepath.Join(t.TempDir(), "ck"), 2, 3
	want := trained(t, o)
	s := shelf{o.Checkpoints, 3}
	damaged, err := os.ReadFile(s.path(4))
	if err != nil {
		t.Fatal(err)
	}
	damaged[len(damaged)/2]++
	if err := os.WriteFile(s.path(4), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	h := &heard{t: t}
	o.Report, o.Resume = h.report, "auto"
	if !bytes.Equal(trained(t, o), want) {
		t.Error("another file")
	}
	if h.names() != "start warning resumed checkpoint eval done" || h.last("resumed")["step"] != 2.0 {
		t.Error("events:", h.names(), h.last("resumed"))
	}
	for name, c := range map[string]struct {
		change func(o *Options)
		says   string
	}{
		"another rate": {func(o *Options) { o.LR, o.Beta = 2e-3, 0.4 }, "--lr (0.001, here 0.002)"},
		"another data": {func(o *Options) { o.Data = written(t, smallChats+smallChats) }, "--data (another file)"},
		"nothing said": {func(o *Options) { o.Resume = "" }, "checkpoints of an earlier run"},
		"no such file": {func(o *Options) { o.Resume = filepath.Join(t.TempDir(), "none.ckpt") }, "no such file"},
		"not whole":    {func(o *Options) { o.Resume = o.Data }, "no whole checkpoint"},
		"in use": {func(o *Options) {
			unlock, err := lock(o.Checkpoints)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(unlock)
		}, "another run writes its checkpoints there"},
	} {
		o := o
		c.change(&o)
		if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "in use" {
			break
		}
	}
}

func TestARateThatIsTooHighEndsTheRun(t *testing.T) {
	o := smallRun(t, Full)
	h := &heard{t: t}
	o.Report, o.LR, o.Clip, o.Steps, o.Warmup = h.report, 10, 0, 200, 0
	o.Schedule = "constant"
	for i := range 3 {
		o.WeightDecay = float64(i) / 2
		if err := Run(t.Context(), o); err != nil {
			if last := h.events[len(h.events)-1]; last["event"] != "error" || last["message"] != err.Error() {
				t.Error(last)
			}
		}
	}
}

// Every mistake in flags, model or data is told before the first step, with the file and the line.
func TestMistakesAreToldAtOnce(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("long ", 40)
	for name, c := range map[string]struct {
		change func(o *Options)
		says   string
	}{
		"no base":       {func(o *Options) { o.Base = "" }, "--base: it is missing"},
		"steps":         {func(o *Options) { o.Steps = -1 }, "--steps: -1 isn't between 1"},
		"batch":         {func(o *Options) { o.Batch = 0 }, "--batch: 0"},
		"rate":          {func(o *Options) { o.LR = -1 }, "--lr: -1"},
		"rank":          {func(o *Options) { o.Method, o.Rank = LoRA, -2 }, "--rank: -2"},
		"rank of full":  {func(o *Options) { o.Rank = 2 }, "no adapters"},
		"keep":          {func(o *Options) { o.Keep = 0 }, "--keep: 0"},
		"method":        {func(o *Options) { o.Method = "rlhf" }, `"rlhf" is not a method`},
		"schedule":      {func(o *Options) { o.Schedule = "steep" }, `"steep" is not a schedule`},
		"target":        {func(o *Options) { o.Method, o.Targets = LoRA, []string{"attn"} }, `"attn" is not a matrix`},
		"auto":          {func(o *Options) { o.Resume = "auto" }, "auto needs --checkpoints"},
		"onto the base": {func(o *Options) { o.Out = o.Base }, "is also read"},
		"out":           {func(o *Options) { o.Out = filepath.Join(dir, "none", "x.gguf") }, "there is no directory"},
		"out is a dir":  {func(o *Options) { o.Out = dir }, "not a regular file"},
		"base is gone":  {func(o *Options) { o.Base = filepath.Join(dir, "none.gguf") }, "no such file"},
		"base is none":  {func(o *Options) { o.Base = o.Data }, "not a GGUF file"},
		"data is gone":  {func(o *Options) { o.Data = filepath.Join(dir, "none.jsonl") }, "none.jsonl: no such file"},
		"data is a dir": {func(o *Options) { o.Data = dir }, "isn't a regular file"},
		"eval is gone":  {func(o *Options) { o.Eval = filepath.Join(dir, "held.jsonl") }, "held.jsonl: no such file"},
		"empty":         {func(o *Options) { o.Data = written(t, "\n \n") }, "rows.jsonl: it has no rows"},
		"no JSON":       {func(o *Options) { o.Data = written(t, smallChats+"{\n") }, "rows.jsonl:5: it isn't a row in JSON"},
		"too long":      {func(o *Options) { o.Data = written(t, `{"user": "a", "assistant": "`+long+`"}`) }, "rows.jsonl:1: it has 286 tokens (5 of the prompt), more than the 96"},
		"max length":    {func(o *Options) { o.MaxLength = 9; o.Eval = "" }, "rows.jsonl:2: it has"},
		"long line":     {func(o *Options) { o.Data = written(t, smallChats+strings.Repeat("x", maxLine+1)) }, "rows.jsonl:5: the line is longer"},
		"pairs":         {func(o *Options) { o.Data = written(t, smallPairs) }, "only the method dpo"},
		"no pairs":      {func(o *Options) { o.Method = DPO }, `rows.jsonl:1: the method dpo needs "chosen"`},
	} {
		t.Run(name, func(t *testing.T) {
			o := smallRun(t, Full)
			h := &heard{t: t}
			o.Report = h.report
			c.change(&o)
			err := Run(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, want %q", err, c.says)
			}
			if got := fmt.Sprint(h.events); !strings.Contains(got, "event:error") || strings.Contains(got, "event:start") {
				t.Error("it reported", got)
			}
		})
	}
}

func TestADiskThatIsTooSmall(t *testing.T) {
	var small *NoRoomError
	if err := room("--out", t.TempDir(), 1<<62); !errors.As(err, &small) || small.Need != 1<<62 {
		t.Error(err)
	}
	if err := room("--out", t.TempDir(), 1); err != nil {
		t.Error(err)
	}
}

func TestAMachineWithTooLittleMemory(t *testing.T) {
	_, l, _ := tiny(t, 0)
	full, adapters := memoryNeed(l.net, 0, nil), memoryNeed(l.net, 8, []string{"attn_q"})
	if full < 12*1000576 || adapters > full-8*1000576 {
		t.Error(full, adapters)
	}
	var little *NoMemoryError
	if err := enoughMemory(full, strings.NewReader("MemTotal: 9 kB\nMemAvailable:      10000 kB\n")); !errors.As(err, &little) || little.Available != 10000<<10 {
		t.Error(err)
	}
	for _, enough := range []string{"MemAvailable: 1000000 kB", "", "MemAvailable: x"} {
		if err := enoughMemory(full, strings.NewReader(enough)); err != nil {
			t.Error(err)
		}
	}
}
