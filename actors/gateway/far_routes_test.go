package gateway

import (
	"testing"
	"testing/synctest"

	"modelops/messages"
)

// A route of another host holds for requests that come in here, unless this host declares or routes the name itself. A trial's share stays at its host.
func TestRoutesOfAnotherHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(8, "ready") // tiny, alias small, of main_pc
		for _, name := range []string{"old", "new"} {
			v := worker(name, 1, "ready")
			v.Id, v.Host = "model/pc2/"+name, "pc2"
			v.Spec.Aliases = []string{"as-" + name}
			g.Update(v)
		}
		to := func(name string) string {
			if target, err := g.lookup(t.Context(), name); err == nil {
				return target.to.name
			}
			return ""
		}
		g.SetFarRoutes("pc2", []*messages.Route{{Name: "chat", To: "new"}, {Name: "old", To: "new"}, {Name: "as-old", To: "new"}, {Name: "tiny", To: "new"},
			{Name: "small", To: "new"}, {Name: "trial", To: "old", Canary: "new", SharePct: 100, Swap: "s1"}, {Name: "lost", To: "nothing"}})
		for name, want := range map[string]string{"chat": "new", "old": "new", "as-old": "new", "tiny": "tiny", "small": "tiny", "trial": "old", "lost": ""} {
			if got := to(name); got != want {
				t.Errorf("%s leads to %q, want %q", name, got, want)
			}
		}
		if target, _ := g.lookup(t.Context(), "trial"); target == nil || target.canary != nil || len(g.trials) != 0 {
			t.Error("a trial of another host counts requests here")
		}
		g.SetRoutes([]*messages.Route{{Name: "chat", To: "tiny"}})
		if to("chat") != "tiny" {
			t.Error("a route of this host gives way to another host's")
		}
		g.SetRoutes(nil)
		here := worker("old", 1, "absent")
		if g.Update(here); to("old") != "old" || to("as-new") != "new" {
			t.Errorf("once it is declared here, old leads to %q", to("old"))
		}
		if g.SetFarRoutes("pc2", nil); to("chat") != "" {
			t.Error("a route that has ended holds here")
		}
	})
}
