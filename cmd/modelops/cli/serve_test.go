package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"modelops/bridges/config"
	"modelops/bridges/process"
	"modelops/messages"
)

// fakeHost is a daemon that only records how serve uses it.
type fakeHost struct {
	mu      sync.Mutex
	calls   []string
	model   *messages.ModelView
	refused error // what Infer answers
	stopErr error
	stuck   chan struct{} // when set, Stop lasts until it is closed
}

func (h *fakeHost) called(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, what)
}

func (h *fakeHost) Addresses() Addresses {
	return Addresses{Host: "pc", HTTP: "http://h", GRPC: "g", NATS: "nats://n"}
}
func (h *fakeHost) Decisions() uint64 { return 4 }
func (h *fakeHost) Devices() []*messages.GpuView {
	return []*messages.GpuView{{Device: "cpu", Name: "EPYC", LimitBytes: 8 << 30}}
}
func (h *fakeHost) AwaitLoad(context.Context, string) (*messages.ModelView, error) {
	return h.model, nil
}
func (h *fakeHost) Infer(_ context.Context, r *messages.InferenceRequest) (*messages.InferenceResponse, error) {
	h.called("infer " + r.ModelName)
	return &messages.InferenceResponse{ResponseText: "Paris.\n", TokensGenerated: 3, InferenceTimeMs: 12}, h.refused
}
func (h *fakeHost) FollowConfig(ctx context.Context, _ <-chan os.Signal, path string) {
	<-ctx.Done()
	h.called("follow " + path)
}
func (h *fakeHost) Stop(context.Context) error {
	h.called("stop")
	if h.stuck != nil {
		signalSelf(syscall.SIGTERM)
		<-h.stuck
	}
	return h.stopErr
}
func (h *fakeHost) Leave(context.Context, string) error {
	h.called("leave")
	return nil
}

// signalSelf sends a signal to this process, where serve waits for it.
func signalSelf(s syscall.Signal) { _ = syscall.Kill(os.Getpid(), s) }

// until is standard output; it sends SIGTERM to this process when the text has been written.
type until struct {
	out  bytes.Buffer
	text string
}

func (u *until) Write(b []byte) (int, error) {
	before := strings.Contains(u.out.String(), u.text)
	n, err := u.out.Write(b)
	if !before && strings.Contains(u.out.String(), u.text) {
		signalSelf(syscall.SIGTERM)
	}
	return n, err
}

// serves runs `modelops serve` until it has printed a text, with the daemon that start returns.
func serves(t *testing.T, text string, start func(context.Context) (Daemon, error), args ...string) (code int, out, errs string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(file, []byte("host: pc\ndata_dir: state\nmodels: {preload: [{name: tiny, path: tiny.gguf}]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOGC", "100")
	stdout := &until{text: text}
	var stderr bytes.Buffer
	p := Program{Version: "1.2.3",
		Start: func(ctx context.Context, _ *config.Config, _ *slog.Logger, _ func() (*config.Config, error)) (Daemon, error) {
			return start(ctx)
		},
		Logger: func(w io.Writer, _, _ string) (*slog.Logger, error) {
			return slog.New(slog.NewTextHandler(w, nil)), nil
		}}
	code = Run(t.Context(), p, append([]string{"serve", "--config", file}, args...), strings.NewReader(""), stdout, &stderr)
	return code, stdout.out.String(), stderr.String()
}

func TestServeSaysWhereItIsAndStops(t *testing.T) {
	h := &fakeHost{model: &messages.ModelView{Phase: messages.ModelView_ready, MeasuredBytes: 41 << 20, LoadMs: 212, Placement: &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/pc/cpu"}}}}}
	code, out, errs := serves(t, "3 tokens in 12ms)", func(context.Context) (Daemon, error) { return h, nil }, "--ask", "What?", "--watch-config")
	if code != exitOK || len(h.calls) != 3 || h.calls[0] != "infer tiny" || !strings.HasSuffix(h.calls[1], "cluster.yaml") || h.calls[2] != "stop" {
		t.Errorf("%d %v %s", code, h.calls, errs)
	}
	for _, want := range []string{"modelops 1.2.3, host pc, configuration ", ", 4 decisions\n", "device   cpu, EPYC, 8192 MiB for models\n", "HTTP     http://h\ngRPC     g\nNATS     nats://n\n",
		"tiny is ready: 41 MiB on gpu/pc/cpu, loaded in 212ms\n", "\n> What?\nParis.\n(tiny, 3 tokens in 12ms)\n", "terminated: stopping, running requests have ", "\nstopped\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestServeReportsWhatFails(t *testing.T) {
	failed := &messages.ModelView{Phase: messages.ModelView_failed, Error: &messages.ErrorBody{Message: "no such file"}}
	for name, tc := range map[string]struct {
		host  *fakeHost
		asked string // ends what is said before the stop
		code  int
		says  string
	}{
		"a failed preload":      {&fakeHost{model: failed}, "tokens", exitOK, "tiny is failed: no such file\n"},
		"a refused question":    {&fakeHost{model: failed, refused: messages.NewError(messages.ModelNotFound, "tiny", "there is none")}, "there is none", exitOK, "modelops: tiny: there is none\n"},
		"requests that are cut": {&fakeHost{model: failed, stopErr: context.DeadlineExceeded}, "tokens", exitOK, "stopped; some requests did not finish in time\n"},
		"a failed stop":         {&fakeHost{model: failed, stopErr: errors.New("disk on fire")}, "tokens", exitNo, "stopping"},
	} {
		code, out, errs := serves(t, tc.asked, func(context.Context) (Daemon, error) { return tc.host, nil }, "--ask", "What?")
		if code != tc.code || !strings.Contains(out, tc.says) {
			t.Errorf("%s: %d\n%s%s", name, code, out, errs)
		}
	}
}

// A second signal ends a stop that does not end.
func TestServeEndsAtTheSecondSignal(t *testing.T) {
	h := &fakeHost{model: &messages.ModelView{Phase: messages.ModelView_ready}, stuck: make(chan struct{})}
	code, out, _ := serves(t, "tokens", func(context.Context) (Daemon, error) { return h, nil }, "--ask", "What?")
	close(h.stuck)
	if code != exitInterrupted || strings.Contains(out, "stopped") {
		t.Errorf("%d %s", code, out)
	}
}

// A signal while the daemon starts ends the start, and stops what has started all the same.
func TestServeCanBeStoppedWhileItStarts(t *testing.T) {
	h := &fakeHost{}
	code, out, errs := serves(t, "", func(ctx context.Context) (Daemon, error) {
		signalSelf(syscall.SIGTERM)
		<-ctx.Done()
		return h, nil
	})
	if code != exitOK || out != "" || !slices.Equal(h.calls, []string{"stop"}) {
		t.Errorf("%d %q %v %s", code, out, h.calls, errs)
	}
	code, _, errs = serves(t, "", func(context.Context) (Daemon, error) {
		return nil, messages.NewError(messages.JournalDamaged, "journal", "sequence 7 is missing")
	})
	if code != exitDamaged || errs != "modelops: journal: sequence 7 is missing\n" {
		t.Errorf("%d %s", code, errs)
	}
}

// upgrade signals the daemon that the address file names, and waits for another boot in that file.
func TestUpgradeWaitsForAnotherBoot(t *testing.T) {
	dir := t.TempDir()
	write := func(boot string) {
		text := `{"pid": 0, "boot": "` + boot + `"}`
		if err := os.WriteFile(filepath.Join(dir, AddressFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("new")
	var out bytes.Buffer
	c := &cli{stdout: &out, timeout: 10 * time.Second}
	if err := c.awaitBoot(t.Context(), place{dataDir: dir}, "old"); err != nil || out.String() != "upgraded: pid 0, boot new\n" {
		t.Errorf("%v %s", err, &out)
	}
	c.timeout = time.Millisecond
	if err := c.awaitBoot(t.Context(), place{dataDir: dir}, "new"); messages.CodeOf(err) != messages.DeadlineExceeded {
		t.Error(err)
	}
	if err := c.upgrade(t.Context(), place{dataDir: dir}); messages.CodeOf(err) != messages.Unavailable {
		t.Error("no daemon:", err)
	}
	if err := c.upgrade(t.Context(), place{daemon: &Addresses{PID: 1 << 30}}); messages.CodeOf(err) != messages.Unavailable {
		t.Error("no such process:", err)
	}
	// The daemon ended without a word, and another process has its pid: it isn't signalled.
	other := exec.Command("sleep", "600")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	for what, named := range map[string]Addresses{
		"another start time": {PID: other.Process.Pid, Started: self.StartTicks, Kernel: self.BootID},
		"no start time":      {PID: other.Process.Pid, Kernel: self.BootID},
	} {
		if err := c.upgrade(t.Context(), place{daemon: &named}); messages.CodeOf(err) != messages.Unavailable {
			t.Error(what, err)
		}
	}
	if err := other.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Error("another process was signalled:", err)
	}
	if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", other.Process.Pid)); err != nil || strings.Contains(string(state), ") Z ") {
		t.Errorf("another process was ended: %s %v", state, err)
	}
}
