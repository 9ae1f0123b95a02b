//go:build e2e

package e2e_test

import (
	"testing"
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
		return m.Phase == "ready" && m.Attempt == 2 && m.Replacing == "" && d.model("busy~3").Worker == nil
	})
	d.answers("busy")

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
