//go:build e2e

package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"modelops/messages"
)

// TestReplicas scales a model up, replaces its worker, and unloads it: then no worker of it is left.
func TestReplicas(t *testing.T) {
	d := start(t, "models:\n  declare:\n"+fakeModel(t, "busy", "")+"      replicas: {min: 1, max: 2}\n")
	d.answers("busy")
	send := func(command, body string) {
		t.Helper()
		if got := d.cli("send", "model/main_pc/busy", command, body); got.code != 0 {
			t.Fatalf("%s: %s", command, got.out)
		}
	}
	send("ScaleModel", `{"replicas": 2}`)
	replica := d.awaitPhase("busy~2", "ready")
	first := d.model("busy")
	if replica.Worker.Pid == first.Worker.Pid || replica.Spec.ReplicaOf != "busy" || first.Replicas != 2 {
		t.Fatalf("two workers were wanted: %v and %v", first, replica)
	}
	d.answers("busy")

	send("ReplaceWorker", `{"replica": "busy", "attempt": "1", "reason": "a test"}`)
	d.until(waitLimit, "its worker is another one, and the replacement is gone", func() bool {
		m := d.model("busy")
		return m.Phase == messages.ModelView_ready && m.Attempt == 2 && m.Replacing == "" && d.model("busy~3").Worker == nil
	})
	d.answers("busy")
	d.until(waitLimit, "no view shows the replica that was removed", func() bool {
		return !strings.Contains(d.shows(), "busy~3") && strings.Contains(d.shows(), "busy~2")
	})

	if got := d.cli("unload", "busy"); got.code != 0 {
		t.Fatal(got.out)
	}
	d.until(waitLimit, "no worker is left", func() bool {
		for _, name := range []string{"busy", "busy~2", "busy~3"} {
			if d.model(name).Worker != nil {
				return false
			}
		}
		var reserved uint64
		for _, g := range d.status().Gpus {
			reserved += g.ReservedBytes
		}
		return reserved == 0
	})
	if got := d.cli("replay"); got.code != 0 {
		t.Errorf("replay: %s", got.out)
	}
}

// shows is all that is shown of models, in one text.
func (d *daemon) shows() string {
	d.t.Helper()
	var out strings.Builder
	for _, path := range []string{"/status", "/metrics", "/running", "/v1/models"} {
		out.Write(d.get(path).body)
	}
	for _, command := range []string{"ps", "models"} {
		out.WriteString(d.cli(command).out)
	}
	return out.String()
}

// TestHungWorkerIsReplaced: an engine passes its health check and answers no request. Callers give up soon; after a while another worker answers.
func TestHungWorkerIsReplaced(t *testing.T) {
	d := start(t, "resilience: {circuit_breaker: {hang_timeout: 5s}}\nmodels:\n  declare:\n"+fakeModel(t, "mute", ""))
	for range 5 {
		d.answers("mute")
	}
	old := d.model("mute").Worker
	d.knob(old.Url, 0)
	d.until(2*waitLimit, "it is replaced", func() bool {
		if a := d.post("/v1/chat/completions", question("mute", france), "X-Request-Timeout", "2s"); a.status != 504 && a.status != 200 && a.status != 503 {
			t.Fatal(a)
		}
		return slices.Contains(d.events(modelID("mute")), "model.worker_replaced")
	})
	for range 5 {
		d.answers("mute") // while the old one still goes
	}
	d.awaitAlone("mute", int(old.Pid))
	d.answers("mute")
	d.explains("mute", "no sign of life")
}

// awaitAlone waits until a model has one worker, which isn't the one it had, and nothing of a replacement is left.
func (d *daemon) awaitAlone(model string, old int) {
	d.t.Helper()
	d.until(2*waitLimit, model+" has one worker and it is another one", func() bool {
		m, ps := d.model(model), processesOf(d.dir)
		return m.Phase == messages.ModelView_ready && m.Replacing == "" && len(ps) == 1 && ps[0].pid == int(m.Worker.Pid) && ps[0].pid != old
	})
}

// TestKillNineInAReplacement kills the daemon at each stage of a replacement: what was begun comes to its end.
func TestKillNineInAReplacement(t *testing.T) {
	for what, at := range map[string]func(d *daemon) bool{
		"the replacement was called": func(d *daemon) bool { return d.model("m").Replacing != "" },
		"the replacement loads":      func(d *daemon) bool { return d.model("m~2").Phase == messages.ModelView_loading },
		"the worker starts anew": func(d *daemon) bool {
			m := d.model("m")
			return m.Attempt == 2 && m.Phase == messages.ModelView_loading
		},
		"the replacement is being dismissed": func(d *daemon) bool { m := d.model("m"); return m.Attempt == 2 && m.Phase == messages.ModelView_ready },
	} {
		t.Run(what, func(t *testing.T) {
			d := start(t, "models:\n  declare:\n"+plays(t, "m", "--load 500ms", "vram_mb: 16"))
			d.plays("m")
			old := int(d.model("m").Worker.Pid)
			if got := d.cli("send", modelID("m").String(), "ReplaceWorker", `{"replica": "m", "attempt": "1", "reason": "a test"}`); got.code != 0 {
				t.Fatal(got.out)
			}
			d.until(waitLimit, what, func() bool { // a busy machine may miss the moment: then the daemon is killed after it
				m := d.model("m")
				return at(d) || m.Attempt == 2 && m.Phase == messages.ModelView_ready && m.Replacing == ""
			})
			d.kill()
			d.launch()
			d.awaitAlone("m", old)
			if m := d.model("m"); m.Attempt != 2 {
				t.Errorf("it is at attempt %d: it started anew once", m.Attempt)
			}
			d.plays("m")
			d.calm()
			if got := d.cli("replay"); got.code != 0 {
				t.Errorf("replay: %s", got.out)
			}
			if shown := d.shows(); strings.Contains(shown, "m~2") {
				t.Errorf("a view still shows the replacement: %s", shown)
			}
			if got := d.cli("unload", "m"); got.code != 0 {
				t.Fatal(got.out)
			}
			d.until(waitLimit, "no process is left", func() bool { return len(processesOf(d.dir)) == 0 })
			for _, g := range d.status().Gpus {
				if g.ReservedBytes != 0 {
					t.Errorf("%s still holds %d bytes", g.Id, g.ReservedBytes)
				}
			}
		})
	}
}

// TestLeastReplicasComeUpAndAreAdopted: as many workers as the declaration wants at least come with the preload, and outlive kill -9.
func TestLeastReplicasComeUpAndAreAdopted(t *testing.T) {
	d := start(t, "models:\n  preload: [{name: m}]\n  declare:\n"+plays(t, "m", "", "vram_mb: 16", "replicas: {min: 2, max: 3}"))
	workers := func() []*messages.ModelView {
		return []*messages.ModelView{d.awaitPhase("m", "ready"), d.awaitPhase("m~2", "ready")}
	}
	before := workers()
	d.plays("m")
	d.calm()
	d.kill()
	d.launch()
	d.plays("m")
	after := workers()
	for i, was := range before {
		if is := after[i]; is.Worker.Pid != was.Worker.Pid || is.Attempt != was.Attempt {
			t.Errorf("%s was worker %d of attempt %d and is %d of %d", was.Name, was.Worker.Pid, was.Attempt, is.Worker.Pid, is.Attempt)
		}
	}
	d.calm()
	if ps := processesOf(d.dir); len(ps) != 2 {
		t.Errorf("the workers are %v", ps)
	}
	if got := d.cli("replay"); got.code != 0 {
		t.Errorf("replay: %s", got.out)
	}
	d.cli("unload", "m")
	d.until(waitLimit, "no process is left", func() bool { return len(processesOf(d.dir)) == 0 })
}

// plays sees that a player answers.
func (d *daemon) plays(model string) {
	d.t.Helper()
	if a := d.post("/v1/chat/completions", question(model, france)); a.status != 200 || said(a) != model {
		d.t.Fatalf("%s: %s", model, a)
	}
}
