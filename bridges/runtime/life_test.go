package runtime

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

func TestWorkerThatIsReadyLate(t *testing.T) {
	r := newRuntime(t, "late")
	w := start(t, r, fakeSpec())
	began := time.Now()
	measured, slots, err := r.AwaitReady(t.Context(), fakeSpec(), w)
	if err != nil {
		t.Fatal(err)
	}
	if measured < 1<<20 || slots != 4 {
		t.Errorf("measured %d bytes and %d slots", measured, slots)
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("ready after %v, before the worker was", took)
	}
	if err := r.Healthy(t.Context(), fakeSpec(), w); err != nil {
		t.Error(err)
	}
}

func TestWorkerThatExitsFailsAtOnce(t *testing.T) {
	r := newRuntime(t, "exit")
	w := start(t, r, fakeSpec())
	_, _, err := r.AwaitReady(t.Context(), fakeSpec(), w)
	var exit *ExitError
	if messages.CodeOf(err) != messages.ModelLoadError || !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit.ExitCode() != 7 || !slices.Equal(exit.LogTail(), []string{"hello", "error: out of memory"}) {
		t.Errorf("exit %+v", exit.Exit)
	}
	if log := messages.AsError(err).Log; !slices.Equal(log, exit.LogTail()) {
		t.Errorf("the error's log is %q", log)
	}
	if !strings.Contains(err.Error(), "exit code 7") || !strings.Contains(err.Error(), "out of memory") {
		t.Error(err)
	}
	if e, err := r.Watch(t.Context(), w); err != nil || e.Code != 7 || e.Reason != "exit code 7" || e.Unwitnessed {
		t.Error(e, err)
	}
}

func TestWorkerThatIsNeverReady(t *testing.T) {
	r := newRuntime(t, "never")
	spec := fakeSpec()
	spec.LoadTimeoutSeconds = 1
	w := start(t, r, spec)
	_, _, err := r.AwaitReady(t.Context(), spec, w)
	if messages.CodeOf(err) != messages.ModelLoadError || !strings.Contains(err.Error(), "503") {
		t.Fatal(err)
	}
}

// S17: a fixed deadline would end loads that only take long.
func TestS17SlowLoadThatProgresses(t *testing.T) {
	for _, mode := range []string{"progress", "reading"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := newRuntime(t, mode)
			spec := fakeSpec()
			spec.LoadTimeoutSeconds = 1
			w := start(t, r, spec)
			if _, _, err := r.AwaitReady(t.Context(), spec, w); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAwaitReadyEndsWithItsContext(t *testing.T) {
	r := newRuntime(t, "never")
	w := start(t, r, fakeSpec())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := r.AwaitReady(ctx, fakeSpec(), w); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if !running(w) {
		t.Error("the worker was ended with the context")
	}
}

// S9: somebody else's server on our port answers 200.
func TestS09StrangerOnThePort(t *testing.T) {
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	defer stranger.Close()
	r := newRuntime(t, "sleeper")
	spec := fakeSpec()
	spec.Url = stranger.URL
	w := start(t, r, spec)
	_, _, err := r.AwaitReady(t.Context(), spec, w)
	if messages.CodeOf(err) != messages.ModelLoadError || !strings.Contains(err.Error(), "answered by pid") {
		t.Fatal(err)
	}
}

func TestWorkerWithAnotherModelIsRefused(t *testing.T) {
	for _, engine := range []string{"embedded", "llama.cpp"} {
		r := newRuntime(t, "serve:other")
		wrapper := writeScript(t)
		r.o.Self, r.o.LlamaServer = wrapper, wrapper
		spec := &messages.ModelSpec{Name: "fake", Runtime: engine, Path: modelFile(t)}
		w := start(t, r, spec)
		_, _, err := r.AwaitReady(t.Context(), spec, w)
		if messages.CodeOf(err) != messages.ModelLoadError || !strings.Contains(err.Error(), `["other"], not "fake"`) {
			t.Fatal(engine, err)
		}
		spec.UseModelName = "other"
		if _, slots, err := r.AwaitReady(t.Context(), spec, w); err != nil || slots != 3 {
			t.Error(engine, slots, err)
		}
	}
}

// writeScript makes an engine that understands --port only.
func writeScript(t *testing.T) string {
	path := t.TempDir() + "/engine"
	text := "#!/bin/sh\nwhile [ \"$1\" != --port ]; do shift; done\nexec '" + os.Args[0] + "' \"$2\"\n"
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
