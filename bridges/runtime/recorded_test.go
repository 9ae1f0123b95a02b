package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

// recording is a file of testdata/runtimes; its README says what the fields mean.
type recording struct {
	Log       []string
	LoadingMS int `json:"loading_ms"`
	State     string
	Exchanges []struct {
		In           []string
		Method, Path string
		Request      map[string]any
		Status       int
		Body         json.RawMessage
		Then         string
	}

	mu    sync.Mutex
	model string
	heard []string
}

func readRecording(path, model string) (*recording, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &recording{model: model}
	return r, json.Unmarshal(b, r)
}

// ServeHTTP answers as was recorded, and 501 to what was not recorded.
func (r *recording) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = append(r.heard, req.Method+" "+req.URL.RequestURI()+" "+string(body))
	for _, e := range r.Exchanges {
		if e.Method != req.Method || e.Path != req.URL.RequestURI() || len(e.In) > 0 && !slices.Contains(e.In, r.State) || !r.fits(e.Request, body) {
			continue
		}
		if e.Then != "" {
			r.State = e.Then
		}
		var text string
		if json.Unmarshal(e.Body, &text) != nil {
			text = string(e.Body)
			w.Header().Set("Content-Type", "application/json")
		}
		w.WriteHeader(e.Status)
		_, _ = io.WriteString(w, strings.ReplaceAll(text, "MODEL", r.model))
		return
	}
	fmt.Println("unexpected", req.Method, req.URL.RequestURI(), string(body))
	w.WriteHeader(http.StatusNotImplemented)
}

func (r *recording) fits(want map[string]any, body []byte) bool {
	var got map[string]any
	_ = json.Unmarshal(body, &got)
	for key, value := range want {
		if value == "MODEL" {
			value = r.model
		}
		if !reflect.DeepEqual(got[key], value) {
			return false
		}
	}
	return true
}

// playRecording is a worker that behaves as was recorded: it prints, loads, listens.
func playRecording(path, port string) int {
	r, err := readRecording(path, os.Getenv("MODELOPS_MODEL"))
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("mode", os.Getenv("VLLM_SERVER_DEV_MODE"))
	for _, line := range r.Log {
		fmt.Println(line)
	}
	<-time.After(time.Duration(r.LoadingMS) * time.Millisecond)
	if err := http.ListenAndServe(net.JoinHostPort("127.0.0.1", port), r); err != nil {
		fmt.Println("error:", err)
	}
	return 1
}

func recorded(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("../../testdata/runtimes/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// recordedEngine is a Runtime all of whose engines play one recording, and a model for it.
func recordedEngine(t *testing.T, engine, name string) (*Runtime, *messages.ModelSpec) {
	t.Helper()
	program := writeScript(t)
	r := New(Options{
		LogDir: t.TempDir(), Env: newEnviron("FAKE=recorded:" + recorded(t, name)), PassEnv: []string{"FAKE"}, StopGrace: 2 * time.Second,
		LlamaServer: program, VLLM: program, Transformers: program, WhisperServer: program,
	})
	folder := t.TempDir()
	safetensors(t, filepath.Join(folder, "model.safetensors"), 10, 10)
	return r, &messages.ModelSpec{Name: "org/m:1", Runtime: engine, Path: folder, CheckEndpoint: "/health", LoadTimeoutSeconds: 300}
}

func TestRecordedEngines(t *testing.T) {
	tests := []struct {
		engine, recording string
		slots             uint32
		last              string // of what the log must not lack
	}{
		{"vllm", "vllm", 256, "100% Completed"},
		{"vllm", "vllm-pooling", 256, ""},
		{"transformers", "transformers", 1, "Uvicorn running"},
		{"whisper.cpp", "whisper", 1, "listening"},
	}
	for _, c := range tests {
		t.Run(c.recording, func(t *testing.T) {
			t.Parallel()
			r, spec := recordedEngine(t, c.engine, c.recording)
			w := start(t, r, spec)
			measured, slots, err := r.AwaitReady(t.Context(), spec, w)
			if err != nil || slots != c.slots || measured < 1<<20 {
				t.Fatal(measured, slots, err, process.Tail(w.LogPath, 20))
			}
			if err := r.Healthy(t.Context(), spec, w); err != nil {
				t.Error(err)
			}
			log := strings.Join(process.Tail(w.LogPath, 40), "\n")
			if strings.Contains(log, "unexpected") || !strings.Contains(log, c.last) {
				t.Error(log)
			}
		})
	}
}

func TestRecordedOutOfMemory(t *testing.T) {
	r, spec := recordedEngine(t, "vllm", "vllm-oom")
	w := start(t, r, spec)
	_, _, err := r.AwaitReady(t.Context(), spec, w)
	if messages.CodeOf(err) != messages.ModelLoadError || !OutOfMemory(err) || !strings.Contains(err.Error(), "Tried to allocate 2.00 GiB") {
		t.Error(err)
	}
}

func TestRecordedSleep(t *testing.T) {
	r, spec := recordedEngine(t, "vllm", "vllm")
	if r.CanSleep(spec) {
		t.Error("it sleeps without --enable-sleep-mode")
	}
	spec.Args = []string{"--enable-sleep-mode"}
	w := start(t, r, spec)
	if _, _, err := r.AwaitReady(t.Context(), spec, w); err != nil {
		t.Fatal(err)
	}
	if log := process.Tail(w.LogPath, 40); !slices.Contains(log, "mode 1") {
		t.Error("its development endpoints are off:", log)
	}
	sleep := func(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error {
		if holds, err := r.Sleep(ctx, spec, w); holds == 0 || err != nil {
			return fmt.Errorf("asleep it holds %d bytes: %w", holds, err)
		}
		return nil
	}
	steps := []struct {
		name   string
		do     func(context.Context, *messages.ModelSpec, *messages.Worker) error
		asleep bool
	}{{"sleep", sleep, true}, {"sleep again", sleep, true}, {"wake", r.Wake, false}, {"wake again", r.Wake, false}}
	for _, s := range steps {
		if err := s.do(t.Context(), spec, w); err != nil {
			t.Error(s.name, err)
		}
		if is, err := r.Asleep(t.Context(), spec, w); err != nil || is != s.asleep {
			t.Error(s.name, is, err)
		}
	}
	r.o.MeasureAsleep = func(pid int64) (uint64, bool, error) { return 7, pid == w.Pid, nil }
	if holds, err := r.Sleep(t.Context(), spec, w); holds != 7 || err != nil {
		t.Error("what was measured of the sleeping worker isn't told:", holds, err)
	}
	for _, engine := range []string{"embedded", "transformers", "command", "openai", "ollama", "llama.cpp"} {
		other := &messages.ModelSpec{Name: "m", Runtime: engine, Path: "/m"}
		if _, err := r.Sleep(t.Context(), other, w); messages.CodeOf(err) != messages.Unsupported || r.CanSleep(other) {
			t.Error(engine, err)
		}
	}
}

// playOllama attaches one model of a server that runs already.
func playOllama(t *testing.T, name string) (*Runtime, *messages.ModelSpec, *messages.Worker, *recording) {
	t.Helper()
	rec, err := readRecording(recorded(t, name), "gemma3:4b")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(rec)
	t.Cleanup(server.Close)
	r := New(Options{OllamaURL: server.URL})
	spec := &messages.ModelSpec{Name: "gemma3:4b", Runtime: "ollama", CheckEndpoint: "/health", LoadTimeoutSeconds: 300}
	w, err := r.Start(t.Context(), spec, nil, nonce(t))
	if err != nil || !w.Remote || w.Url != server.URL {
		t.Fatal(w, err)
	}
	return r, spec, w, rec
}

func TestRecordedOllama(t *testing.T) {
	tests := []struct {
		recording string
		bytes     uint64
	}{{"ollama", 4137025024}, {"ollama-embedding", 300000000}}
	for _, c := range tests {
		r, spec, w, rec := playOllama(t, c.recording)
		measured, slots, err := r.AwaitReady(t.Context(), spec, w)
		if err != nil || measured != c.bytes || slots != 1 || rec.State != "loaded" {
			t.Fatal(c.recording, measured, slots, err, rec.heard)
		}
		if peak, err := r.Peak(t.Context(), spec, w); err != nil || peak != c.bytes {
			t.Error(c.recording, peak, err)
		}
		if err := r.Stop(t.Context(), spec, w); err != nil || rec.State != "unloaded" {
			t.Error(c.recording, err, rec.heard)
		}
	}
	r, spec, _, _ := playOllama(t, "ollama")
	if e, err := r.Estimate(t.Context(), spec); err != nil || e.Bytes != 3338801804+3338801804/5 {
		t.Error(e, err)
	}
}

func TestRecordedOllamaRefuses(t *testing.T) {
	r, spec, w, _ := playOllama(t, "ollama-missing")
	_, _, err := r.AwaitReady(t.Context(), spec, w)
	if messages.CodeOf(err) != messages.ModelLoadError || !strings.Contains(messages.AsError(err).Hint, "ollama pull gemma3:4b") {
		t.Error(err)
	}
	r, spec, w, _ = playOllama(t, "ollama-oom")
	_, _, err = r.AwaitReady(t.Context(), spec, w)
	if messages.CodeOf(err) != messages.ModelLoadError || !OutOfMemory(err) {
		t.Error(err)
	}
}

func TestOllamaThatIsGone(t *testing.T) {
	r, spec, w, _ := playOllama(t, "ollama")
	w.Url = "http://127.0.0.1:1"
	if err := r.Stop(t.Context(), spec, w); err != nil {
		t.Error("nothing is loaded where no server is:", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // meant to pass: no server is there
	defer cancel()
	if _, _, err := r.AwaitReady(ctx, spec, w); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
