package train

import (
	"cmp"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Methods of training.
const (
	Full = "full"
	LoRA = "lora"
	DPO  = "dpo"
)

// Options of a run. Defaults has the usual ones; what is in brackets is what zero means.
type Options struct {
	Base string // GGUF file to start from
	Data string // rows to learn, JSON lines
	Eval string // held-out rows [none]
	Out  string // GGUF file to write

	Method      string // Full, LoRA or DPO
	Steps       int
	Batch       int      // rows (or pairs) a step
	MicroBatch  int      // rows computed at the same time; the gradients are added [as many as have about 4096 tokens]
	LR          float64  // highest learning rate [Full 5e-4, LoRA 5e-3, DPO 1e-4; DPO of adapters 5e-3]
	Schedule    string   // linear, cosine or constant
	Warmup      int      // steps over which the rate rises
	WeightDecay float64  // of matrices, a step, times the rate
	Clip        float64  // longest gradient [any]
	Rank        int      // of the adapters [LoRA 8, otherwise none]
	Alpha       float64  // adapters count Alpha/Rank times
	Targets     []string // matrices that get adapters [all of Targets]
	Beta        float64  // how firmly DPO holds to the model it started from
	Seed        uint64
	Threads     int // [as many as the process may use]
	MaxLength   int // tokens a row may have [the model's context]

	Checkpoints     string // directory [none are written]
	CheckpointEvery int    // steps
	Keep            int    // how many stay
	Resume          string // a checkpoint, or "auto": the latest whole one of Checkpoints, if there is one

	Report Reporter        // gets the events; nil: nobody
	Save   <-chan struct{} // each value asks for a checkpoint after the present step
}

// Defaults are the usual options of a run.
func Defaults() Options {
	return Options{Method: Full, Steps: 200, Batch: 8, Schedule: "linear", Warmup: 10, Clip: 1, Alpha: 16, Beta: 0.1, Seed: 1, CheckpointEvery: 25, Keep: 3}
}

// normal refuses what can't be meant, and settles what depends on the method. What means nothing there becomes zero, so that
// it doesn't tell runs apart.
func (o Options) normal() (Options, error) {
	if err := o.check(); err != nil {
		return o, err
	}
	if o.Method == LoRA {
		o.Rank = cmp.Or(o.Rank, 8)
	}
	rate := map[string]float64{Full: 5e-4, LoRA: 5e-3, DPO: 1e-4}[o.Method]
	if o.Method == DPO && o.Rank > 0 {
		rate = 5e-3
	}
	o.LR = cmp.Or(o.LR, rate)
	o.Threads = cmp.Or(o.Threads, runtime.GOMAXPROCS(0))
	if o.Method != DPO {
		o.Beta = 0
	}
	if o.Rank == 0 {
		o.Alpha, o.Targets = 0, nil
		return o, nil
	}
	if len(o.Targets) == 0 {
		o.Targets = Targets
	}
	o.Targets = slices.Compact(slices.Sorted(slices.Values(o.Targets)))
	return o, nil
}

func (o Options) check() error {
	for _, needed := range []struct{ flag, value string }{{"--base", o.Base}, {"--data", o.Data}, {"--out", o.Out}} {
		if needed.value == "" {
			return wrong(needed.flag, "it is missing")
		}
	}
	switch {
	case o.Method != Full && o.Method != LoRA && o.Method != DPO:
		return wrong("--method", "%q is not a method", o.Method).hint("full, lora or dpo")
	case o.Schedule != "linear" && o.Schedule != "cosine" && o.Schedule != "constant":
		return wrong("--schedule", "%q is not a schedule", o.Schedule).hint("linear, cosine or constant")
	case o.Method == Full && (o.Rank > 0 || len(o.Targets) > 0):
		return wrong("--rank", "the method full has no adapters").hint("--method lora, or dpo with --rank")
	case o.Resume == "auto" && o.Checkpoints == "":
		return wrong("--resume", "auto needs --checkpoints, where the checkpoints are")
	}
	for _, n := range []struct {
		flag            string
		value, min, max int
	}{{"--steps", o.Steps, 1, math.MaxInt32}, {"--batch", o.Batch, 1, 1 << 16}, {"--micro-batch", o.MicroBatch, 0, 1 << 16}, {"--warmup", o.Warmup, 0, math.MaxInt32},
		{"--rank", o.Rank, 0, 4096}, {"--threads", o.Threads, 0, 1024}, {"--checkpoint-every", o.CheckpointEvery, 1, math.MaxInt32},
		{"--keep", o.Keep, 1, math.MaxInt32}, {"--max-length", o.MaxLength, 0, 1 << 24}} {
		if n.value < n.min || n.value > n.max {
			return wrong(n.flag, "%d isn't between %d and %d", n.value, n.min, n.max)
		}
	}
	for _, n := range []struct {
		flag            string
		value, min, max float64
	}{{"--lr", o.LR, 0, 10}, {"--alpha", o.Alpha, 1e-6, 1e6}, {"--beta", o.Beta, 1e-6, 1e3}, {"--weight-decay", o.WeightDecay, 0, 1}, {"--clip", o.Clip, 0, math.MaxFloat64}} {
		if !(n.value >= n.min && n.value <= n.max) { // not a number is neither
			return wrong(n.flag, "%v isn't between %v and %v", n.value, n.min, n.max)
		}
	}
	for _, target := range o.Targets {
		if !slices.Contains(Targets, target) {
			return wrong("--targets", "%q is not a matrix that can have an adapter", target).hint(strings.Join(Targets, ", "))
		}
	}
	return o.checkOut()
}

// checkOut refuses to write over what is read.
func (o Options) checkOut() error {
	out, err := os.Stat(o.Out)
	if err != nil {
		return nil
	}
	if !out.Mode().IsRegular() {
		return wrong("--out", "%s is not a regular file", o.Out)
	}
	for _, path := range []string{o.Base, o.Data, o.Eval} {
		if st, err := os.Stat(path); err == nil && os.SameFile(st, out) {
			return wrong("--out", "%s is also read: a stopped run could not go on", filepath.Base(path))
		}
	}
	return nil
}

func (o Options) settings(base, data string) settings {
	return settings{Base: base, Data: data, Method: o.Method, Steps: o.Steps, Batch: o.Batch, Micro: o.MicroBatch, LR: o.LR, Schedule: o.Schedule, Warmup: o.Warmup,
		Decay: o.WeightDecay, Clip: o.Clip, Rank: o.Rank, Alpha: o.Alpha, Targets: o.Targets, Beta: o.Beta, Seed: o.Seed, MaxLength: o.MaxLength}
}
