//go:build e2e

package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"modelops/journal"
	"modelops/messages"
)

// The scenarios of docs/scenarios.md in which something fails, against the binary.

// TestS13WorkerDiesMidLoad: what a load that died had reserved doesn't keep the next model out.
func TestS13WorkerDiesMidLoad(t *testing.T) {
	d := start(t, oneDevice("load: {retries: 0}\n", plays(t, "dying", "--load 10m --progress", "vram_mb: 20000")+plays(t, "next", "", "vram_mb: 20000")))
	dying := d.asks("dying", 0)
	d.until(waitLimit, "it loads", func() bool { return len(d.pidsOf("dying")) == 1 })
	next := d.asks("next", 0)
	d.killPid(d.pidsOf("dying")[0])
	if a := d.heard(dying, waitLimit); a.code() != "MODEL_LOAD_ERROR" {
		t.Errorf("dying: %s", a)
	}
	if a := d.heard(next, waitLimit); said(a.answer) != "next" {
		t.Errorf("next after %s: %s", a.took, a)
	}
	if n := d.count(messages.GPUActor("main_pc", "gpu0"), "gpu.lease_expired"); n != 0 {
		t.Error("the dead load's reservation had to expire")
	}
	if leases := d.leases(); len(leases) != 1 || leases[0].Holder != modelID("next").String() {
		t.Errorf("the leases are %v", leases)
	}
}

// TestS20OutOfMemoryIsOnesOwn: an engine that runs out of memory is tried a few times with more room, and models that fit beside it keep
// their places.
func TestS20OutOfMemoryIsOnesOwn(t *testing.T) {
	d := start(t, oneDevice("load: {retries: 2}\n", plays(t, "a", "", "vram_mb: 6000")+plays(t, "b", "", "vram_mb: 6000")+
		plays(t, "liar", "--load 200ms --dies CUDA_error:_out_of_memory", "vram_mb: 2000")))
	d.says("a", "a")
	d.says("b", "b")
	pids := []int64{d.model("a").Worker.Pid, d.model("b").Worker.Pid}
	a := d.heard(d.asks("liar", 0), waitLimit)
	if a.code() != "MODEL_LOAD_ERROR" || !strings.Contains(string(a.body), "out of memory") {
		t.Errorf("liar: %s", a)
	}
	if n := d.loads("liar"); n < 2 || n > 4 {
		t.Errorf("it was tried %d times", n)
	}
	d.says("a", "a")
	d.says("b", "b")
	if now := []int64{d.model("a").Worker.Pid, d.model("b").Worker.Pid}; now[0] != pids[0] || now[1] != pids[1] {
		t.Errorf("the workers are %v, before %v", now, pids)
	}
	if leases := d.leases(); len(leases) != 2 {
		t.Errorf("the leases are %v", leases)
	}
}

// TestS25PreloadStorm: however many models are preloaded, two load at a time, and a failing one waits longer each time.
func TestS25PreloadStorm(t *testing.T) {
	const models = 16
	preload, declared := "load: {max_concurrent: 2, retries: 2}\nmodels:\n  preload: [{name: bad}", "  declare:\n"+plays(t, "bad", "--dies told_to", "vram_mb: 16")
	for i := range models {
		preload += fmt.Sprintf(", {name: m%02d}", i)
		declared += plays(t, fmt.Sprintf("m%02d", i), "--load 300ms", "vram_mb: 16")
	}
	d := start(t, preload+"]\n"+declared)
	d.until(waitLimit, "all are ready but the bad one", func() bool {
		ready := 0
		for _, m := range d.status().Models {
			if m.Phase == messages.ModelView_ready {
				ready++
			}
		}
		return ready == models && d.model("bad").Phase == messages.ModelView_failed
	})
	loading, most, pauses := map[messages.ActorID]bool{}, 0, []int64{}
	r := journalOver(d.nats())
	err := r.Replay(t.Context(), journal.Query{}, func(rec messages.Recorded) error {
		for _, e := range rec.Events {
			switch e := e.(type) {
			case *messages.ModelLoadStarted:
				loading[rec.Actor] = true
				most = max(most, len(loading))
			case *messages.ModelReady:
				delete(loading, rec.Actor)
			case *messages.LoadFailed:
				delete(loading, rec.Actor)
				pauses = append(pauses, int64(e.RetryMs))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if most != 2 {
		t.Errorf("at most %d loaded at the same time", most)
	}
	if len(pauses) != 3 || pauses[0] < 500 || pauses[1] < pauses[0]*5/4 || pauses[2] != 0 {
		t.Errorf("the bad one's pauses are %v ms", pauses)
	}
}

// TestS28CutAtARandomByte: a journal that lost its end, wherever the cut is, is never taken for a whole one.
func TestS28CutAtARandomByte(t *testing.T) {
	d := start(t, noModels)
	d.decide(20)
	block, whole := d.atRest()
	raw, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := os.RemoveAll(d.state()); err != nil {
			t.Fatal(err)
		}
		copyTree(t, whole, d.state())
		at := rand.IntN(len(raw) - 1)
		change(t, block, func(b []byte) []byte { return b[:at] })
		before := fingerprint(t, d.journalDir())
		if said := d.fails(7); !strings.Contains(said, "sequence ") {
			t.Errorf("cut at byte %d of %d: %s", at, len(raw), said)
		}
		if fingerprint(t, d.journalDir()) != before {
			t.Errorf("cut at byte %d of %d: the refused start changed the journal", at, len(raw))
		}
	}
}
