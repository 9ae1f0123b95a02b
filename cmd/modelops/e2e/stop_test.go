//go:build e2e

package e2e_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modelops/messages"
)

// TestStopDuringALoad: a good stop in the middle of a load costs no try, however often it comes, leaves no process behind, and tells the
// requests that wait when to come back.
func TestStopDuringALoad(t *testing.T) {
	d := start(t, "load: {retries: 1}\nmodels:\n  preload: [{name: slow}]\n  declare:\n    slow: {runtime: embedded, path: TINY, args: [--load-delay, 5m]}\n")
	for range 3 {
		d.until(waitLimit, "the worker loads", func() bool {
			m := d.model("slow")
			return m.Phase == messages.ModelView_loading && m.Worker != nil
		})
		overHTTP, overGRPC := make(chan answer, 1), make(chan error, 1)
		go func() { _, a := d.chat("slow", "hello"); overHTTP <- a }()
		client := d.grpc()
		go func() {
			_, err := client.Infer(t.Context(), &messages.InferenceRequest{ModelName: "slow", Prompt: "hello"})
			overGRPC <- err
		}()
		overNATS, overStream, overSSE := make(chan *nats.Msg, 1), make(chan *messages.InferenceChunk, 1), make(chan answer, 1)
		nc := d.dial()
		go func() {
			m, err := nc.Request("modelops.v1.infer.slow", []byte(`{"prompt":"hello"}`), waitLimit)
			if err != nil {
				m = nats.NewMsg(err.Error())
			}
			overNATS <- m
		}()
		stream := d.inferStream(t.Context(), &messages.InferenceRequest{RequestId: "1", ModelName: "slow", Prompt: "hello"})
		go func() {
			chunk, _ := stream.Recv()
			overStream <- chunk
		}()
		go func() {
			overSSE <- d.post("/v1/chat/completions", map[string]any{"model": "slow", "stream": true, "messages": []any{map[string]any{"role": "user", "content": "hello"}}})
		}()
		d.until(waitLimit, "all requests wait", func() bool { return d.model("slow").Queued == 5 })
		if code := d.stop(); code != 0 {
			t.Errorf("the stop ended with %d", code)
		}
		if a := <-overHTTP; a.status != 503 || a.code() != "UNAVAILABLE" || a.header.Get("Retry-After") == "" {
			t.Errorf("a request that waits at the stop is answered %v", a)
		}
		if err := <-overGRPC; status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "the host is stopping") {
			t.Errorf("a gRPC request that waits at the stop is answered %v", err)
		}
		if m := <-overNATS; m.Header.Get("Nats-Service-Error-Code") != "503" || m.Header.Get("Retry-After-Ms") == "" || !strings.Contains(string(m.Data), "the host is stopping") {
			t.Errorf("a NATS request that waits at the stop is answered %s %v %s", m.Subject, m.Header, m.Data)
		}
		nc.Close()
		if c := <-overStream; c.GetError().GetCode() != messages.Unavailable.String() || c.GetError().GetRetryAfterMs() == 0 {
			t.Errorf("a request of a gRPC stream that waits at the stop is answered %v", c)
		}
		if a := <-overSSE; a.status != 503 || a.code() != "UNAVAILABLE" || a.header.Get("Retry-After") == "" {
			t.Errorf("a streamed request that waits at the stop is answered %v", a)
		}
		if left := processesOf(d.dir); len(left) > 0 {
			t.Errorf("%v outlive a good stop", left)
		}
		d.launch()
	}
	if tried := strings.Join(d.events(modelID("slow")), " "); strings.Contains(tried, "load_failed") || strings.Contains(tried, "LoadFailed") {
		t.Errorf("the stops cost tries: %s", tried)
	}
	if m := d.model("slow"); m.Phase == messages.ModelView_failed {
		t.Errorf("after three stops: %v", m)
	}
}

// TestLostJournal: a start without its journal ends the worker that the lost journal knew, before it starts another.
func TestLostJournal(t *testing.T) {
	d := start(t, "models:\n  preload: [{name: tiny}]\n  declare:\n    tiny: {runtime: embedded, path: TINY}\n")
	d.awaitPhase("tiny", "ready")
	old := d.pidsOf("tiny")
	if len(old) != 1 {
		t.Fatalf("workers: %v", old)
	}
	d.kill()
	if err := os.RemoveAll(d.journalDir()); err != nil {
		t.Fatal(err)
	}
	d.launch() // preloads it again
	d.awaitPhase("tiny", "ready")
	if now := d.pidsOf("tiny"); len(now) != 1 || now[0] == old[0] {
		t.Errorf("workers: %v, and the lost journal's was %v", now, old)
	}
	if told := d.log.String(); !strings.Contains(told, "that no journal knows") {
		t.Error("nobody is told")
	}
	if code := d.stop(); code != 0 || len(processesOf(d.dir)) > 0 {
		t.Errorf("the stop ended with %d, and %v are left", code, processesOf(d.dir))
	}
}

// TestDescriptorsAreKeptForSupervision: a client that holds 400 idle connections to a daemon with 256 descriptors takes neither the door from
// others nor the means to end an adopted worker.
func TestDescriptorsAreKeptForSupervision(t *testing.T) {
	d := prepare(t, base+"models:\n  preload: [{name: tiny}]\n  declare:\n    tiny: {runtime: embedded, path: TINY}\n")
	d.write("limited", fmt.Sprintf("#!/bin/sh\nulimit -n 256\nexec '%s' \"$@\"\n", d.binary))
	limited := filepath.Join(d.dir, "limited")
	if err := os.Chmod(limited, 0o755); err != nil {
		t.Fatal(err)
	}
	d.binary = limited
	d.launch()
	d.awaitPhase("tiny", "ready")
	d.kill()
	d.launch() // it adopts the worker
	d.awaitPhase("tiny", "ready")
	for range 400 {
		c, err := net.Dial("tcp", strings.TrimPrefix(d.at.HTTP, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	d.until(waitLimit, "the door is full, or no descriptor is left", func() bool {
		return strings.Contains(d.log.String(), "a door is full") || d.files() > 250
	})
	if files := d.files(); files > 256-64 {
		t.Errorf("%d of 256 descriptors are in use", files)
	}
	d.until(waitLimit, "the door lets others in", func() bool { a := d.get("/health"); return a.status == 200 })
	if got := d.cli("unload", "tiny"); got.code != 0 {
		t.Errorf("unload: %+v", got)
	}
	d.until(waitLimit, "the worker has ended", func() bool { return len(d.pidsOf("tiny")) == 0 })
	if code := d.stop(); code != 0 {
		t.Errorf("the stop ended with %d", code)
	}
}

// files is how many descriptors the daemon has open.
func (d *daemon) files() int {
	open, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(d.cmd.Process.Pid), "fd"))
	if err != nil {
		d.t.Fatal(err)
	}
	return len(open)
}
