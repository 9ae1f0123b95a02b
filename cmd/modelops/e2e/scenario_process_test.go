//go:build e2e

package e2e_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/journal"
	"modelops/messages"
)

// The scenarios of docs/scenarios.md about processes and configuration, against the binary.

// oneWorkerEach watches the processes until the returned function is called: no model has more than one, at any look.
func (d *daemon) oneWorkerEach(t *testing.T) (enough func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var looking sync.WaitGroup
	looking.Go(func() {
		looks := 0
		for ctx.Err() == nil {
			seen := map[string][]int{}
			for _, p := range processesOf(d.dir) {
				seen[p.model] = append(seen[p.model], p.pid)
			}
			for model, pids := range seen {
				if len(pids) > 1 && living(pids) > 1 {
					t.Errorf("%s has the workers %v", model, pids)
				}
			}
			looks++
			pause(t)
		}
		t.Logf("looked %d times", looks)
	})
	return func() { cancel(); looking.Wait() }
}

func living(pids []int) (n int) {
	for _, pid := range pids {
		if alive(pid) {
			n++
		}
	}
	return n
}

// TestS07ThreeEditsInASecond: a preloaded model, edited three times in a second under a watch and SIGHUP both, has one process at every
// look, and the last edit rules.
func TestS07ThreeEditsInASecond(t *testing.T) {
	config := func(words string) string {
		return base + "models:\n  preload: [{name: a}, {name: b}]\n  declare:\n" + strings.Replace(plays(t, "a", "--load 400ms"), "--says a", "--says "+words, 1) + plays(t, "b", "")
	}
	d := prepare(t, config("a0"))
	d.args = []string{"--watch-config"}
	enough := d.oneWorkerEach(t)
	d.launch()
	b := d.awaitPhase("b", "ready").Worker.Pid
	for round := range 3 {
		for i := range 3 {
			d.write("cluster.yaml", config("a"+string(rune('1'+3*round+i))))
			if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			due(time.Now().Add(300 * time.Millisecond))
		}
		d.until(waitLimit, "the last edit rules", func() bool {
			got, _ := d.chat("a", france)
			return got == "a"+string(rune('3'+3*round))
		})
	}
	enough()
	if pids := d.pidsOf("a"); len(pids) != 1 {
		t.Errorf("the workers are %v", pids)
	}
	if now := d.model("b").Worker.Pid; now != b {
		t.Errorf("b, whose declaration wasn't edited, was loaded again: %d loads, before %d", now, b)
	}
}

// TestS10ProcessTreesDieWhole: an engine that ignores SIGTERM, with a child in a session of its own that does too, is gone within its
// grace; and when the engine itself ends, its child doesn't stay.
func TestS10ProcessTreesDieWhole(t *testing.T) {
	d := start(t, "load: {retries: 0}\nmodels:\n  declare:\n"+plays(t, "deaf", "--deaf --fork", "vram_mb: 64")+plays(t, "leaver", "--fork", "vram_mb: 64"))
	d.says("deaf", "deaf")
	family := d.pidsOf("deaf")
	if len(family) != 2 {
		t.Fatalf("the worker and its child are %v", family)
	}
	began := time.Now()
	if _, err := command(d.nats(), modelID("deaf"), &messages.UnloadModel{Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	d.until(waitLimit, "the deaf worker and its child are gone", func() bool { return living(family) == 0 })
	if took := time.Since(began); took < 5*time.Second {
		t.Errorf("they were killed after %s, without their grace", took)
	}
	d.until(waitLimit, "its memory is back", func() bool { return len(d.leases()) == 0 })
	d.says("leaver", "leaver")
	family = d.pidsOf("leaver")
	if len(family) != 2 {
		t.Fatalf("the worker and its child are %v", family)
	}
	d.tell("leaver", "/leave")
	d.until(waitLimit, "the worker has left, and its child is gone", func() bool { return living(family) == 0 })
	if code := d.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left := processesOf(d.dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestS14OneInstanceForOneAttempt: the coordinator is killed again and again during one load. However often the work is taken up, there is
// one process, and it is the first.
func TestS14OneInstanceForOneAttempt(t *testing.T) {
	d := prepare(t, base+"models:\n  preload: [{name: a}]\n  declare:\n"+plays(t, "a", "--load 6s --progress"))
	enough := d.oneWorkerEach(t)
	first := 0
	for range 4 {
		d.launch()
		d.until(waitLimit, "there is a worker", func() bool { return len(d.pidsOf("a")) > 0 })
		if first == 0 {
			first = d.pidsOf("a")[0]
		}
		due(time.Now().Add(200 * time.Millisecond))
		d.kill()
	}
	d.launch()
	v := d.awaitPhase("a", "ready")
	enough()
	if v.Worker.Pid != int64(first) || v.Attempt != 1 || d.loads("a") != 1 {
		t.Errorf("the worker is %d in attempt %d, the first was %d", v.Worker.Pid, v.Attempt, first)
	}
	d.says("a", "a")
}

// TestS15StoppedMeanwhile: while the coordinator was away its configuration changed. A worker of a model that is no more ends, one of an
// old revision is replaced and never asked, an end that was under way goes on, and what a worker left that died meanwhile ends.
func TestS15StoppedMeanwhile(t *testing.T) {
	config := func(more string) string { return base + "models:\n  declare:\n" + more }
	d := prepare(t, config(plays(t, "gone", "")+plays(t, "edited", "")+plays(t, "ending", "--deaf")+plays(t, "died", "--fork")))
	d.launch()
	for _, name := range []string{"gone", "edited", "ending", "died"} {
		d.says(name, name)
	}
	if _, err := command(d.nats(), modelID("ending"), &messages.UnloadModel{Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	died := d.pidsOf("died")
	worker := d.model("died").Worker
	d.kill()
	d.killPid(int(worker.Pid))
	d.write("cluster.yaml", config(strings.Replace(plays(t, "edited", ""), "--says edited", "--says new", 1)+plays(t, "ending", "--deaf")+plays(t, "died", "--fork")))
	d.launch()
	d.says("edited", "new")
	d.until(waitLimit, "what was stopped is gone", func() bool { return len(d.pidsOf("gone"))+len(d.pidsOf("ending")) == 0 })
	if pids := d.pidsOf("edited"); len(pids) != 1 {
		t.Errorf("the workers are %v", pids)
	}
	d.until(waitLimit, "what the dead worker left is gone", func() bool { return len(died) == 2 && living(died) == 0 })
	d.says("died", "died")
	d.until(waitLimit, "the others' memory is back", func() bool { return len(d.leases()) == 2 })
}

// TestS27NoRequestHitsTheOldRevision: requests that come after `config apply` answered get the new revision; those that ran end on the old.
func TestS27NoRequestHitsTheOldRevision(t *testing.T) {
	config := func(words string) string {
		return base + "models:\n  declare:\n" + strings.Replace(plays(t, "a", ""), "--says a", "--says "+words, 1)
	}
	d := prepare(t, config("r0"))
	d.launch()
	d.says("a", "r0")
	var applied atomic.Int64 // the newest revision that is known to rule
	var work sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 8 { // callers without pause meet the instant of the change
		work.Go(func() {
			for ctx.Err() == nil {
				least := applied.Load()
				got, a := d.chat("a", france)
				var revision int64
				if strings.HasPrefix(got, "r") {
					revision = int64(got[1] - '0')
				}
				if a.status != 200 || revision < least {
					t.Errorf("asked when r%d ruled: %s", least, a)
					return
				}
			}
		})
	}
	nc := d.nats()
	for i := 1; i <= 9; i++ {
		running, release := d.asksHeld(t, "a")
		d.until(waitLimit, "it runs", func() bool { return d.holding("a") == 1 })
		d.write("cluster.yaml", config("r"+string(rune('0'+i))))
		if _, err := ask(nc, "config.apply", object{}); err != nil { // not by the command line, whose end takes longer than a race
			t.Fatal(err)
		}
		applied.Store(int64(i))
		release()
		if a := d.heard(running, waitLimit); said(a.answer) != "r"+string(rune('0'+i-1)) {
			t.Errorf("the request that ran: %s", a)
		}
	}
	d.says("a", "r9")
	cancel()
	work.Wait()
}

// TestS30JournalFromTheFuture: the wall clock was an hour ahead when the last decision was made, and is right again. The journal's times
// stay in order, and a lease of a second lasts a second.
func TestS30JournalFromTheFuture(t *testing.T) {
	d := start(t, noModels)
	d.decide(2)
	if code := d.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	ahead := time.Now().Add(time.Hour)
	gpu := messages.GPUActor("main_pc", "cpu")
	func() {
		j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(d.state(), "journal"), Host: "main_pc", BootID: "ahead", Port: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		var last uint64
		err = j.Replay(t.Context(), journal.Query{Actor: gpu}, func(r messages.Recorded) error { last = r.Sequence; return nil })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Append(t.Context(), journal.Append{Actor: gpu, Expected: last, At: ahead, Events: []proto.Message{&messages.VramReserved{Lease: "ahead", Holder: "client/e2e", Bytes: 1 << 20}}}); err != nil {
			t.Fatal(err)
		}
	}()
	d.launch()
	r := &messages.ReserveVram{Lease: "short", Holder: "client/e2e", Bytes: 1 << 20, TtlSeconds: 2}
	if _, err := command(d.nats(), gpu, r); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	d.until(waitLimit, "the lease ends", func() bool {
		return slices.ContainsFunc(d.remembers(gpu), func(e proto.Message) bool {
			x, expired := e.(*messages.LeaseExpired)
			return expired && x.Lease == r.Lease
		})
	})
	if took := time.Since(began); took < time.Second {
		t.Errorf("a lease of 2 s lasted %s", took)
	}
	d.inOrder(ahead)
}

// inOrder: no decision of the journal is dated before the one before it, and the last not before a time.
func (d *daemon) inOrder(least time.Time) {
	d.t.Helper()
	r := journalOver(d.nats())
	var last time.Time
	err := r.Replay(d.t.Context(), journal.Query{}, func(rec messages.Recorded) error {
		if rec.At.Before(last) {
			d.t.Errorf("sequence %d is dated %s, the one before it %s", rec.Sequence, rec.At, last)
		}
		last = rec.At
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	if last.Before(least.Truncate(time.Millisecond)) {
		d.t.Errorf("the last decision is dated %s, before %s", last, least)
	}
}
