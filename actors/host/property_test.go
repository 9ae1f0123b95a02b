package host

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// town is a host with the declarations of its daemon.
type town struct {
	m        *entitytest.Bench[State]
	declared []*messages.DeclaredModel
}

var models = []string{"v1", "v2", "v3", "v4"}

func (w *town) withdraw(name string) {
	if !slices.ContainsFunc(w.declared, func(d *messages.DeclaredModel) bool { return d.Name == name }) {
		return
	}
	w.do(&messages.ReviewRoutes{Withdrawn: []string{name}}) // told before
	w.declared = catalogue(w.declared).except([]string{name})
}

func (w *town) declare(name string, aliases []string) {
	w.declared = append(catalogue(w.declared).except([]string{name}), &messages.DeclaredModel{Name: name, Aliases: aliases})
	w.do(&messages.ReviewRoutes{})
}

func (w *town) do(c proto.Message) {
	w.m.Readings = &messages.DeclaredModels{Models: w.declared}
	_, _ = w.m.Do(c)
}

// swaps are the ids that may be reported, and one that no rollout has.
func (w *town) swaps() []string {
	out := []string{"id-0"}
	for _, s := range w.m.State.Rollouts {
		out = append(out, s.ID)
	}
	slices.Sort(out)
	return out
}

// check: a route leads to a declared model; a declared name leads to a model; a model that answers a name, or may do so soon, is never unloaded.
func (w *town) check(t *rapid.T) {
	known := catalogue(w.declared)
	for _, r := range View(w.m.State).(*messages.HostView).Routes {
		if known.model(r.To) == nil {
			t.Fatalf("%s leads to %s, which isn't declared", r.Name, r.To)
		}
		if r.Canary != "" && (known.model(r.Canary) == nil || r.Canary == r.To || r.SharePct == 0 || r.SharePct > 100) {
			t.Fatalf("%s tries %v", r.Name, r)
		}
	}
	for _, s := range w.m.State.Rollouts {
		if s.running() && (known.model(s.To) == nil || known.model(s.From) == nil || s.From == s.To) {
			t.Fatalf("a swap goes on with what isn't declared: %+v", s)
		}
	}
	for _, e := range Owed(w.m.State) {
		if e, ok := e.(settle); ok && e.Kept == "" && w.m.State.needed(e.Model) != "" {
			t.Fatalf("%s would be unloaded, but answers %s", e.Model, w.m.State.needed(e.Model))
		}
	}
	w.m.Owed() // checks that no two share a key
}

func TestANameLeadsToADeclaredModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &town{m: fresh()}
		w.declare("v1", []string{"chat"})
		w.declare("v2", nil)
		name := rapid.SampledFrom([]string{"chat", "fast", "v1", "v2"})
		model := rapid.SampledFrom(models)
		t.Repeat(map[string]func(*rapid.T){
			"": w.check,
			"swap": func(t *rapid.T) {
				w.do(&messages.SwapModel{Name: name.Draw(t, "name"), To: model.Draw(t, "to"), CanaryPct: rapid.Uint32Range(0, 120).Draw(t, "share")})
			},
			"promote":  func(t *rapid.T) { w.do(&messages.PromoteSwap{Name: name.Draw(t, "name")}) },
			"rollback": func(t *rapid.T) { w.do(&messages.RollbackSwap{Name: name.Draw(t, "name")}) },
			"ready":    func(t *rapid.T) { w.do(&messages.ReportRolloutReady{Id: rapid.SampledFrom(w.swaps()).Draw(t, "id")}) },
			"failed":   func(t *rapid.T) { w.do(&messages.ReportRolloutFailed{Id: rapid.SampledFrom(w.swaps()).Draw(t, "id")}) },
			"judged": func(t *rapid.T) {
				w.do(&messages.ReportRolloutJudged{Id: rapid.SampledFrom(w.swaps()).Draw(t, "id"), Requests: 20, Failed: rapid.Uint64Range(0, 3).Draw(t, "failed")})
			},
			"settled":  func(t *rapid.T) { w.do(&messages.ReportRolloutSettled{Id: rapid.SampledFrom(w.swaps()).Draw(t, "id")}) },
			"withdraw": func(t *rapid.T) { w.withdraw(model.Draw(t, "model")) },
			"declare": func(t *rapid.T) {
				w.declare(model.Draw(t, "model"), rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"chat", "fast"}), 0, 2, rapid.ID).Draw(t, "aliases"))
			},
		})
		if err := w.m.Replayed(len(w.m.Recorded) / 2); err != nil {
			t.Fatal(err)
		}
	})
}

// TestASwapEnds: whatever happens to it, a rollout whose owed work is done leaves nothing owed.
func TestASwapEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &town{m: fresh()}
		for _, name := range models {
			w.declare(name, nil)
		}
		for range rapid.IntRange(1, 6).Draw(t, "swaps") {
			w.do(&messages.SwapModel{Name: rapid.SampledFrom(models).Draw(t, "name"), To: rapid.SampledFrom(models).Draw(t, "to")})
		}
		for range 100 {
			owed := Owed(w.m.State)
			if len(owed) == 0 {
				return
			}
			switch e := rapid.SampledFrom(owed).Draw(t, "work").(type) {
			case prepare:
				w.do(&messages.ReportRolloutReady{Id: e.ID})
			case judge:
				w.do(&messages.ReportRolloutJudged{Id: e.ID, Requests: 20, Failed: rapid.Uint64Range(0, 3).Draw(t, "failed")})
			case settle:
				w.do(&messages.ReportRolloutSettled{Id: e.ID, Kept: e.Kept})
			}
		}
		t.Fatal(fmt.Sprint("still owed: ", w.m.Owed()))
	})
}
