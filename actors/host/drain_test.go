package host

import (
	"testing"

	"modelops/messages"
)

func TestHowModelsLeaveADrainedHost(t *testing.T) {
	at := func(host, name string, phase messages.ModelView_Phase, active uint32) *messages.ModelView {
		v := &messages.ModelView{Id: "model/" + host + "/" + name, Host: host, Name: name, Phase: phase, Active: active, Spec: &messages.ModelSpec{Name: name}}
		if phase != messages.ModelView_absent && phase != messages.ModelView_failed {
			v.Placement, v.Wanted = &messages.Placement{}, true
		}
		return v
	}
	for name, c := range map[string]struct {
		models       []*messages.ModelView
		closed       string
		there        string
		unload, wait string
	}{
		"it is ready there":        {models: []*messages.ModelView{at("a", "m", messages.ModelView_ready, 2), at("b", "m", messages.ModelView_ready, 0)}, unload: "its host is being emptied, and it is ready on b"},
		"it is loaded there first": {models: []*messages.ModelView{at("a", "m", messages.ModelView_ready, 0), at("b", "m", messages.ModelView_absent, 0)}, there: "model/b/m", wait: "loads on b first"},
		"it loads there":           {models: []*messages.ModelView{at("a", "m", messages.ModelView_ready, 0), at("b", "m", messages.ModelView_loading, 0)}, wait: "loads on b first"},
		"it failed there":          {models: []*messages.ModelView{at("a", "m", messages.ModelView_ready, 0), at("b", "m", messages.ModelView_failed, 0)}, unload: "its host is being emptied, and no other host can run it"},
		"the other is unreachable": {models: []*messages.ModelView{at("a", "m", messages.ModelView_ready, 1), at("b", "m", messages.ModelView_ready, 0)}, closed: "b", wait: "finishes its requests: no other host can run it"},
		"it is alone and idle":     {models: []*messages.ModelView{at("a", "m", messages.ModelView_asleep, 0)}, unload: "its host is being emptied, and no other host can run it"},
		"it starts":                {models: []*messages.ModelView{at("a", "m", messages.ModelView_loading, 0)}, wait: "is loading"},
	} {
		t.Run(name, func(t *testing.T) {
			got := leaving("a", c.models, func(host string) string {
				if host == c.closed {
					return "can't be reached"
				}
				return ""
			})
			if len(got) != 1 {
				t.Fatalf("%d models leave", len(got))
			}
			there := ""
			if got[0].There != nil {
				there = got[0].There.String()
			}
			if there != c.there || got[0].Unload != c.unload || got[0].Waits != c.wait {
				t.Errorf("%+v", got[0])
			}
		})
	}
}
