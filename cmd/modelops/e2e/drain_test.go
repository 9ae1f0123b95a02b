//go:build e2e

package e2e_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"modelops/messages"
)

// draining are what the two hosts of a drain have: main_pc has four models loaded, and pc2 has room for all but large, because it has a pinned one of its own.
func draining(t *testing.T) func(host string) string {
	of := func(name string, mb int, more string) string {
		return fmt.Sprintf("%s: %s", name, strings.Replace(worker(t, ""), "vram_mb: 64", fmt.Sprintf("vram_mb: %d%s", mb, more), 1))
	}
	all := []string{of("idle", 64, ""), of("busy", 64, ""), of("mine", 64, ""), of("large", 600, "")}
	preload := "{name: idle}, {name: busy}, {name: mine}, {name: large}"
	return func(host string) string {
		if host == "pc2" {
			all, preload = append(all, of("keeper", 600, ", pinned: true")), "{name: keeper}"
		}
		return fmt.Sprintf("resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 1512}]}\nmodels: {preload: [%s], declare: {%s}}\n", preload, strings.Join(all, ", "))
	}
}

// awaitAt waits until a model is in a phase at a host.
func (d *daemon) awaitAt(host, model, phase string) {
	d.t.Helper()
	d.until(waitLimit, fmt.Sprintf("%s is %s at %s", model, phase, host), func() bool { return d.modelOf(host, model).Phase.String() == phase })
}

// TestDrain empties a host of four models for a reboot: an idle one, a busy one, a pinned one, and one for which the other host has no room. No request fails
// meanwhile.
func TestDrain(t *testing.T) {
	t.Parallel() // it waits more than it works
	main, pc2 := pair(t, draining(t))
	for _, name := range []string{"idle", "busy", "mine", "large"} {
		main.awaitAt("main_pc", name, "ready")
	}
	main.awaitAt("pc2", "keeper", "ready")
	if r := main.cli("pin", "mine", "--owner", "alice"); r.code != 0 {
		t.Fatal(r)
	}
	leave, others := main.asking("idle", "mine", "large"), pc2.asking("idle", "mine", "large")
	const pieces = 400
	resp, err := main.send(t.Context(), "POST", "/v1/chat/completions", fmt.Sprintf(`{"model":"busy","stream":true,"bench_chunks":%d,"bench_gap_us":20000}`, pieces))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stream := make(chan string, 1)
	go func() { stream <- readAll(resp.Body) }()

	waited := main.cli("drain", "main_pc", "--wait")
	for _, want := range []string{"large stays: pc2 has no room for it: gpu0 has ", "keeper (pinned)", "modelops unload large --host main_pc"} {
		if waited.code != 5 || !strings.Contains(waited.out, want) {
			t.Errorf("%s\nwants %q", waited, want)
		}
	}
	if said := <-stream; strings.Count(said, "stamp") != pieces || !strings.Contains(said, "[DONE]") {
		t.Errorf("the running request ended after %d pieces", strings.Count(said, "stamp"))
	}
	for _, name := range []string{"idle", "busy", "mine"} {
		if here, there := main.modelOf("main_pc", name).Phase, main.modelOf("pc2", name).Phase; here != messages.ModelView_absent || there != messages.ModelView_ready {
			t.Errorf("%s is %s on main_pc and %s on pc2", name, here, there)
		}
	}
	if by := pc2.modelOf("pc2", "mine").PinnedBy; by != "alice" {
		t.Errorf("mine is pinned by %q on pc2", by)
	}
	if p := main.modelOf("main_pc", "large").Phase; p != messages.ModelView_ready {
		t.Errorf("large is %s on main_pc", p)
	}

	if r := pc2.cli("drain", "main_pc", "--undo"); r.code != 0 || !strings.Contains(r.out, "main_pc takes models again") {
		t.Errorf("%s", r)
	}
	pc2.awaitAt("pc2", "large", "absent")
	if r := main.cli("load", "idle", "--host", "main_pc"); r.code != 0 {
		t.Errorf("after the drain: %s", r)
	}

	if r := pc2.cli("drain", "main_pc"); r.code != 0 || !strings.Contains(r.out, "main_pc is being emptied") {
		t.Errorf("%s", r)
	}
	if r := pc2.cli("unload", "keeper"); r.code != 0 {
		t.Fatal(r)
	}
	if r := pc2.cli("drain", "main_pc", "--wait"); r.code != 0 || !strings.Contains(r.out, "main_pc is empty: it may be rebooted") {
		t.Errorf("%s", r)
	}
	pc2.awaitAt("pc2", "large", "ready")
	leave()
	main.stop()
	main.launch()
	others()
	main.until(startLimit, "it hears pc2", func() bool { return main.sees("pc2").State == messages.MemberView_alive })
	if r := main.cli("drain"); r.code != 0 || !strings.Contains(r.out, "main_pc is empty") {
		t.Errorf("after the reboot: %s", r)
	}
}

// asking asks a host for models, one after the other, until it is told to leave. Each request is to be answered.
func (d *daemon) asking(models ...string) (leave func()) {
	over, left := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		for n := 0; d.t.Context().Err() == nil; n++ {
			select {
			case <-over:
				d.t.Logf("%d requests at %s", n, d.at.Host)
				return
			default:
			}
			model := models[n%len(models)]
			if a := d.post("/v1/chat/completions", chatBody(model, "")); a.status != 200 && d.t.Context().Err() == nil {
				d.t.Errorf("%s at %s, after %d answers: %s", model, d.at.Host, n, a)
			}
		}
	}()
	return func() { close(over); <-left }
}

func readAll(r io.Reader) string {
	b, err := io.ReadAll(r)
	if err != nil {
		return string(b) + err.Error()
	}
	return string(b)
}
