//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"modelops/journal"
	"modelops/messages"
)

// events are the names of a model's events so far.
func (d *daemon) events(id messages.ActorID) (out []string) {
	d.t.Helper()
	r := journalOver(d.nats())
	err := r.Replay(d.t.Context(), journal.Query{Actor: id}, func(rec messages.Recorded) error {
		for _, e := range rec.Events {
			out = append(out, messages.EventName(e))
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// workersOf are the names of a model's workers that are ready.
func (d *daemon) workersOf(model string) (out []string) {
	for _, m := range d.status().Models {
		if base, replica := messages.ReplicaOf(m.Name); m.Phase == messages.ModelView_ready && (m.Name == model || replica && base == model) {
			out = append(out, m.Name)
		}
	}
	slices.Sort(out)
	return out
}

// TestReplicasFollowTheQueue: requests that wait bring a second worker, both answer, and an unload ends both.
func TestReplicasFollowTheQueue(t *testing.T) {
	d := start(t, "models:\n  declare:\n"+plays(t, "busy", "", "vram_mb: 16", "concurrencyLimit: 1", "replicas: {min: 1, max: 2}"))
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if a := d.post("/v1/chat/completions", question("busy", france, "takes_ms", 1000)); a.status != 200 || said(a) != "busy" {
				t.Errorf("%s", a)
			}
		})
	}
	d.until(waitLimit, "there are two workers", func() bool { return len(d.workersOf("busy")) == 2 })
	all.Wait()
	for _, name := range d.workersOf("busy") {
		if asked := d.do(t.Context(), "GET", d.model(name).Worker.Url+"/asked", nil); string(asked.body) == "0" {
			t.Errorf("%s was never asked", name)
		}
	}
	if models := string(d.get("/v1/models").body); strings.Contains(models, "busy~2") {
		t.Errorf("a replica is listed: %s", models)
	}
	if got := d.events(modelID("busy")); !slices.Contains(got, "model.scaled") {
		t.Errorf("the journal has %v", got)
	}
	d.cli("unload", "busy")
	d.until(waitLimit, "both are gone", func() bool { return len(d.workersOf("busy")) == 0 && len(processesOf(d.dir)) == 0 })
	d.until(waitLimit, "their memory is free", func() bool {
		return !slices.ContainsFunc(d.status().Gpus, func(g *messages.GpuView) bool { return g.ReservedBytes != 0 })
	})
}

// TestDegradedWorkerIsReplaced: a worker whose probes fail gets a successor, which is ready before it goes; callers see answers from then on.
func TestDegradedWorkerIsReplaced(t *testing.T) {
	d := start(t, `
resilience: {circuit_breaker: {failure_threshold: 3, reset_timeout: 300ms}}
models:
  declare:
`+fakeModel(t, "moody", ""))
	d.answers("moody")
	old := d.model("moody").Worker
	d.knob(old.Url, 500)
	d.until(waitLimit, "it is replaced", func() bool {
		d.post("/v1/chat/completions", question("moody", france))
		return slices.Contains(d.events(modelID("moody")), "model.worker_replaced")
	})
	d.until(waitLimit, "it is itself again", func() bool {
		m := d.model("moody")
		return m.Phase == messages.ModelView_ready && m.Worker.Pid != old.Pid && m.Replacing == "" && len(d.workersOf("moody")) == 1
	})
	for range 5 {
		d.answers("moody")
	}
	got := d.events(modelID("moody"))
	degraded, replaced, drained := slices.Index(got, "model.worker_degraded"), slices.Index(got, "model.worker_replaced"), slices.Index(got, "model.draining")
	if degraded < 0 || replaced < degraded || drained >= 0 && drained < degraded {
		t.Errorf("the journal has %v", got)
	}
	d.explains("moody", "probes failed")
}

// TestKeepAliveOfARequest: the latest request says how long the model stays.
func TestKeepAliveOfARequest(t *testing.T) {
	d := start(t, "models:\n  declare:\n"+plays(t, "guest", "", "vram_mb: 16"))
	ask := func(keep any) {
		t.Helper()
		if a := d.post("/v1/chat/completions", question("guest", france, "keep_alive", keep)); a.status != 200 {
			t.Fatal(a)
		}
	}
	ask("10m")
	for began := time.Now(); time.Since(began) < time.Second; {
		if m := d.model("guest"); m.Phase != messages.ModelView_ready {
			t.Fatalf("it is %s although it may stay", m.Phase)
		}
	}
	ask(0)
	d.awaitPhase("guest", "absent")
	if a := d.post("/v1/chat/completions", question("guest", france, "keep_alive", "soon")); a.status != 400 {
		t.Error(fmt.Sprint("a keep_alive that means nothing: ", a))
	}
}
