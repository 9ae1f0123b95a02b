package host

import (
	"slices"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

func TestOneSurvivorTakesAModelOver(t *testing.T) {
	at := func(host, name string, wanted bool) *messages.ModelView {
		return &messages.ModelView{Id: "model/" + host + "/" + name, Host: host, Name: name, Wanted: wanted, Spec: &messages.ModelSpec{Name: name}}
	}
	models := []*messages.ModelView{at("dead", "both", true), at("b", "both", false), at("c", "both", false),
		at("dead", "served", true), at("b", "served", true), at("c", "served", false), at("dead", "idle", false), at("b", "idle", false), at("dead", "only", true)}
	listed := at("c", "listed", false)
	other := at("b", "listed", false)
	other.Spec.Hosts = []string{"dead", "c"}
	moves := at("b", "moves", true) // it may find no room there
	moves.FreeOnly = true
	models = append(models, at("dead", "listed", true), listed, other, at("dead", "moves", true), moves)
	open := func(string) string { return "" }
	if got := TakesOver("b", "dead", models, open); !slices.Equal(got, []string{"both", "moves"}) {
		t.Errorf("b takes %v over", got)
	}
	if got := TakesOver("c", "dead", models, open); !slices.Equal(got, []string{"listed"}) {
		t.Errorf("c takes %v over", got)
	}
	if got := TakesOver("c", "dead", models, func(host string) string {
		if host == "b" {
			return "can't be reached"
		}
		return ""
	}); !slices.Equal(got, []string{"both", "served", "listed"}) {
		t.Errorf("without b, c takes %v over", got)
	}
}

// Of a model that two hosts have, one leaves that nobody uses and nobody asked for; never both.
func TestSpares(t *testing.T) {
	at := func(host string, idle time.Duration, change ...func(*messages.ModelView)) *messages.ModelView {
		v := at(host, messages.ModelView_ready, change...)
		v.OnDemand, v.IdleMs = true, idle.Milliseconds()
		return v
	}
	asked := func(v *messages.ModelView) *messages.ModelView { v.OnDemand = false; return v }
	const long, short = time.Minute, time.Second
	for name, c := range map[string]struct {
		models []*messages.ModelView
		leaves string
	}{
		"both are idle":                 {[]*messages.ModelView{at("a", long), at("b", long)}, "b"},
		"one is used":                   {[]*messages.ModelView{at("a", long), at("b", short)}, "a"},
		"one is busy":                   {[]*messages.ModelView{at("a", long), at("b", long, busy)}, "a"},
		"both are used":                 {[]*messages.ModelView{at("a", short), at("b", short)}, ""},
		"the other may leave too":       {[]*messages.ModelView{at("a", long), at("b", 10*time.Second)}, ""},
		"the later one isn't long idle": {[]*messages.ModelView{at("a", 10*time.Second), at("b", long)}, ""},
		"one was asked for there":       {[]*messages.ModelView{at("a", long), asked(at("b", long))}, "a"},
		"both were asked for":           {[]*messages.ModelView{asked(at("a", long)), asked(at("b", long))}, ""},
		"the later one is pinned":       {[]*messages.ModelView{at("a", long), at("b", long, pinned)}, "a"},
		"there is one only":             {[]*messages.ModelView{at("a", long)}, ""},
		"there are three":               {[]*messages.ModelView{at("a", long), at("b", long), at("c", long)}, "b c"},
	} {
		t.Run(name, func(t *testing.T) {
			var left []string
			for _, host := range []string{"a", "b", "c"} {
				for range Spares(host, c.models, func(string) string { return "" }) {
					left = append(left, host)
				}
				if got := Spares(host, c.models, func(host string) string { return "can't be reached" }); got != nil {
					t.Errorf("cut off, %v leaves", got)
				}
			}
			if got := strings.Join(left, " "); got != c.leaves {
				t.Errorf("%q leaves", got)
			}
		})
	}
}
