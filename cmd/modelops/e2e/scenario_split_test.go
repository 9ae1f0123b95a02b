//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// What is done with several devices, against the binary: models that are split, room that is kept and room that is made.

// twoDevices are simulated devices of 24 GB, each with a limit of 23488 MiB, and what follows models.declare.
func twoDevices(sections, declared string) string {
	return sections + "resources: {vram_soft_limit_mb: 50000, devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}, {id: gpu1, kind: simulated, capacity_mb: 24000}]}\nmodels:\n  declare:\n" + declared
}

// sized is a model of some MiB that may leave as soon as it is idle.
func sized(t *testing.T, name string, mb int, more ...string) string {
	t.Helper()
	return plays(t, name, "", append([]string{fmt.Sprintf("vram_mb: %d", mb), "min_residency: 0s"}, more...)...)
}

// where are a model's devices and what it holds of each in MiB, by the ledgers: "gpu0:15000 gpu1:15000".
func (d *daemon) where(model string) string {
	d.t.Helper()
	var out []string
	for _, g := range d.status().Gpus {
		for _, r := range g.Reservations {
			if r.Holder == modelID(model).String() {
				out = append(out, fmt.Sprintf("%s:%d", g.Device, r.Bytes/messages.MiB))
			}
		}
	}
	return strings.Join(out, " ")
}

// place asks a model and checks where it went.
func (d *daemon) place(model, where string) {
	d.t.Helper()
	d.says(model, model)
	if got := d.where(model); got != where {
		d.t.Fatalf("%s is on %q, not on %q", model, got, where)
	}
}

// typed is what a command of the binary prints; it must succeed.
func (d *daemon) typed(args ...string) string {
	d.t.Helper()
	o := d.cli(args...)
	if o.code != 0 {
		d.t.Fatalf("modelops %s: %d %s", strings.Join(args, " "), o.code, o)
	}
	return o.out
}

// prints wants words in what a command prints, white space aside.
func (d *daemon) prints(command string, words ...string) {
	d.t.Helper()
	out := strings.Join(strings.Fields(d.typed(strings.Fields(command)...)), " ")
	for _, w := range words {
		if !strings.Contains(out, w) {
			d.t.Errorf("modelops %s says no %q:\n%s", command, w, out)
		}
	}
}

// evictions counts how often models had to leave for others.
func (d *daemon) evictions(models ...string) (n int) {
	d.t.Helper()
	for _, name := range models {
		for _, e := range d.remembers(modelID(name)) {
			if u, ok := e.(*messages.ModelUnwanted); ok && u.EvictedFor != "" {
				n++
			}
		}
	}
	return n
}

// TestASplitModelsLife: it takes a lease on each device, for which the fewest leave on each, is shown so, is adopted with both, and gives
// both back.
func TestASplitModelsLife(t *testing.T) {
	d := start(t, twoDevices("", sized(t, "pair", 30000, "shards: 2")+sized(t, "a", 10000)+sized(t, "b", 10000)+sized(t, "c", 5000)+sized(t, "d", 5000)))
	d.place("a", "gpu0:10000")
	d.place("b", "gpu1:10000")
	d.place("c", "gpu0:5000")
	d.place("d", "gpu1:5000")
	const both = "gpu0:15000 gpu1:15000"
	d.place("pair", both)
	for model, phase := range map[string]string{"a": "absent", "b": "absent", "c": "ready", "d": "ready"} {
		d.awaitPhase(model, phase) // one that leaves on each device is enough
	}
	v := d.model("pair")
	if len(v.Placement.GetShares()) != 2 || v.Placement.Bytes() != 30000*messages.MiB {
		t.Errorf("/status: %v", v.Placement)
	}
	d.prints("ps", "pair ready gpu0+gpu1 29.3 GiB")
	d.prints("gpus --leases", "gpu0 model/main_pc/pair 14.6 GiB", "gpu1 model/main_pc/pair 14.6 GiB")
	d.prints("why pair", "gpu0", "gpu1", "share of 15000 MiB")
	d.explains("a", "evicted", "for pair")
	if env, ok := environOf(int(v.Worker.Pid))["CUDA_VISIBLE_DEVICES"]; ok {
		t.Errorf("its worker is bound to %q, and simulated devices have no number", env)
	}

	before := d.leases()
	d.kill()
	d.launch()
	d.says("pair", "pair")
	if now := d.model("pair"); now.Worker.Pid != v.Worker.Pid || now.Attempt != v.Attempt || d.where("pair") != both {
		t.Errorf("it was not adopted: pid %d was %d, attempt %d was %d, on %s", now.Worker.Pid, v.Worker.Pid, now.Attempt, v.Attempt, d.where("pair"))
	}
	for i, l := range d.leases() {
		if l.Lease != before[i].Lease || l.Epoch != before[i].Epoch {
			t.Errorf("the lease %v was %v", l, before[i])
		}
	}
	d.prints("unload pair", "unloaded")
	if got := d.where("pair"); got != "" || len(d.pidsOf("pair")) > 0 {
		t.Errorf("after its unload it still has %q", got)
	}
	d.place("a", "gpu0:10000")
}

// TestASplitThatNeverFits: three shares and two devices. It is refused at once with the sums, and no model has to leave.
func TestASplitThatNeverFits(t *testing.T) {
	d := start(t, twoDevices("", sized(t, "triple", 30000, "shards: 3")+sized(t, "a", 20000)+sized(t, "b", 20000)))
	d.place("a", "gpu0:20000")
	d.place("b", "gpu1:20000")
	a := d.post("/v1/chat/completions", question("triple", france))
	if a.status != 507 || a.code() != "GPU_UNAVAILABLE" || d.count(messages.ArbiterActor(), "arbiter.placement_postponed") > 0 {
		t.Errorf("it was not refused at once: %s", a)
	}
	for _, sum := range []string{"10000MB on each of 3 devices of one host", "split over 3 devices", "its host has 2"} {
		if !strings.Contains(string(a.body), sum) {
			t.Errorf("no %q in %s", sum, a)
		}
	}
	if n := d.evictions("a", "b"); n > 0 || d.model("a").Phase != messages.ModelView_ready || d.model("b").Phase != messages.ModelView_ready {
		t.Errorf("%d had to leave for it", n)
	}
}

// TestAHintKeepsRoom: small models go elsewhere, the big one gets its place without an eviction, and a hint ends by time.
func TestAHintKeepsRoom(t *testing.T) {
	d := start(t, twoDevices("", sized(t, "big", 20000, "aliases: [large]")+sized(t, "s1", 6000)+sized(t, "s2", 6000)+sized(t, "s3", 6000)+sized(t, "pair", 20000, "shards: 2")))
	d.prints("hint", "there are no hints")
	d.prints("hint large --for 10m", "19.5 GiB on gpu0 are kept free for large until")
	d.prints("hint", "MODEL DEVICE MEMORY FOR BY big gpu0 19.5 GiB 9")
	d.prints("gpus", "19.5 GiB on gpu0 are kept free for big for 9")
	for _, small := range []string{"s1", "s2", "s3"} {
		d.place(small, "gpu1:6000")
	}
	d.place("big", "gpu0:20000")
	if n := d.evictions("s1", "s2", "s3"); n > 0 {
		t.Errorf("%d had to leave for it", n)
	}
	d.prints("hint", "there are no hints") // it has its place
	d.prints("hint big --for 1m", "big is on gpu0 already")

	d.unload("big")
	d.prints("hint big --for 2s", "on gpu0 are kept free for big")
	d.until(waitLimit, "the hint is over", func() bool { return len(d.status().Hints) == 0 })
	d.prints("gpus", "gpu0")
	d.unload("s1")
	d.place("s1", "gpu0:6000")
	d.explains("big", "kept for it on gpu0")

	for command, code := range map[string]int{"hint pair": 2, "hint nobody": 4, "defrag --for nobody": 4} {
		if o := d.cli(strings.Fields(command)...); o.code != code {
			t.Errorf("modelops %s: %d %s", command, o.code, o)
		}
	}
}

// smalls are four models of 5000 MiB, two on each device: 13488 MiB are free on both.
var smalls = []string{"s1", "s2", "s3", "s4"}

// scattered is a daemon with the four on its devices; big needs 20000 MiB in one piece.
func scattered(t *testing.T, scheduler, flags string) *daemon {
	t.Helper()
	declared := sized(t, "big", 20000)
	for _, s := range smalls {
		declared += plays(t, s, flags, "vram_mb: 5000", "min_residency: 0s")
	}
	d := start(t, twoDevices(scheduler, declared))
	for i, s := range smalls {
		d.place(s, fmt.Sprintf("gpu%d:5000", i%2))
	}
	return d
}

// together tells whether all the small models are on one device.
func (d *daemon) together() bool {
	var at []string
	for _, s := range smalls {
		at = append(at, d.where(s))
	}
	return at[0] != "" && len(slices.Compact(at)) == 1 && d.status().Defrag == nil
}

// TestDefragByHand: the plan is shown with its costs, and carried out without a failed request at the moved models.
func TestDefragByHand(t *testing.T) {
	d := scattered(t, "", "--load 300ms")
	d.prints("defrag --for big", "MODEL FROM TO MEMORY IDLE DOWNTIME COST", "5000 MiB", "the largest free block: 13.2 GiB now, 22.9 GiB on gpu", "nothing was moved; --apply carries it out")
	if d.together() {
		t.Fatal("it was carried out")
	}
	done := make(chan struct{})
	asked := make(chan []string, len(smalls))
	for _, s := range smalls {
		go func() {
			var bad []string
			for {
				select {
				case <-done:
					asked <- bad
					return
				default:
				}
				if got, a := d.chat(s, france); got != s {
					bad = append(bad, fmt.Sprint(s, ": ", a))
				}
				due(time.Now().Add(400 * time.Millisecond)) // longer than queue.collation: it is idle in between
			}
		}()
	}
	d.until(waitLimit, "the plan is taken", func() bool {
		return strings.Contains(d.cli("defrag", "--for", "big", "--apply").out, "the moves have begun")
	})
	d.until(waitLimit, "they are together", d.together)
	close(done)
	for range smalls {
		for _, bad := range <-asked {
			t.Error(bad)
		}
	}
	d.says("big", "big")
	if n := d.evictions(smalls...); n > 0 {
		t.Errorf("%d had to leave for it", n)
	}
	d.explains("s1", "s1")
	d.explains("big", "kept for it")
}

// TestDefragByItself: with auto the moves are made when the big model is asked for, with propose it is told that they could be.
func TestDefragByItself(t *testing.T) {
	d := scattered(t, "scheduler: {defrag: auto}\nqueue: {max_wait: 20s, collation: 0s}\n", "")
	d.says("big", "big")
	d.until(waitLimit, "they are together", d.together) // the plan ends a moment after the model that it is for is ready
	if n := d.evictions(smalls...); n > 0 {
		t.Errorf("%d had to leave for it", n)
	}
	d.explains("big", "models move to make room in one piece")
}

func TestDefragProposed(t *testing.T) {
	d := scattered(t, "scheduler: {defrag: propose}\nqueue: {collation: 0s}\n", "")
	d.says("big", "big")
	if n := d.evictions(smalls...); n != 2 {
		t.Errorf("%d had to leave for it", n)
	}
	d.prints("why big", "no holder would have to leave if these moved", "modelops defrag --for")
}

// TestUnloadWinsOverDefrag: a person unloads a model that a plan moves. It stays away, and the plan ends.
func TestUnloadWinsOverDefrag(t *testing.T) {
	d := scattered(t, "", "--load 1500ms")
	moved := ""
	d.until(waitLimit, "the plan is taken", func() bool {
		return strings.Contains(d.cli("defrag", "--for", "big", "--apply").out, "the moves have begun")
	})
	d.until(waitLimit, "one is on its way", func() bool {
		for _, s := range smalls {
			if p := d.model(s).Phase; p != messages.ModelView_ready {
				moved = s
			}
		}
		return moved != ""
	})
	d.typed("unload", moved)
	d.until(waitLimit, "the plan is over", func() bool { return d.status().Defrag == nil })
	for began := time.Now(); time.Since(began) < 2*time.Second; due(time.Now().Add(50 * time.Millisecond)) {
		if v := d.model(moved); v.Wanted || v.Phase != messages.ModelView_absent {
			t.Fatalf("%s is %s after its unload", moved, v.Phase)
		}
	}
}

// TestPinsHold: a model that can't be placed because of a pin says who pinned what until when, and is placed by itself when the pin is over.
func TestPinsHold(t *testing.T) {
	d := start(t, oneDevice("", sized(t, "kept", 20000)+sized(t, "next", 20000)))
	d.says("kept", "kept")
	d.prints("pin kept --for 12s --owner alice", "kept is pinned: by alice for")
	until := time.UnixMilli(d.model("kept").PinnedUntilMs)
	waits := d.asks("next", 0)
	d.until(waitLimit, "next waits", func() bool {
		return strings.Contains(fmt.Sprint(d.why("next")), "pinned by alice until "+until.UTC().Format("2006-01-02 15:04:05"))
	})
	if d.model("kept").Phase != messages.ModelView_ready {
		t.Error("it left although it is pinned")
	}
	a := d.heard(waits, waitLimit)
	if said(a.answer) != "next" || time.Now().Before(until) {
		t.Errorf("after %s, %s before the pin's end: %s", a.took, time.Until(until), a)
	}
	if n := d.evictions("kept"); n != 1 {
		t.Errorf("evicted %d times", n)
	}
}
