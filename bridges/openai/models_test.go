package openai

import (
	"strings"
	"testing"

	"modelops/messages"
)

// A model of a host that can't be reached stays in the list and isn't called ready; another host that has it is shown before that one.
func TestModelsOfALostHost(t *testing.T) {
	said := []*messages.HostSaid{{Host: "pc2", AgeMs: 7, Stale: true}, {Host: "pc3", AgeMs: 5}}
	view := func(host, name string, phase messages.ModelView_Phase) *messages.ModelView {
		return &messages.ModelView{Host: host, Name: name, Phase: phase, ReadyMs: 9000}
	}
	const ready, loading = messages.ModelView_ready, messages.ModelView_loading
	var got []string
	for _, m := range nearest([]*messages.ModelView{view("pc2", "a", ready), view("main_pc", "b", loading), view("pc2", "b", ready), view("pc2", "c", ready), view("pc3", "c", loading), view("pc3", "d", ready)}, said) {
		o := describe(m, said)
		got = append(got, strings.Join([]string{o.ID, o.Meta.Host, o.Status}, " "))
		if (o.Created > 0) == (o.Status == "unreachable") || (o.Meta.AgeMs > 0) != (m.Host != "main_pc") {
			t.Errorf("%+v", o)
		}
	}
	if want := "a pc2 unreachable, b main_pc loading, c pc3 loading, d pc3 ready"; strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
}
