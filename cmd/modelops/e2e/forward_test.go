//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"modelops/journal"
	"modelops/messages"
)

// pair is two hosts that declare each other, with what each says of models.
func pair(t *testing.T, sections func(host string) string) (main, pc2 *daemon) {
	t.Helper()
	ports := map[string]int{"main_pc": freePort(t), "pc2": freePort(t)}
	of := func(host, other string) *daemon {
		config := strings.Replace(base, "host: main_pc", "host: "+host, 1)
		return prepare(t, config+fmt.Sprintf("cluster: {port: %d, actors_port: 0, peers: [{host: %s, address: '127.0.0.1:%d'}]}\n%s", ports[host], other, ports[other], sections(host)))
	}
	main, pc2 = of("main_pc", "pc2"), of("pc2", "main_pc")
	main.launch()
	pc2.launch()
	return main, pc2
}

// TestAnyHostAnswers: a model that only another host has is asked for here, at every door, and isn't loaded here. What its own host says of a request
// comes out as it is.
func TestAnyHostAnswers(t *testing.T) {
	main, pc2 := pair(t, func(host string) string {
		if host == "main_pc" {
			return ""
		}
		return fmt.Sprintf("resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {preload: [{name: fast}], declare: {fast: %s}}\n", worker(t, ""))
	})
	pc2.awaitPhase("fast", "ready")
	var last answer
	main.until(startLimit, "the peer's model answers", func() bool {
		last = main.post("/v1/chat/completions", chatBody("fast", ""))
		return last.status == 200
	})
	own := pc2.post("/v1/chat/completions", chatBody("fast", ""))
	if string(own.body) == "" || len(last.body) == 0 {
		t.Errorf("%s\n%s", last.body, own.body)
	}
	for _, a := range []answer{last, own} {
		if got := a.header.Get(messages.HostHeader); got != "pc2" {
			t.Errorf("HTTP: answered by %q", got)
		}
	}
	next := main.streaming("fast")
	for n := 0; ; n++ {
		line, err := next()
		if err != nil {
			t.Fatalf("after %d pieces: %v", n, err)
		}
		if strings.Contains(line, "[DONE]") {
			break
		}
	}
	var served metadata.MD
	r, err := main.control(t).Infer(t.Context(), &messages.InferenceRequest{ModelName: "fast", Prompt: "hello", MaxTokens: 5}, grpc.Header(&served))
	if err != nil || r.ResponseText == "" || r.Host != "pc2" || !slices.Equal(served.Get(messages.HostHeader), []string{"pc2"}) {
		t.Errorf("gRPC: %v, %v, %v", r, err, served)
	}
	nc := main.dial()
	defer nc.Close()
	m, err := nc.Request("modelops.v1.infer.fast", []byte(`{"model_name":"fast","prompt":"hello","max_tokens":5}`), startLimit)
	if err != nil || m.Header.Get("Nats-Service-Error") != "" || m.Header.Get(messages.HostHeader) != "pc2" {
		t.Errorf("NATS: %v %v", m, err)
	}
	for host, code := range map[string]int{"pc2": 0, "main_pc": 4} {
		if o := main.cli("infer", "fast", "hello", "--max-tokens", "5", "--host", host); o.code != code {
			t.Errorf("infer --host %s: %d %s", host, o.code, o)
		}
	}
	for host, want := range map[string]string{"pc2": "", "main_pc": "MODEL_NOT_FOUND", "pc3": "NOT_FOUND"} {
		if a := main.post("/v1/chat/completions", chatBody("fast", ""), messages.HostHeader, host); a.code() != want || want == "" && a.status != 200 {
			t.Errorf("only on %s: %s", host, a)
		}
		q := nats.NewMsg("modelops.v1.infer.fast")
		q.Header.Set(messages.HostHeader, host)
		q.Data = []byte(`{"model_name":"fast","prompt":"hello","max_tokens":5}`)
		if m, err := nc.RequestMsg(q, startLimit); err != nil || m.Header.Get("Nats-Service-Error") != want {
			t.Errorf("NATS, only on %s: %v %v", host, m, err)
		}
	}
	if p := main.get("/v1/models"); strings.Count(string(p.body), `"id":"fast"`) != 1 {
		t.Errorf("models: %s", p)
	}
}

// onPC2 declares a model on both hosts of a pair that pc2 loads at its start.
func onPC2(t *testing.T) func(host string) string {
	return func(host string) string {
		preload := ""
		if host == "pc2" {
			preload = "preload: [{name: fast}], "
		}
		return fmt.Sprintf("resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {%sdeclare: {fast: %s}}\n", preload, worker(t, ""))
	}
}

// TestWorkGoesOnWithoutTheHost: a model that both hosts declare is ready on one of them, which serves the other's requests, and is killed. No request
// fails, over HTTP or NATS, and the other host loads the model.
func TestWorkGoesOnWithoutTheHost(t *testing.T) {
	main, pc2 := pair(t, onPC2(t))
	main.until(startLimit, "the peer's model is known", func() bool {
		return strings.Contains(string(main.get("/v1/models").body), `"status":"ready"`)
	})
	var work sync.WaitGroup
	var answered atomic.Int64
	over := make(chan struct{})
	for range 4 {
		work.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-t.Context().Done():
					return
				default:
				}
				if a := main.post("/v1/chat/completions", chatBody("fast", "")); a.status != 200 && t.Context().Err() == nil {
					t.Errorf("after %d answers: %s", answered.Load(), a)
				}
				answered.Add(1)
			}
		})
	}
	nc := main.nats()
	var byNATS atomic.Int64
	work.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-t.Context().Done():
				return
			default:
			}
			m, err := nc.Request("modelops.v1.infer.fast", []byte(`{"model_name":"fast","prompt":"hello","max_tokens":5}`), startLimit)
			if (err != nil || m.Header.Get("Nats-Service-Error") != "") && t.Context().Err() == nil {
				t.Errorf("NATS, after %d answers: %v %v", byNATS.Load(), err, m)
			}
			byNATS.Add(1)
		}
	})
	main.until(startLimit, "requests are answered", func() bool { return answered.Load() > 200 && byNATS.Load() > 50 })
	pc2.cmd.Process.Kill()
	main.until(startLimit, "it is ready here", func() bool {
		return main.post("/v1/chat/completions", chatBody("fast", ""), messages.HostHeader, "main_pc").status == 200
	})
	n, m := answered.Load(), byNATS.Load()
	main.until(startLimit, "requests are answered here", func() bool { return answered.Load() > n+200 && byNATS.Load() > m+50 })
	close(over)
	work.Wait()
}

// begun is when a host began to load a model last, by its journal.
func (d *daemon) begun(t *testing.T, model string) (at time.Time) {
	t.Helper()
	nc := d.dial()
	defer nc.Close()
	err := journalOf(d.at.Host, nc).Replay(t.Context(), journal.Query{Actor: messages.ModelActor(d.at.Host, model)}, func(r messages.Recorded) error {
		for _, e := range r.Events {
			if e, ok := e.(*messages.ModelLoadStarted); ok {
				at = e.At.AsTime()
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestFailsOverWithoutRequests: a model that was ready only on the host that is killed loads on the other one, although nobody asks for it.
func TestFailsOverWithoutRequests(t *testing.T) {
	main, pc2 := pair(t, onPC2(t))
	main.until(startLimit, "the peer's model is known", func() bool { return main.modelOf("pc2", "fast").Phase == messages.ModelView_ready })
	if p := main.modelOf("main_pc", "fast").Phase; p != messages.ModelView_absent {
		t.Fatalf("fast is %s on main_pc although pc2 has it", p)
	}
	killed := time.Now()
	pc2.kill()
	main.until(startLimit, "it is ready here", func() bool { return main.modelOf("main_pc", "fast").Phase == messages.ModelView_ready })
	budget(t, "from kill -9 to the begin of the load", main.begun(t, "fast").Sub(killed), 1700*time.Millisecond)
}

// TestASpareLeaves: the host whose model another one loaded comes back with its worker alive. Of the two, the one that nobody asked for leaves when it is idle; a
// pinned one stays.
func TestASpareLeaves(t *testing.T) {
	t.Parallel() // it waits more than it works
	main, pc2 := pair(t, func(host string) string {
		preload, pinned := "", ", pinned: true"
		if host == "pc2" {
			preload, pinned = "preload: [{name: fast}, {name: kept}], ", ""
		}
		return fmt.Sprintf("resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {%sdeclare: {fast: %s, kept: %s}}\n", preload, worker(t, ""),
			strings.Replace(worker(t, ""), "vram_mb: 64", "vram_mb: 64"+pinned, 1))
	})
	main.awaitAt("pc2", "fast", "ready")
	main.awaitAt("pc2", "kept", "ready")
	pid := pc2.modelOf("pc2", "fast").Worker.GetPid()
	pc2.kill()
	main.awaitAt("main_pc", "fast", "ready")
	main.awaitAt("main_pc", "kept", "ready")
	pc2.launch()
	var here, there *messages.ModelView
	var idle int64 // of the spare one, as long as it was there
	back := false  // pc2 has adopted its own
	main.unless(func() string {
		switch {
		case back && there.Phase == messages.ModelView_absent:
			return fmt.Sprintf("it left on pc2, where it was asked for, and is %s on main_pc", here.Phase)
		case here.Phase == messages.ModelView_ready && there.Phase == messages.ModelView_ready && min(here.IdleMs, there.IdleMs) > soonLimit.Milliseconds():
			return fmt.Sprintf("it is idle on both hosts for %d and %d ms, and stays", here.IdleMs, there.IdleMs)
		}
		return ""
	}, "the spare one left", func() bool {
		here, there = main.modelOf("main_pc", "fast"), main.modelOf("pc2", "fast")
		idle, back = max(idle, here.IdleMs), back || there.Phase == messages.ModelView_ready
		return here.Phase == messages.ModelView_absent && there.Phase == messages.ModelView_ready
	})
	if now := pc2.modelOf("pc2", "fast").Worker.GetPid(); now != pid {
		t.Errorf("worker %d of pc2 is now %d", pid, now)
	}
	if a := main.post("/v1/chat/completions", chatBody("fast", "")); a.status != 200 {
		t.Errorf("asked afterwards: %s", a)
	}
	if r := main.cli("why", "model/main_pc/fast"); !strings.Contains(r.out, "it is ready on pc2 too") {
		t.Errorf("%s", r)
	}
	main.until(waitLimit, "the pinned one has been idle for longer than the spare one, or has left", func() bool {
		kept := main.modelOf("main_pc", "kept")
		return kept.Phase != messages.ModelView_ready || kept.IdleMs > idle+2000
	})
	for _, host := range []string{"main_pc", "pc2"} {
		if p := main.modelOf(host, "kept").Phase; p != messages.ModelView_ready {
			t.Errorf("kept is %s on %s although it is pinned on main_pc", p, host)
		}
	}
}

// TestAStaleDecisionIsRefused: the arbiter's host hangs for longer than others wait for it, and another arbiter places meanwhile. What was decided under the former
// epoch is refused by the owners on the other host, and no memory is granted twice.
func TestAStaleDecisionIsRefused(t *testing.T) {
	main, pc2 := pair(t, func(string) string {
		return fmt.Sprintf("resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels: {declare: {first: %s, second: %s}}\n", worker(t, ""), worker(t, ""))
	})
	main.until(startLimit, "both follow one arbiter", func() bool {
		a, b := main.cluster(), pc2.cluster()
		return a.GetArbiterEpoch() > 0 && a.GetArbiter() == b.GetArbiter() && a.GetArbiterEpoch() == b.GetArbiterEpoch()
	})
	hangs, other := main, pc2
	if main.cluster().GetArbiter() == "pc2" {
		hangs, other = pc2, main
	}
	before := hangs.cluster().GetArbiterEpoch()
	if r := other.cli("load", "first", "--host", other.at.Host); r.code != 0 {
		t.Fatal(r)
	}
	if err := hangs.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	other.until(startLimit, "the other takes over", func() bool {
		c := other.cluster()
		return c.GetArbiter() == other.at.Host && c.GetArbiterEpoch() > before
	})
	if r := other.cli("load", "second", "--host", other.at.Host); r.code != 0 {
		t.Error(r)
	}
	if err := hangs.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	other.until(startLimit, "both follow one arbiter again", func() bool {
		a, b := main.cluster(), pc2.cluster()
		return a.GetArbiter() == b.GetArbiter() && a.GetArbiterEpoch() == b.GetArbiterEpoch() && a.GetArbiterEpoch() > before
	})
	nc := hangs.nats()
	device := messages.GPUActor(other.at.Host, "gpu0")
	_, err := command(nc, device, &messages.ReserveVram{Lease: "stale", Holder: "client/third", Bytes: 1 << 20, TtlSeconds: 60,
		Arbiter: hangs.at.Host, ArbiterEpoch: before})
	if messages.CodeOf(err) != messages.FailedPrecondition || !strings.Contains(fmt.Sprint(err), fmt.Sprintf("epoch %d", before)) {
		t.Errorf("a reservation under epoch %d: %v", before, err)
	}
	c := cluster{}
	for _, d := range []*daemon{main, pc2} {
		if err := journalOf(d.at.Host, d.nats()).Replay(t.Context(), journal.Query{}, func(r messages.Recorded) error { c.take(d.at.Host, r); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range c.wrong {
		t.Error(w)
	}
	for lease := range c.granted {
		if lease == "lease stale" {
			t.Error("the stale reservation was granted")
		}
	}
	for _, name := range []string{"first", "second"} {
		if p := other.modelOf(other.at.Host, name).Phase; p != messages.ModelView_ready {
			t.Errorf("%s is %s", name, p)
		}
	}
}
