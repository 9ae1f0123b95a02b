//go:build e2e

package e2e_test

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"modelops/journal"
	"modelops/messages"
)

const oneTiny = `
models:
  preload: [{name: tiny}]
  declare:
    tiny: {runtime: embedded, path: TINY}
    lazy: {runtime: embedded, path: TINY}
    slow: {runtime: embedded, path: TINY, args: [--token-delay, 50ms]}
`

// picture is the state of every actor that the journal knows, with the sequence that made it. The host is left out: it counts boots.
func (d *daemon) picture() map[string]string {
	d.t.Helper()
	nc := d.nats()
	actors := map[messages.ActorID]bool{}
	err := journalOver(nc).Replay(d.t.Context(), journal.Query{Unknown: true}, func(r messages.Recorded) error {
		actors[r.Actor] = true
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	out := map[string]string{}
	for a := range actors {
		if a.Kind == messages.KindHost {
			continue
		}
		v, err := view(nc, a)
		if err != nil {
			d.t.Fatalf("%s: %v", a, err)
		}
		out[a.String()] = fmt.Sprintf("%d %s", v.Sequence, v.StateJson)
	}
	return out
}

// calm waits until no actor owes work but watching a worker, so that pictures can be compared.
func (d *daemon) calm() map[string]string {
	d.t.Helper()
	last := d.picture()
	same := 0
	d.until(waitLimit, "the actors come to rest", func() bool {
		next := d.picture()
		if maps.Equal(last, next) {
			same++
		} else {
			same = 0
		}
		last = next
		return same >= 3
	})
	return last
}

func differences(t *testing.T, before, after map[string]string) {
	t.Helper()
	for actor, was := range before {
		if now := after[actor]; now != was {
			t.Errorf("%s was\n%s\nis\n%s", actor, was, now)
		}
	}
	if len(before) != len(after) {
		t.Errorf("%d actors before, %d after", len(before), len(after))
	}
}

// TestS08KillNine: the same state, the same worker, without a reload.
func TestS08KillNine(t *testing.T) {
	d := start(t, oneTiny, fmt.Sprintf("MOC_SERVER__REST_PORT=%d", freePort(t)))
	v := d.awaitPhase("tiny", "ready")
	d.answers("tiny")
	before := d.calm()
	d.kill()
	if !alive(int(v.Worker.Pid)) {
		t.Fatal("the worker went with the daemon")
	}
	var early sync.WaitGroup
	for range 4 { // no request fails once the port is open
		early.Go(func() { d.asSoonAsPossible(t, "tiny") })
	}
	d.launch()
	early.Wait()
	after := d.awaitPhase("tiny", "ready")
	if after.Worker.Pid != v.Worker.Pid || after.Attempt != v.Attempt {
		t.Errorf("worker %d of attempt %d, before the kill %d of %d", after.Worker.Pid, after.Attempt, v.Worker.Pid, v.Attempt)
	}
	differences(t, before, d.calm())
	if pids := d.pidsOf("tiny"); len(pids) != 1 {
		t.Errorf("the workers are %v", pids)
	}
	if got := d.cli("replay"); got.code != 0 {
		t.Errorf("replay: exit code %d, %s", got.code, got)
	}
}

// TestS08KillNineMidStream: the request that ran ends cleanly for its client, and the worker is free for the next.
func TestS08KillNineMidStream(t *testing.T) {
	d := start(t, oneTiny)
	d.answers("slow")
	worker := d.model("slow").Worker
	next := d.streaming("slow")
	d.kill()
	var err error
	for err == nil {
		_, err = next()
	}
	if err == io.EOF {
		t.Error("the cut stream looks like a whole one")
	}
	d.launch()
	d.until(waitLimit, "the engine dropped the request", func() bool { return d.busySlots(worker.Url) == 0 })
	d.answers("slow")
	if now := d.model("slow").Worker; now.Pid != worker.Pid {
		t.Errorf("worker %d, before %d", now.Pid, worker.Pid)
	}
}

// TestS08KillNineMidLoad: in the end there is one worker.
func TestS08KillNineMidLoad(t *testing.T) {
	d := prepare(t, base+oneTiny, "MODELOPS_WORKER_ARGS=--load-delay 2s")
	for _, moment := range []string{"placing", "loading", "worker"} {
		t.Run(moment, func(t *testing.T) {
			outer := d.t
			d.t = t
			defer func() { d.t = outer }()
			d.launch()
			nc := d.nats()
			d.awaitPhase("tiny", "ready")
			if _, err := command(nc, modelID("lazy"), &messages.EnsureModel{Reason: "test"}); err != nil {
				t.Fatal(err)
			}
			if moment != "placing" {
				d.until(waitLimit, "it loads", func() bool {
					p := d.model("lazy").Phase
					return p == messages.ModelView_loading || p == messages.ModelView_ready
				}) // a busy machine may look too late
			}
			if moment == "worker" {
				d.until(waitLimit, "there is a worker", func() bool { return len(d.pidsOf("lazy")) > 0 })
			}
			d.kill()
			d.launch()
			v := d.awaitPhase("lazy", "ready")
			d.answers("lazy")
			if pids := d.pidsOf("lazy"); len(pids) != 1 || pids[0] != int(v.Worker.Pid) {
				t.Errorf("the workers are %v, the model knows %d", pids, v.Worker.Pid)
			}
			if a := d.post("/v1/chat/completions", question("lazy", france)); said(a) != paris {
				t.Errorf("%s", a)
			}
			if got := len(d.leases()); got != 2 {
				t.Errorf("%d leases for two models: %v", got, d.leases())
			}
			d.unload("lazy")
			if code := d.stop(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// TestS19WorkerKilled: the next request has an answer, and the memory went through the ledger.
func TestS19WorkerKilled(t *testing.T) {
	d := start(t, oneTiny)
	v := d.awaitPhase("tiny", "ready")
	d.until(waitLimit, "its lease is settled", func() bool { return len(d.leases()) == 1 })
	lease := d.leases()[0].Lease
	d.answers("tiny") // opens the connection on which the next request finds no worker
	d.killPid(int(v.Worker.Pid))
	// At once. A request whose bytes went out on the connection of the dead worker may have ended it, so it is sent to no other one.
	d.until(waitLimit, "it answers again", func() bool {
		_, a := d.chat("tiny", "x")
		if a.status != 200 && a.code() != "INFERENCE_ERROR" {
			t.Errorf("a request that meets the death of its worker gets %s", a)
		}
		return a.status == 200
	})
	now := d.awaitPhase("tiny", "ready")
	if now.Worker.Pid == v.Worker.Pid || now.Attempt != v.Attempt+1 {
		t.Errorf("worker %d in attempt %d, before %d in %d", now.Worker.Pid, now.Attempt, v.Worker.Pid, v.Attempt)
	}
	if leases := d.leases(); len(leases) != 1 || leases[0].Lease == lease {
		t.Errorf("leases %v, before %s", leases, lease)
	}
}

// TestS09StrangerOnThePort: while the host was down its workers ended, and another program answers on their ports. It gets no request,
// however early the first requests come.
func TestS09StrangerOnThePort(t *testing.T) {
	models := []string{"a", "b", "c", "d", "e", "f"}
	config := "models:\n  declare:\n"
	for _, m := range models {
		config += "    " + m + ": {runtime: embedded, path: TINY}\n"
	}
	d := start(t, config, fmt.Sprintf("MOC_SERVER__REST_PORT=%d", freePort(t)))
	former := map[string]*messages.Worker{}
	for _, m := range models {
		d.answers(m)
		former[m] = d.model(m).Worker
	}
	d.kill()
	asked := map[string]func() int64{}
	for m, w := range former {
		d.killPid(int(w.Pid))
		until(t, waitLimit, "the worker is gone", func() bool { return !alive(int(w.Pid)) })
		asked[m] = stranger(t, w.Port)
	}
	var early sync.WaitGroup
	for _, m := range models {
		early.Go(func() { d.asSoonAsPossible(t, m) })
	}
	d.launch()
	early.Wait()
	for m, w := range former {
		if n := asked[m](); n != 0 {
			t.Errorf("%s: the stranger was asked %d times", m, n)
		}
		if now := d.awaitPhase(m, "ready").Worker; now.Port == w.Port || now.Pid == w.Pid {
			t.Errorf("%s: the worker is %v", m, now)
		}
	}
}

// asSoonAsPossible asks until the port is open, and wants the right answer to the first request that is taken.
func (d *daemon) asSoonAsPossible(t *testing.T, model string) {
	for end := time.Now().Add(startLimit); time.Now().Before(end); {
		got, a := d.chat(model, france)
		if a.err != nil {
			continue // the port isn't open yet
		}
		if got != paris {
			t.Errorf("%s: %s", model, a)
		}
		return
	}
	t.Errorf("%s: no process listens on its port", model)
}

// stranger answers everything on a port with 200 and counts the inference requests.
func stranger(t *testing.T, port uint32) (asked func() int64) {
	t.Helper()
	var l net.Listener
	until(t, waitLimit, "the port is free", func() (ok bool) {
		var err error
		l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
		return err == nil
	})
	e := &fake{}
	e.code.Store(http.StatusOK)
	web := &http.Server{Handler: e.mux(), ReadHeaderTimeout: waitLimit}
	go func() { _ = web.Serve(l) }()
	t.Cleanup(func() { _ = web.Close() })
	return e.asked.Load
}

// TestGoodStop: SIGTERM ends the workers and removes daemon.json; the next start brings the models back.
func TestGoodStop(t *testing.T) {
	d := start(t, oneTiny)
	d.awaitPhase("tiny", "ready")
	d.answers("lazy")
	if code := d.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left := processesOf(d.dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Stat(filepath.Join(d.state(), "daemon.json")); !os.IsNotExist(err) {
		t.Errorf("daemon.json: %v", err)
	}
	d.launch()
	for _, model := range []string{"tiny", "lazy"} {
		d.awaitPhase(model, "ready")
		d.answers(model)
	}
	if got := len(d.leases()); got != 2 {
		t.Errorf("%d leases for two models", got)
	}
}

// TestStopLetsRequestsFinish: SIGTERM takes no running request away within drain_timeout, and takes no new one.
func TestStopLetsRequestsFinish(t *testing.T) {
	d := start(t, oneTiny, "MOC_SERVER__DRAIN_TIMEOUT=2m")
	d.answers("slow")
	next := d.streaming("slow")
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.until(waitLimit, "new requests are refused", func() bool { return d.get("/health").err != nil })
	last := ""
	for line, err := next(); err == nil; line, err = next() {
		last = line
	}
	if last != "data: [DONE]" {
		t.Errorf("the stream ended with %q", last)
	}
	d.awaitExit(waitLimit)
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// leases are what the ledgers have promised to models.
func (d *daemon) leases() []*messages.Reservation {
	d.t.Helper()
	var out []*messages.Reservation
	for _, g := range d.status().Gpus {
		out = append(out, g.Reservations...)
	}
	return out
}

func (d *daemon) unload(model string) {
	d.t.Helper()
	if _, err := ask(d.nats(), "models.unload."+model, object{"model_name": model}); err != nil {
		d.t.Fatalf("unload %s: %v", model, err)
	}
	d.until(waitLimit, "its memory is back", func() bool {
		for _, l := range d.leases() {
			if l.Holder == modelID(model).String() {
				return false
			}
		}
		return true
	})
}
