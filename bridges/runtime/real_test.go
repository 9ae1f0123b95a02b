package runtime

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"modelops/messages"
)

// realServer is a real llama-server, from LLAMA_SERVER or built into build/engine.
func realServer(t *testing.T) string {
	t.Helper()
	path := os.Getenv("LLAMA_SERVER")
	if path == "" {
		path = "../../build/engine/llama-server"
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("no llama-server: set LLAMA_SERVER, or build it into build/engine with testdata/model/build-llama-server.sh")
	}
	return path
}

func TestRealLlamaServer(t *testing.T) {
	r := New(Options{LlamaServer: realServer(t), LogDir: t.TempDir(), Threads: 1, Slots: 2})
	spec := &messages.ModelSpec{Name: "org/tiny:1", UseModelName: "tiny", Runtime: "llama.cpp", Path: modelFile(t)}
	w := start(t, r, spec)
	measured, slots, err := r.AwaitReady(t.Context(), spec, w)
	if err != nil {
		t.Fatal(err)
	}
	need, err := r.Need(t.Context(), spec)
	if err != nil || slots != 2 || measured < 8<<20 {
		t.Errorf("measured %d, needed %d %v, slots %d", measured, need, err, slots)
	}
	client := newClient(t)
	g := &messages.Grant{Model: spec.Name, Upstream: "tiny", URL: w.Url}
	ask := &messages.InferenceRequest{Prompt: "What is the capital of France?", Temperature: proto.Float32(0)}
	pieces := 0
	res, err := client.Run(t.Context(), g, ask, func(*messages.InferenceChunk) error { pieces++; return nil })
	if err != nil || res.ResponseText != "The capital of France is Paris." || res.FinishReason != "stop" || pieces < 5 || res.PromptTokens == 0 {
		t.Errorf("%v %v in %d pieces", res, err, pieces)
	}
	res, err = client.Run(t.Context(), g, &messages.InferenceRequest{Raw: true, Prompt: "She was", MaxTokens: 4}, nil)
	if err != nil || res.TokensGenerated != 4 || res.FinishReason != "length" {
		t.Errorf("%v %v", res, err)
	}
	long := &messages.InferenceRequest{Prompt: strings.Repeat("hello ", 2000)}
	if _, err := client.Run(t.Context(), g, long, nil); messages.CodeOf(err) != messages.ContextTooLong {
		t.Error(err)
	}
	if _, err := client.Run(t.Context(), g, &messages.InferenceRequest{Parameters: map[string]string{"top_k": `"x"`}}, nil); messages.CodeOf(err) != messages.InvalidArgument {
		t.Error(err)
	}
	if err := r.Stop(t.Context(), spec, w); err != nil {
		t.Fatal(err)
	}
	if code, reason, _, err := r.Watch(t.Context(), w); code != 0 || err != nil {
		t.Error(code, reason, err)
	}
}
