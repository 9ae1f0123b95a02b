package runtime

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"modelops/bridges/process"
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
		e, err := r.Watch(t.Context(), w)
		if err != nil || e.Code != 128+15 || e.Unwitnessed {
			t.Errorf("watched: %+v %v", e, err)
		}
		end <- e.Reason
	}()
	eventually(t, "the watcher waits", func() bool {
		all := make([]byte, 1<<20)
		return bytes.Contains(all[:runtime.Stack(all, true)], []byte("process.(*Hold).Wait"))
	})
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

// A process that doesn't prove itself is gone for Watch, not ready, not healthy, and never signalled.
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
			e, err := other.Watch(t.Context(), impostor)
			if err != nil || e.Code != -1 || !e.Unwitnessed || !strings.HasPrefix(e.Reason, "gone: ") {
				t.Error(e, err)
			}
			if live, why := other.Prove(impostor); live != process.Gone || why == nil {
				t.Error(live, why)
			}
			if _, _, err := other.AwaitReady(t.Context(), fakeSpec(), impostor); messages.CodeOf(err) != messages.ModelLoadError {
				t.Error(err)
			}
			if err := other.Healthy(t.Context(), fakeSpec(), impostor); messages.CodeOf(err) != messages.Unavailable {
				t.Error(err)
			}
			impostor.Nonce = "carried by no process" // Stop looks for the nonce too, and would rightly find the true worker
			if err := other.Stop(t.Context(), fakeSpec(), impostor); err != nil {
				t.Error(err)
			}
			if !running(w) {
				t.Fatal("the process was signalled")
			}
		})
	}
}

// A worker of an interrupted start that dropped its environment doesn't say where it answers. It is ended before a second one starts.
func TestAWorkerThatDoesntSayWhereItAnswersIsEnded(t *testing.T) {
	r := newRuntime(t, "late")
	spec := fakeSpec()
	spec.Cmd = `sh -c "exec env -i sleep 600" ${PORT}`
	w := start(t, r, spec)
	eventually(t, "it dropped its environment", func() bool { return process.Variable(w.Pid, urlVar) == "" })
	other := New(Options{LogDir: r.o.LogDir, Env: r.o.Env})
	again, err := other.Start(t.Context(), spec, nil, w.Nonce)
	if again != nil || messages.CodeOf(err) != messages.Unavailable {
		t.Fatal(again, err)
	}
	if live, _ := r.Prove(w); live == process.Alive {
		t.Error("it lives on")
	}
}
