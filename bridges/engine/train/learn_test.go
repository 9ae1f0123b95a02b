package train

import (
	"path/filepath"
	"testing"
)

// After preferences of the answers that are right, the model prefers them where it didn't.
func TestTheModelPrefers(t *testing.T) {
	o := Defaults()
	o.Base, o.Data, o.Out, o.Method, o.Threads, o.Steps = tinyPath, opsPairs, filepath.Join(t.TempDir(), "tuned.gguf"), DPO, 2, 20
	h := &heard{t: t}
	o.Report = h.report
	trained(t, o)
	metrics := h.last("done")["metrics"].(map[string]any)
	first := h.last("start")
	if metrics["accuracy"] != 1.0 || metrics["margin"].(float64) < 0.5 || metrics["loss"].(float64) > 0.5 || first["trainable"] != first["params"] {
		t.Error(metrics)
	}
}

func TestEvaluateMistakes(t *testing.T) {
	good := EvalOptions{Model: smallFile(t), Data: written(t, smallChats), Threads: 1}
	if s, err := Evaluate(t.Context(), good); err != nil || s.Rows != 3 || s.Tokens != 15 {
		t.Error(s, err)
	}
	for name, change := range map[string]func(o *EvalOptions){
		"model": func(o *EvalOptions) { o.Model = "" }, "data": func(o *EvalOptions) { o.Data = "" }, "limit": func(o *EvalOptions) { o.Limit = -1 },
		"threads": func(o *EvalOptions) { o.Threads = -1 }, "length": func(o *EvalOptions) { o.MaxLength = -1 }, "no model": func(o *EvalOptions) { o.Model = o.Data },
		"gone": func(o *EvalOptions) { o.Data += "x" },
	} {
		o := good
		change(&o)
		h := &heard{t: t}
		if _, err := EvaluateReporting(t.Context(), o, h.report); err == nil || h.names() != "error" {
			t.Errorf("%s: %v %s", name, err, h.names())
		}
	}
}

// BenchmarkStep is a step of 8 rows of the small real model; the plain one is without wide registers.
func BenchmarkStep(b *testing.B) {
	for _, plain := range []bool{false, true} {
		name := "tiles"
		if plain {
			name = "plain"
		}
		b.Run(name, func(b *testing.B) {
			defer func(was bool) { haveAVX2 = was }(haveAVX2)
			haveAVX2 = haveAVX2 && !plain
			_, l, r := tiny(b, 0)
			l.net.team = newTeam[float32](1)
			examples := chosenRows(b, r, opsTrain, []int{0, 7, 13, 19, 22, 28, 31, 39})
			for step := 1; b.Loop(); step++ {
				supervised(l.net, examples, 0)
				update(l.net.team, l.params, 1e-6, 0, 1, step)
			}
		})
	}
}
