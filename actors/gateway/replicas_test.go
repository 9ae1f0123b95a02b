package gateway

import (
	"context"
	"testing"

	"modelops/messages"
)

// Names of replicas are reused, and a removed replica is neither shown nor kept.
func TestFiftyReplacementsLeaveNoEndpoints(t *testing.T) {
	g, _ := rig(2, "ready")
	for n := range uint64(50) {
		other := view(n+1, "ready")
		other.Id, other.Name = "model/main_pc/tiny~2", "tiny~2"
		g.Update(other)
		grants := []*messages.Grant{must(t, g), must(t, g)}
		gone := view(n+1, "draining")
		gone.Id, gone.Name, gone.Spec, gone.Wanted = other.Id, other.Name, nil, false
		g.Update(gone)
		if shown := g.Models(); len(shown) != 1 || shown[0].Name != "tiny" {
			t.Fatalf("while it drains: %v", shown)
		}
		for _, x := range grants {
			x.Release(messages.Outcome{})
		}
		if err := g.Drain(context.Background(), messages.ModelActor("main_pc", "tiny~2"), n+1, false); err != nil {
			t.Fatal(err)
		}
		gone = view(n+1, "absent")
		gone.Id, gone.Name, gone.Spec = other.Id, other.Name, nil
		g.Update(gone)
		l := g.pools["tiny"]
		if n1 := len(l.pool.Endpoints()); n1 != 1 || len(l.drains) != 0 || len(l.running) != 0 || len(g.pools) != 1 {
			t.Fatalf("after %d: %d endpoints, %d drains, %d that run, %d pools", n+1, n1, len(l.drains), len(l.running), len(g.pools))
		}
	}
}
