package runtime

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"modelops/messages"
)

func TestWarmUp(t *testing.T) {
	type said map[string]int // path -> status
	tests := []struct {
		name, engine, args string
		says               said
		want               []string // paths that are asked
		fails              string
	}{
		{"chat", "llama.cpp", "", said{"/v1/chat/completions": 200}, []string{chat.path}, ""},
		{"no chat template", "vllm", "", said{"/v1/chat/completions": 400, "/v1/completions": 200}, []string{chat.path, complete.path}, ""},
		{"only embeddings", "vllm", "", said{"/v1/chat/completions": 404, "/v1/completions": 404, "/v1/embeddings": 200}, []string{chat.path, complete.path, embed.path}, ""},
		{"speaks none of them", "vllm", "", said{}, []string{chat.path, complete.path, embed.path}, ""},
		{"not supported", "llama.cpp", "", said{"/v1/chat/completions": 501, "/v1/completions": 200}, []string{chat.path, complete.path}, ""},
		{"declared embeddings", "llama.cpp", "--embeddings", said{"/v1/embeddings": 200}, []string{embed.path}, ""},
		{"declared pooling", "vllm", "--runner=pooling", said{"/v1/embeddings": 200}, []string{embed.path}, ""},
		{"reranker", "llama.cpp", "--reranking", said{}, nil, ""},
		{"whisper", "whisper.cpp", "", said{}, nil, ""},
		{"command", "command", "", said{}, nil, ""},
		{"failure", "llama.cpp", "", said{"/v1/chat/completions": 500}, []string{chat.path}, "answered 500: it broke"},
	}
	for _, c := range tests {
		var asked []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			asked = append(asked, req.URL.Path)
			var body struct{ Model string }
			if b, _ := io.ReadAll(req.Body); json.Unmarshal(b, &body) != nil || body.Model != `m"` {
				t.Errorf("%s: asked with %s", c.name, b)
			}
			status := c.says[req.URL.Path]
			if status == 0 {
				status = http.StatusNotFound
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"error":{"message":"it broke"}}`)
		}))
		spec := &messages.ModelSpec{Name: `m"`, Runtime: c.engine, Args: strings.Fields(c.args)}
		err := New(Options{}).WarmUp(t.Context(), spec, &messages.Worker{Url: server.URL})
		server.Close()
		if !slices.Equal(asked, c.want) || (err != nil) != (c.fails != "") {
			t.Errorf("%s: %v, asked %v", c.name, err, asked)
		}
		if err != nil && (messages.CodeOf(err) != messages.ModelLoadError || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestWarmUpWaitsForWhatIsNotQuiteReady(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	err := New(Options{}).WarmUp(t.Context(), &messages.ModelSpec{Name: "m", Runtime: "llama.cpp"}, &messages.Worker{Url: server.URL})
	if err != nil || asked.Load() != 3 {
		t.Error(err, asked.Load())
	}
}

// A worker that dies of its first request fails the load by how it ended, not by a broken connection.
func TestWorkerThatDiesOfItsFirstRequest(t *testing.T) {
	r, spec := fragile(t, "dies")
	w := start(t, r, spec)
	_, _, err := r.AwaitReady(t.Context(), spec, w)
	if messages.CodeOf(err) != messages.ModelLoadError || !strings.Contains(err.Error(), "exit code 3") || !OutOfMemory(err) {
		t.Error(err)
	}
}

func TestWorkerThatHangsAtItsFirstRequest(t *testing.T) {
	r, spec := fragile(t, "hangs")
	w := start(t, r, spec)
	var err error
	// On a busy machine the worker may not be up in time for its first request: then the time is too short for this test.
	for spec.LoadTimeoutSeconds = 1; err == nil || strings.Contains(err.Error(), "was not ready") && spec.LoadTimeoutSeconds < 300; spec.LoadTimeoutSeconds *= 2 {
		_, _, err = r.AwaitReady(t.Context(), spec, w)
	}
	if messages.CodeOf(err) != messages.ModelLoadError || !strings.Contains(err.Error(), "no answer to its first request within ") {
		t.Error(err)
	}
}

func fragile(t *testing.T, mode string) (*Runtime, *messages.ModelSpec) {
	t.Helper()
	r := newRuntime(t, mode)
	r.o.LlamaServer = writeScript(t)
	return r, &messages.ModelSpec{Name: "fake", Runtime: "llama.cpp", Path: modelFile(t)}
}

func TestPeakIsAtLeastWhatIsUsed(t *testing.T) {
	r := newRuntime(t, "parent")
	w := start(t, r, fakeSpec())
	if _, _, err := r.AwaitReady(t.Context(), fakeSpec(), w); err != nil {
		t.Fatal(err)
	}
	used, err := r.Used(t.Context(), fakeSpec(), w)
	if err != nil || used < 1<<20 {
		t.Error(used, err)
	}
	peak, err := r.Peak(t.Context(), fakeSpec(), w)
	if err != nil || peak < used/2 || peak < 1<<20 {
		t.Error(peak, used, err)
	}
	r.ram, r.o.Measure = false, func(int64) (uint64, error) { return 42, nil }
	if peak, err := r.Peak(t.Context(), fakeSpec(), w); err != nil || peak != 42 {
		t.Error("a device's own figure is not believed:", peak, err)
	}
	remote := &messages.Worker{Remote: true, Url: "http://127.0.0.1:1"}
	if peak, err := r.Peak(t.Context(), &messages.ModelSpec{Runtime: "openai"}, remote); err != nil || peak != 0 {
		t.Error(peak, err)
	}
}
