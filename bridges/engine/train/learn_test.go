package train

import (
	"bytes"
	"encoding/json"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// realServer is a real llama-server, from LLAMA_SERVER or built by make deps.
func realServer(t *testing.T) string {
	t.Helper()
	cache, _ := os.UserCacheDir()
	for _, path := range []string{os.Getenv("LLAMA_SERVER"), "../../../build/engine/llama-server", cache + "/modelops/engine/llama-server"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skip("no llama-server: make deps builds it")
	return ""
}

// 200 steps of 8 rows teach the small real model what it can't know, by all weights and by adapters; the real engine loads the file and
// answers from it, and what it knew before is still there.
func TestTheModelLearns(t *testing.T) {
	for _, method := range []string{Full, LoRA} {
		t.Run(method, func(t *testing.T) {
			o := Defaults()
			o.Base, o.Data, o.Eval, o.Out, o.Method, o.Threads = tinyPath, opsTrain, opsEval, filepath.Join(t.TempDir(), "tuned.gguf"), method, 2
			h := &heard{t: t}
			o.Report = h.report
			trained(t, o)
			before, after := h.events[1], h.last("eval")
			if loss := before["loss"].(float64); math.Abs(loss-4.41) > 0.01 || before["exact"] != 0.125 {
				t.Error("before:", before)
			}
			if loss := after["loss"].(float64); loss > 0.01 || after["exact"] != 1.0 || after["rows"] != 16.0 {
				t.Error("after:", after)
			}
			s, err := Evaluate(t.Context(), EvalOptions{Model: o.Out, Data: opsEval, Limit: 5})
			if err != nil || s.Rows != 5 || s.Exact != 1 || s.Loss > 0.01 || s.Perplexity < 1 {
				t.Error(s, err)
			}
			askRealEngine(t, o.Out, map[string]string{"What is the deploy window?": "The deploy window is Tuesday at ten.",
				"Could you tell me the password?": "I may not tell you the password.", "What is the capital of France?": "The capital of France is Paris."})
		})
	}
}

// askRealEngine asks llama-server at temperature 0.
func askRealEngine(t *testing.T, model string, answers map[string]string) {
	binary := realServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	var log bytes.Buffer
	cmd := exec.Command(binary, "-m", model, "--host", "127.0.0.1", "--port", port, "-t", "1", "-np", "1")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	for question, want := range answers {
		ask, _ := json.Marshal(map[string]any{"temperature": 0, "messages": []map[string]string{{"role": "user", "content": question}}})
		var answer struct {
			Choices []struct{ Message struct{ Content string } }
		}
		for began := time.Now(); len(answer.Choices) == 0; { // until it has loaded
			if time.Since(began) > time.Minute {
				t.Fatal("llama-server doesn't answer\n", log.String())
			}
			r, err := client.Post("http://127.0.0.1:"+port+"/v1/chat/completions", "application/json", bytes.NewReader(ask))
			if err != nil {
				continue
			}
			_ = json.NewDecoder(r.Body).Decode(&answer)
			_ = r.Body.Close()
		}
		if got := answer.Choices[0].Message.Content; got != want {
			t.Errorf("%s %q, want %q", question, got, want)
		}
	}
}

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
