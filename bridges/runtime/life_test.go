package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modelops/messages"
)

func TestWorkerThatIsReadyLate(t *testing.T) {
	r := newRuntime(t, "late")
	w := start(t, r, fakeSpec())
	measured, slots, err := r.AwaitReady(t.Context(), fakeSpec(), w)
	if err != nil {
		t.Fatal(err)
	}
	if measured < 1<<20 || slots != 4 {
		t.Errorf("measured %d bytes and %d slots", measured, slots)
	}
	if n := health(t, w); n <= lateAfter {
		t.Errorf("ready after %d answers, before the worker was", n)
	}
	if err := r.Healthy(t.Context(), fakeSpec(), w); err != nil {
		t.Error(err)
	}
}

// health is how often a fake worker was asked for its health.
func health(t *testing.T, w *messages.Worker) (n int) {
	t.Helper()
	res, err := http.Get(w.Url + "/asked")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := fmt.Fscan(res.Body, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWorkerThatExitsFailsAtOnce(t *testing.T) {
	r := newRuntime(t, "exit")
	w := start(t, r, fakeSpec())
	_, _, err := r.AwaitReady(t.Context(), fakeSpec(), w)
	var exit *ExitError
	if messages.CodeOf(err) != messages.ModelLoadError || !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit.ExitCode() != 7 || exit.Exit.Reason != "exit code 7" {
		t.Errorf("exit %+v", exit.Exit)
	}
	// The error is journaled: it names the log, and no line of it.
	if e := messages.AsError(err); len(e.Log) > 0 || e.LogFile != w.LogPath || !strings.Contains(e.Error(), "exit code 7") || strings.Contains(e.Error(), "hello") || strings.Contains(e.Error(), "it said") {
		t.Errorf("%+v", e)
	}
	if telling, lines := LastWords(w.LogPath); telling != "error: out of memory" || !slices.Equal(lines, []string{"hello", "error: out of memory"}) {
		t.Error(telling, lines)
	}
	if e, err := r.Watch(t.Context(), w); err != nil || e.Code != 7 || e.Reason != "exit code 7" || e.Unwitnessed {
		t.Error(e, err)
	}
}

func TestWorkerThatIsNeverReady(t *testing.T) {
	r := newRuntime(t, "never")
	spec := fakeSpec()
	w := start(t, r, spec)
	var err error
	// On a busy machine the worker may not listen yet: then the time is too short for this test.
	for spec.LoadTimeoutSeconds = 1; err == nil || strings.Contains(err.Error(), "connection refused") && spec.LoadTimeoutSeconds < 300; spec.LoadTimeoutSeconds *= 2 {
		_, _, err = r.AwaitReady(t.Context(), spec, w)
	}
	if messages.CodeOf(err) != messages.ModelLoadError || !strings.Contains(err.Error(), "503") {
		t.Fatal(err)
	}
}

// S17: a fixed deadline would end loads that only take long. What is seen to go on may take ten times its time.
func TestS17SlowLoadThatProgresses(t *testing.T) {
	const budget = 10 * time.Second
	reader, read := readsWhenTold(t)
	for mode, c := range map[string]struct {
		pid   int
		looks func(n int) answer // the nth answer while it loads
	}{
		"progress": {0, func(n int) answer {
			return answer{status: 503, body: fmt.Appendf(nil, `{"error":{"message":"Loading"},"progress":%.3f}`, float64(n)/100)}
		}},
		"reading": {reader, func(int) answer {
			read()
			return answer{status: 503}
		}},
	} {
		t.Run(mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				spec := fakeSpec()
				spec.LoadTimeoutSeconds = uint32(budget / time.Second)
				w := &messages.Worker{Pid: int64(c.pid)}
				p := New(Options{}).newPatience(kind{}, spec, w)
				began, n := time.Now(), 0
				look := func() error { n++; return p.check(c.looks(n), w) }
				for range 20 {
					if time.Sleep(budget / 2); time.Since(began) == patienceFactor*budget {
						break
					}
					if err := look(); err != nil {
						t.Fatal(time.Since(began), err)
					}
				}
				if err := look(); err == nil || !strings.Contains(err.Error(), "although it kept working") {
					t.Errorf("after %s: %v", time.Since(began), err)
				}

				p = New(Options{}).newPatience(kind{}, spec, &messages.Worker{})
				time.Sleep(budget)
				if err := p.check(answer{status: 503}, &messages.Worker{}); err == nil || !strings.Contains(err.Error(), "without progress") {
					t.Errorf("nothing was seen to go on: %v", err)
				}
			})
		})
	}
}

// readsWhenTold is a process that reads a large file whenever it is told to.
func readsWhenTold(t *testing.T) (pid int, read func()) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = newEnviron("FAKE=reader")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = c.Wait() })
	read = func() {
		if _, err := fmt.Fprintln(in, "read"); err != nil {
			t.Error(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
	}
	read() // it is up
	return c.Process.Pid, read
}

func TestAwaitReadyEndsWithItsContext(t *testing.T) {
	r := newRuntime(t, "never")
	w := start(t, r, fakeSpec())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // meant to pass: it is never ready
	defer cancel()
	if _, _, err := r.AwaitReady(ctx, fakeSpec(), w); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if !running(w) {
		t.Error("the worker was ended with the context")
	}
}

// S9: another server on our port answers 200.
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
