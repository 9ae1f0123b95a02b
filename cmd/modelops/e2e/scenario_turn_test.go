//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/journal"
	"modelops/messages"
)

// The scenarios of docs/scenarios.md in which models take turns, against the binary.

// oneDevice is a simulated device of 24 GB and what follows models.declare.
func oneDevice(sections, declared string) string {
	return sections + "resources: {vram_soft_limit_mb: 50000, devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\nmodels:\n  declare:\n" + declared
}

// remembers reads what an actor decided, oldest first.
func (d *daemon) remembers(actor messages.ActorID) (out []proto.Message) {
	d.t.Helper()
	r := journalOver(d.nats())
	err := r.Replay(d.t.Context(), journal.Query{Actor: actor}, func(rec messages.Recorded) error {
		out = append(out, rec.Events...)
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// count is how often a kind of event stands in an actor's journal.
func (d *daemon) count(actor messages.ActorID, event string) (n int) {
	d.t.Helper()
	for _, e := range d.remembers(actor) {
		if messages.EventName(e) == event {
			n++
		}
	}
	return n
}

func (d *daemon) loads(names ...string) (n int) {
	d.t.Helper()
	for _, name := range names {
		n += d.count(modelID(name), "model.load_started")
	}
	return n
}

// told is an answer and how long it took.
type told struct {
	answer
	took time.Duration
}

// asks sends a question that costs the engine some time; the answer comes over the channel.
func (d *daemon) asks(model string, takes time.Duration) <-chan told {
	out := make(chan told, 1)
	go func() {
		began := time.Now()
		a := d.post("/v1/chat/completions", question(model, france, "takes_ms", takes.Milliseconds()))
		out <- told{a, time.Since(began)}
	}()
	return out
}

// asksHeld sends a question that a player answers only after release.
func (d *daemon) asksHeld(t *testing.T, model string) (answer <-chan told, release func()) {
	t.Helper()
	file, out := filepath.Join(t.TempDir(), "answer"), make(chan told, 1)
	go func() {
		began := time.Now()
		a := d.post("/v1/chat/completions", question(model, france, "holds", file))
		out <- told{a, time.Since(began)}
	}()
	return out, func() {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Error(err)
		}
	}
}

// holding is how many questions a player holds, -1 while its worker is on its way out or not there yet.
func (d *daemon) holding(model string) (n int) {
	d.t.Helper()
	resp, err := d.http().Get(d.model(model).GetWorker().GetUrl() + "/holds")
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	if _, err := fmt.Fscan(resp.Body, &n); err != nil {
		d.t.Fatal(err)
	}
	return n
}

// tell posts to a model's worker itself, which may end instead of answering.
func (d *daemon) tell(model, path string) {
	d.t.Helper()
	if resp, err := d.http().Post(d.model(model).Worker.Url+path, "", nil); err == nil {
		resp.Body.Close()
	}
}

func (d *daemon) heard(c <-chan told, within time.Duration) told {
	d.t.Helper()
	select {
	case a := <-c:
		return a
	case <-time.After(within):
		d.t.Fatalf("no answer within %s", within)
		return told{}
	}
}

// says fails the test unless a player answers with its words.
func (d *daemon) says(model, words string) {
	d.t.Helper()
	if got, a := d.chat(model, france); got != words {
		d.t.Fatalf("%s: %s", model, a)
	}
}

// TestS02NeverFits: a model larger than every device is refused at once with the sums, and no model has to leave.
func TestS02NeverFits(t *testing.T) {
	d := start(t, oneDevice("", plays(t, "there", "", "vram_mb: 20000")+plays(t, "huge", "", "vram_mb: 40000")))
	d.says("there", "there")
	worker := d.model("there").Worker.Pid
	a := d.post("/v1/chat/completions", question("huge", france))
	if a.status != 507 || a.code() != "GPU_UNAVAILABLE" || d.count(messages.ArbiterActor(), "arbiter.placement_postponed") > 0 {
		t.Errorf("it was not refused at once: %s", a)
	}
	for _, sum := range []string{"40000MB", "gpu0 never fits", "limit 22.9 GiB"} {
		if !strings.Contains(string(a.body), sum) {
			t.Errorf("no %q in %s", sum, a)
		}
	}
	d.says("there", "there")
	if v := d.model("there"); v.Worker.Pid != worker || d.count(modelID("there"), "model.unwanted") > 0 {
		t.Errorf("it evicted a model: %v", v)
	}
}

// TestS05Collation: A B A A C A B C takes three swaps, and C isn't forgotten.
func TestS05Collation(t *testing.T) {
	const limit = "concurrencyLimit: 1"
	d := start(t, oneDevice("queue: {max_wait: 10m}\n", plays(t, "A", "", "vram_mb: 20000", limit)+plays(t, "B", "", "vram_mb: 20000", limit)+plays(t, "C", "", "vram_mb: 20000", limit)))
	d.says("A", "A")
	before := d.loads("A", "B", "C")
	order := strings.Fields("A B A A C A B C")
	first, release := d.asksHeld(t, order[0])
	all := []<-chan told{first}
	d.until(waitLimit, "the first runs", func() bool { return d.holding(order[0]) == 1 })
	for n, model := range order[1:] {
		all = append(all, d.asks(model, 300*time.Millisecond))
		d.until(waitLimit, "it waits", func() bool { return d.model("A").Queued+d.model("B").Queued+d.model("C").Queued == uint32(n+1) })
	}
	release()
	for i, c := range all {
		if a := d.heard(c, waitLimit); said(a.answer) != order[i] {
			t.Errorf("%s: %s", order[i], a)
		}
	}
	if swaps := d.loads("A", "B", "C") - before; swaps > 3 {
		t.Errorf("%d swaps for %v", swaps, order)
	}
}

// TestS06LongJobKeepsItsPlace: a chat arrives for a model that can't be beside the one with a long job. It waits, and is told why; the
// job ends as if nothing were.
func TestS06LongJobKeepsItsPlace(t *testing.T) {
	d := start(t, oneDevice("queue: {max_wait: 1s}\n", plays(t, "job", "", "vram_mb: 20000", "min_residency: 0s")+plays(t, "chat", "", "vram_mb: 20000")))
	d.says("job", "job")
	worker := d.model("job").Worker.Pid
	job, release := d.asksHeld(t, "job") // far longer than max_wait: only queue.drain_timeout, half an hour, would end it
	d.until(waitLimit, "the job runs", func() bool { return d.holding("job") == 1 })
	chat := d.asks("chat", 0)
	d.until(waitLimit, "the chat's wait is explained", func() bool {
		e := d.why("chat")
		return strings.Contains(fmt.Sprint(e), "1 busy") && strings.Contains(fmt.Sprint(e), "full")
	})
	due(time.Now().Add(3 * time.Second))
	release()
	a := d.heard(job, waitLimit)
	if said(a.answer) != "job" {
		t.Errorf("the job: %s", a)
	}
	if alive(int(worker)) && d.model("chat").Phase == messages.ModelView_ready {
		t.Error("both are there")
	}
	if b := d.heard(chat, waitLimit); said(b.answer) != "chat" {
		t.Errorf("the chat after %s: %s", b.took, b)
	}
	if n := d.count(messages.ArbiterActor(), "arbiter.placement_postponed"); n != 1 {
		t.Errorf("its wait is told %d times", n)
	}
}

// TestS06TheWaitIsBounded: a job that goes on beyond queue.max_wait and the drain's deadline ends with a word that says why and when to
// come again, and the chat is served.
func TestS06TheWaitIsBounded(t *testing.T) {
	d := prepare(t, base+oneDevice("queue: {max_wait: 1s, drain_timeout: 1s}\n", plays(t, "job", "", "vram_mb: 20000", "min_residency: 0s")+plays(t, "chat", "", "vram_mb: 20000")))
	d.launch()
	d.says("job", "job")
	job, _ := d.asksHeld(t, "job")
	d.until(waitLimit, "the job runs", func() bool { return d.holding("job") == 1 })
	chat := d.asks("chat", 0)
	a := d.heard(job, waitLimit)
	if a.took < 2*time.Second || a.status != 503 || a.header.Get("Retry-After") == "" || !strings.Contains(string(a.body), "unloaded") {
		t.Errorf("the job after %s: %s", a.took, a)
	}
	if b := d.heard(chat, waitLimit); said(b.answer) != "chat" {
		t.Errorf("the chat after %s: %s", b.took, b)
	}
	d.explains("job", "chat")
}

// TestS16BusyBackend: an engine of one thread answers no other request while it computes. It is busy, not dead: through a kill -9 of the
// coordinator too.
func TestS16BusyBackend(t *testing.T) {
	d := start(t, "resilience: {circuit_breaker: {failure_threshold: 1}}\nmodels:\n  declare:\n"+plays(t, "busy", "--single", "vram_mb: 64"))
	d.says("busy", "busy")
	worker := d.model("busy").Worker
	const computes = 8 * time.Second
	first, second := d.asks("busy", computes), d.asks("busy", 0)
	for c, want := range map[<-chan told]string{first: "the long one", second: "the one behind it"} {
		if a := d.heard(c, waitLimit); said(a.answer) != "busy" {
			t.Errorf("%s after %s: %s", want, a.took, a)
		}
	}
	if v := d.model("busy"); v.Worker.Pid != worker.Pid || v.Breaker != messages.ModelView_closed {
		t.Errorf("it is %v", v)
	}
	gone := d.asks("busy", computes)
	d.until(waitLimit, "it computes", func() bool { return d.model("busy").Active == 1 })
	d.kill()
	<-gone
	d.launch()
	d.says("busy", "busy") // waits until the engine has time
	if v := d.model("busy"); v.Worker.Pid != worker.Pid || v.Attempt != 1 {
		t.Errorf("the busy worker was not adopted: %v", v)
	}
}

// TestS17SlowLoad: a load may take any time while it is seen to go on, and no longer than its deadline when it isn't.
func TestS17SlowLoad(t *testing.T) {
	const deadline = "load_timeout: 5s"
	d := start(t, "load: {retries: 0}\nmodels:\n  declare:\n"+plays(t, "slow", "--load 12s --progress", deadline)+plays(t, "stalls", "--load 4s --progress --stall", deadline)+
		plays(t, "silent", "--load 10m", deadline))
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() {
		if a := d.heard(d.asks("slow", 0), waitLimit); said(a.answer) != "slow" || a.took < 11*time.Second {
			t.Errorf("slow after %s: %s", a.took, a)
		}
	})
	for _, c := range []struct {
		model string
		least time.Duration
	}{{"silent", 5 * time.Second}, {"stalls", 6500 * time.Millisecond}} {
		a := d.heard(d.asks(c.model, 0), waitLimit)
		if a.code() != "MODEL_LOAD_ERROR" || !strings.Contains(string(a.body), "without progress") || a.took < c.least {
			t.Errorf("%s after %s: %s", c.model, a.took, a)
		}
		if len(d.pidsOf(c.model)) > 0 {
			t.Errorf("%s left a worker", c.model)
		}
	}
}
