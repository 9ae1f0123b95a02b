package runtime

import (
	"errors"
	"testing"

	"modelops/bridges/process"
	"modelops/messages"
)

func TestOutOfMemory(t *testing.T) {
	tests := []struct {
		engine, line string
		code         int32
		want         bool
	}{
		{"llama.cpp", "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: cudaMalloc failed: out of memory", 1, true},
		{"llama.cpp", "llama_model_load: error loading model: unable to allocate CUDA0 buffer", 1, true},
		{"llama.cpp", "ggml_vulkan: Device memory allocation of size 1073741824 failed. vk::Device::allocateMemory: ErrorOutOfDeviceMemory", 1, true},
		{"llama.cpp", "error loading model: invalid magic characters", 1, false},
		{"vllm", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.", 1, true},
		{"vllm", "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`", 1, true},
		{"vllm", "ValueError: Free memory on device (3.1/23.6 GiB) on startup is less than desired GPU memory utilization (0.9, 21.3 GiB).", 1, true},
		{"vllm", "ValueError: unknown architecture", 1, false},
		{"transformers", "MemoryError: Unable to allocate 2.00 GiB for an array", 1, true},
		{"whisper.cpp", "terminate called after throwing an instance of 'std::bad_alloc'", 134, true},
		{"embedded", "fatal error: runtime: out of memory", 2, true},
		{"command", "fork: Cannot allocate memory", 1, true},
		{"command", "done", 137, true},
		{"command", "done", 143, false},
	}
	r := New(Options{})
	for _, c := range tests {
		k, err := r.kindOf(&messages.ModelSpec{Runtime: c.engine})
		if err != nil {
			t.Fatal(err)
		}
		e := process.Exit{Code: c.code, Reason: "ended", LogTail: []string{"first", c.line, "cleaning up"}}
		if _, got := k.outOfMemory(e); got != c.want {
			t.Errorf("%s: %q: %v", c.engine, c.line, got)
		}
	}
	if line, ok := (kind{}).outOfMemory(process.Exit{Code: 137, Reason: "ended by signal 9"}); !ok || line != "ended by signal 9" {
		t.Error(line, ok)
	}
	if OutOfMemory(nil) || OutOfMemory(errors.New("out of memory")) {
		t.Error("only what was recognised counts")
	}
}

// A worker that dies by lack of memory fails its load as such, and still tells how it ended.
func TestWorkerThatRunsOutOfMemory(t *testing.T) {
	r := newRuntime(t, "exit") // its last line is "error: out of memory"
	w := start(t, r, fakeSpec())
	_, _, err := r.AwaitReady(t.Context(), fakeSpec(), w)
	var exit *ExitError
	if !OutOfMemory(err) || !errors.As(err, &exit) || exit.ExitCode() != 7 || messages.CodeOf(err) != messages.ModelLoadError {
		t.Error(err)
	}
}
