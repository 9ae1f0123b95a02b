//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"math"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// 200 steps of 8 rows teach the small real model what it can't know, by all weights and by adapters; the real engine loads the file and
// answers from it, and what it knew before is still there.
func TestTheModelLearns(t *testing.T) {
	t.Parallel()
	const data = "../../../testdata/train/"
	for _, method := range []string{"full", "lora"} {
		out := filepath.Join(t.TempDir(), "tuned.gguf")
		ran := execute(t, nil, binary, "train", "--base", "../../../testdata/model/tiny.gguf", "--data", data+"ops-train.jsonl", "--eval", data+"ops-eval.jsonl", "--out", out, "--method", method, "--threads", "2")
		if ran.code != 0 {
			t.Fatal(method, ran)
		}
		var evals []map[string]any
		for line := range strings.Lines(ran.out) {
			var said map[string]any
			if json.Unmarshal([]byte(line), &said) == nil && said["event"] == "eval" {
				evals = append(evals, said)
			}
		}
		if len(evals) < 2 {
			t.Fatal(method, ran)
		}
		before, after := evals[0], evals[len(evals)-1]
		if loss := before["loss"].(float64); math.Abs(loss-4.41) > 0.01 || before["exact"] != 0.125 {
			t.Error(method, "before:", before)
		}
		if loss := after["loss"].(float64); loss > 0.01 || after["exact"] != 1.0 || after["rows"] != 16.0 {
			t.Error(method, "after:", after)
		}
		if judged := execute(t, nil, binary, "evaluate", "--model", out, "--data", data+"ops-eval.jsonl", "--limit", "5"); judged.code != 0 || !strings.Contains(judged.out, `"exact":1`) {
			t.Error(method, judged)
		}
		askRealEngine(t, out, map[string]string{"What is the deploy window?": "The deploy window is Tuesday at ten.",
			"Could you tell me the password?": "I may not tell you the password.", "What is the capital of France?": "The capital of France is Paris."})
	}
}

// askRealEngine asks llama-server at temperature 0.
func askRealEngine(t *testing.T, model string, answers map[string]string) {
	server := llamaServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	var log bytes.Buffer
	cmd := exec.Command(server, "-m", model, "--host", "127.0.0.1", "--port", port, "-t", "1", "-np", "1")
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
