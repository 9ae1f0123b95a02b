package runtime

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"
	"modelops/messages"
)

// S8: the coordinator is lost; the next one finds the worker, checks it, watches it and ends it.
func TestS08Adoption(t *testing.T) {
	w := lostCoordinator(t, "serve:fake", t.TempDir())
	r := New(Options{})
	again, err := r.Start(t.Context(), fakeSpec(), nil, w.Nonce)
	if err != nil || !proto.Equal(w, again) {
		t.Fatalf("%v\n%v\n%v", err, w, again)
	}
	if w.Url == "" || w.Port == 0 || w.Fingerprint == "" || !strings.Contains(w.LogPath, w.Nonce) {
		t.Errorf("the adopted worker lacks something: %v", w)
	}
	if _, _, err := r.AwaitReady(t.Context(), fakeSpec(), w); err != nil {
		t.Fatal(err)
	}
	end := make(chan string, 1)
	go func() {
		code, reason, _, err := r.Watch(t.Context(), w)
		if err != nil || code != 128+15 {
			t.Errorf("watched: %d %q %v", code, reason, err)
		}
		end <- reason
	}()
	if err := r.Stop(t.Context(), fakeSpec(), w); err != nil {
		t.Fatal(err)
	}
	if reason := <-end; !strings.Contains(reason, "SIGTERM") {
		t.Error(reason)
	}
	if err := r.Stop(t.Context(), fakeSpec(), w); err != nil {
		t.Error("a second stop:", err)
	}
}

// An adopted worker's exit code is learnt even though it isn't our child.
func TestAdoptedWorkersExitCode(t *testing.T) {
	w := lostCoordinator(t, "sleeper", t.TempDir())
	r := New(Options{})
	g, err := r.prove(w)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := g.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := g.exit(w); e.Code != 128+9 {
		t.Errorf("%+v", e)
	}
}

// Whoever doesn't prove itself is gone for Watch, not ready, not healthy, and never signalled.
func TestImpostorsAreNotTouched(t *testing.T) {
	r := newRuntime(t, "late")
	w := start(t, r, fakeSpec())
	tests := map[string]func(*messages.Worker){
		"another nonce":      func(w *messages.Worker) { w.Nonce = "other" },
		"the pid's next use": func(w *messages.Worker) { w.StartTicks-- },
		"another boot":       func(w *messages.Worker) { w.KernelBootId = "other" },
		"no such process":    func(w *messages.Worker) { w.Pid = 1 << 22 },
		"pid 1":              func(w *messages.Worker) { w.Pid = 1 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			impostor := proto.Clone(w).(*messages.Worker)
			change(impostor)
			other := New(Options{})
			code, reason, _, err := other.Watch(t.Context(), impostor)
			if err != nil || code != -1 || !strings.HasPrefix(reason, "gone: ") {
				t.Error(code, reason, err)
			}
			if _, _, err := other.AwaitReady(t.Context(), fakeSpec(), impostor); messages.CodeOf(err) != messages.ModelLoadError {
				t.Error(err)
			}
			if err := other.Healthy(t.Context(), fakeSpec(), impostor); messages.CodeOf(err) != messages.Unavailable {
				t.Error(err)
			}
			impostor.Nonce = "carried by nobody" // Stop looks for the nonce too, and would rightly find the true worker
			if err := other.Stop(t.Context(), fakeSpec(), impostor); err != nil {
				t.Error(err)
			}
			if !running(w.Pid) {
				t.Fatal("the process was signalled")
			}
		})
	}
}

func TestMatchesNamesWhatDiffers(t *testing.T) {
	r := newRuntime(t, "late")
	w := start(t, r, fakeSpec())
	if err := matches(w); err != nil {
		t.Fatal(err)
	}
	recycled := proto.Clone(w).(*messages.Worker)
	recycled.StartTicks--
	if err := matches(recycled); err == nil || !strings.Contains(err.Error(), "another process now") {
		t.Error(err)
	}
	renamed := proto.Clone(w).(*messages.Worker)
	renamed.Nonce = "other"
	if _, err := New(Options{}).prove(renamed); err == nil || !strings.Contains(err.Error(), "another nonce") {
		t.Error(err)
	}
}

// A program that overwrites its environment is known by the log it writes to.
func TestWorkerWithoutEnvironmentIsKnownByItsLog(t *testing.T) {
	r := newRuntime(t, "late")
	spec := &messages.ModelSpec{Name: "bare", Runtime: "command", CheckEndpoint: "none", Cmd: "env -i sleep 60"}
	w := start(t, r, spec)
	eventually(t, "env becoming sleep", func() bool {
		b, _ := os.ReadFile(procPath(w.Pid, "cmdline"))
		return strings.HasPrefix(string(b), "sleep")
	})
	g, err := New(Options{}).prove(w)
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	elsewhere := proto.Clone(w).(*messages.Worker)
	elsewhere.LogPath = "/elsewhere"
	if _, err := New(Options{}).prove(elsewhere); err == nil {
		t.Error("believed without any proof")
	}
	g, err = r.prove(elsewhere)
	if err != nil {
		t.Fatal("an own child needs no other proof:", err)
	}
	g.Close()
}

func TestParseStat(t *testing.T) {
	tail := " S 1 77 78 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0" + strings.Repeat(" 0", 27) + " 1792 "
	s, err := parseStat(7, []byte("7 (a) b (c))"+tail))
	want := stat{pid: 7, parent: 1, group: 77, session: 78, state: 'S', startTicks: 4242}
	s.exitStatus = 0
	if err != nil || s != want {
		t.Errorf("%+v %v", s, err)
	}
	for _, bad := range []string{"", "7 (x", "7 (x) S 1", "7 (x) S a b c" + strings.Repeat(" 0", 30)} {
		if _, err := parseStat(7, []byte(bad)); err == nil {
			t.Errorf("%q is believed", bad)
		}
	}
}
