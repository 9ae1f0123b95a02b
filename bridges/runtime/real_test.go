package runtime

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"modelops/bridges/process"
	"modelops/messages"
)

// realServer is a real llama-server, from LLAMA_SERVER or built into build/engine.
func realServer(t *testing.T) string {
	t.Helper()
	cache, _ := os.UserCacheDir()
	for _, path := range []string{os.Getenv("LLAMA_SERVER"), "../../build/engine/llama-server", cache + "/modelops/engine/llama-server"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skip("no llama-server: make deps builds it")
	return ""
}

// realWorker is a real llama-server that is ready.
func realWorker(t *testing.T, args ...string) (*Runtime, *messages.ModelSpec, *messages.Worker) {
	t.Helper()
	r := New(Options{LlamaServer: realServer(t), LogDir: t.TempDir(), Threads: 1, Slots: 2})
	spec := &messages.ModelSpec{Name: "tiny", Runtime: "llama.cpp", Path: modelFile(t), Args: args}
	w := start(t, r, spec)
	if _, _, err := r.AwaitReady(t.Context(), spec, w); err != nil {
		t.Fatal(err, process.Tail(w.LogPath, 20))
	}
	return r, spec, w
}

func TestRealWarmUp(t *testing.T) {
	for _, args := range [][]string{nil, {"--embeddings", "--pooling", "mean"}} {
		r, spec, w := realWorker(t, args...)
		began := time.Now()
		if err := r.WarmUp(t.Context(), spec, w); err != nil {
			t.Error(args, err)
		}
		t.Log(args, "a warm-up takes", time.Since(began))
	}
}

func TestRealSleep(t *testing.T) {
	r, spec, w := realWorker(t, "--sleep-idle-seconds", "5") // long enough to see it awake
	if !r.CanSleep(spec) {
		t.Fatal("it can't sleep")
	}
	if is, err := r.Asleep(t.Context(), spec, w); err != nil || is {
		t.Error("awake after its load:", is, err)
	}
	awake, _ := r.Used(t.Context(), spec, w)
	asleep, err := r.Sleep(t.Context(), spec, w)
	if err != nil {
		t.Fatal(err)
	}
	if is, err := r.Asleep(t.Context(), spec, w); err != nil || !is || asleep >= awake {
		t.Error("asleep:", is, err, "with", asleep, "of", awake)
	}
	if err := r.Healthy(t.Context(), spec, w); err != nil {
		t.Error(err)
	}
	if err := r.Wake(t.Context(), spec, w); err != nil {
		t.Fatal(err)
	}
	if is, err := r.Asleep(t.Context(), spec, w); err != nil || is {
		t.Error("awake again:", is, err)
	}
}

// What the real engine says of its buffers is what the estimate reckons.
func TestRealEstimate(t *testing.T) {
	r, spec, w := realWorker(t, "--cache-type-k", "q8_0", "--cache-type-v", "q8_0", "-fa", "on", "-lv", "4")
	e, err := r.Estimate(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	log := strings.Join(process.Tail(w.LogPath, 400), "\n")
	m := regexp.MustCompile(`KV buffer size = +([0-9.]+) MiB`).FindStringSubmatch(log)
	if m == nil {
		t.Fatal("its log tells no KV buffer size")
	}
	mib, _ := strconv.ParseFloat(m[1], 64)
	if got := float64(e.KV) / (1 << 20); math.Abs(got-mib) > 0.02 {
		t.Errorf("a cache of %.2f MiB, the engine has %.2f", got, mib)
	}
	used, _ := r.Used(t.Context(), spec, w)
	t.Logf("estimated %d, resident %d, weights %d, cache %d, work %d", e.Bytes, used, e.Weights, e.KV, e.Compute)
}

// S26: the real engine refuses what we would refuse, and says so in its own words.
func TestS26RealEngineRefusesDamage(t *testing.T) {
	whole, err := os.ReadFile(modelFile(t))
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/cut.gguf"
	if err := os.WriteFile(path, whole[:200000], 0o644); err != nil {
		t.Fatal(err)
	}
	r := New(Options{LlamaServer: realServer(t), LogDir: t.TempDir(), Threads: 1})
	spec := &messages.ModelSpec{Name: "tiny", Runtime: "llama.cpp", Path: path, VramBytes: 1 << 20}
	w := start(t, r, spec)
	_, _, err = r.AwaitReady(t.Context(), spec, w)
	words, _ := LastWords(w.LogPath)
	if messages.CodeOf(err) != messages.ModelLoadError || OutOfMemory(err) || !strings.Contains(words, "model loading error") {
		t.Error(err, words)
	}
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
		t.Errorf("measured %d, needed %v %v, slots %d", measured, need, err, slots)
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
	if e, err := r.Watch(t.Context(), w); e.Code != 0 || err != nil {
		t.Error(e, err)
	}
}
