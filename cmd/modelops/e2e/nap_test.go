//go:build e2e

package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"modelops/messages"
)

// TestIdleEngineSleeps: the real llama-server falls asleep, its memory but a rest goes back to the device, and the next request wakes the
// same process.
func TestIdleEngineSleeps(t *testing.T) {
	d := start(t, `
models:
  declare:
    llama: {runtime: llama.cpp, path: TINY, parallel: 2, args: [-t, "1"], sleep: 4s}
`, "LLAMA_SERVER="+llamaServer(t))
	d.answers("llama")
	awake := d.model("llama")
	reserved := func() (sum uint64) {
		for _, g := range d.status().Gpus {
			sum += g.ReservedBytes
		}
		return sum
	}
	d.awaitPhase("llama", "asleep")
	d.until(waitLimit, "its memory went back", func() bool { return reserved() < awake.MeasuredBytes }) // the model is tiny: most of it is the program
	if ps := d.cli("ps"); ps.code != 0 || !strings.Contains(ps.out, "asleep") {
		t.Errorf("ps: %s", ps)
	}
	d.answers("llama")
	if m := d.model("llama"); m.Phase != messages.ModelView_ready || m.Worker.Pid != awake.Worker.Pid || m.Attempt != awake.Attempt {
		t.Errorf("it woke as %v", m)
	}
	if got := reserved(); got < awake.MeasuredBytes {
		t.Errorf("awake it holds %d of %d bytes", got, awake.MeasuredBytes)
	}
	d.awaitPhase("llama", "asleep")
	d.kill()
	d.launch()
	d.answers("llama")
	if m := d.model("llama"); m.Worker.Pid != awake.Worker.Pid {
		t.Error("the sleeper wasn't adopted")
	}
	if got := d.events(modelID("llama")); !slices.Contains(got, "model.asleep") || !slices.Contains(got, "model.awake") {
		t.Errorf("the journal has %v", got)
	}
	d.cli("unload", "llama")
	d.until(waitLimit, "nothing is left", func() bool { return reserved() == 0 && len(processesOf(d.dir)) == 0 })
	if got := d.cli("replay"); got.code != 0 {
		t.Errorf("replay: %s", got)
	}
}
