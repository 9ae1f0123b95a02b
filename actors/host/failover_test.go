package host

import (
	"slices"
	"testing"

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
	models = append(models, at("dead", "listed", true), listed, other)
	open := func(string) string { return "" }
	if got := TakesOver("b", "dead", models, open); !slices.Equal(got, []string{"both"}) {
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
