package gateway

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// at is a view of tiny on another host.
func at(host, name string, attempt uint64, phase string) *messages.ModelView {
	v := worker(name, attempt, phase)
	v.Id, v.Host, v.Worker.Url = messages.ModelActor(host, name).String(), host, "http://"+host+":9"
	v.Wanted = phase != "absent" && phase != "failed"
	return v
}

// One name on two hosts: an absent model on one host doesn't hide a ready worker on the other, and both serve when both are ready.
func TestOneNameOnTwoHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(1, "ready")
		g.Update(at("pc2", "tiny", 0, "absent"))
		here := must(t, g)
		if here.Actor != tiny || here.URL != "http://127.0.0.1:9" {
			t.Fatalf("%+v", here)
		}
		g.Update(at("pc2", "tiny", 1, "ready"))
		there := must(t, g)
		if there.Actor != messages.ModelActor("pc2", "tiny") || there.Model != "tiny" || there.URL != "peer://tiny@pc2" || there.Host != "pc2" || there.Alive != nil {
			t.Fatalf("%+v", there)
		}
		var shown []string
		for _, v := range g.Models() {
			shown = append(shown, v.Id)
		}
		if !slices.Equal(shown, []string{"model/main_pc/tiny", "model/pc2/tiny"}) {
			t.Errorf("shows %v", shown)
		}

		// A drain of one leaves the other open.
		drained := make(chan error, 1)
		go func() { drained <- g.Drain(t.Context(), messages.ModelActor("pc2", "tiny"), 1, false) }()
		w := admit(g, t.Context())
		here.Release(messages.Outcome{})
		if r := <-w; r.err != nil || r.grant.Actor != tiny {
			t.Errorf("%+v", r)
		} else {
			r.grant.Release(messages.Outcome{})
		}
		there.Release(messages.Outcome{})
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if told := d.heard(); len(told) != 0 {
			t.Errorf("told %v", told)
		}
		empty(t, g)
	})
}

// The declaration of this host counts, else that of the first host by name.
func TestDeclarationsOfTwoHosts(t *testing.T) {
	g, _ := rig(1, "absent")
	there := at("pc2", "tiny", 1, "ready")
	there.Spec.Aliases = []string{"little"}
	g.Update(there)
	if _, err := g.lookup(t.Context(), "little"); messages.CodeOf(err) != messages.ModelNotFound {
		t.Errorf("another host's alias counts: %v", err)
	}
	here := view(1, "absent")
	here.Spec = nil
	g.Update(here)
	if _, err := g.lookup(t.Context(), "small"); messages.CodeOf(err) != messages.ModelNotFound {
		t.Errorf("the alias of a withdrawn declaration counts: %v", err)
	}
	grant, err := g.Admit(t.Context(), "little")
	if err != nil || grant.Actor.Host() != "pc2" {
		t.Fatalf("%+v, %v", grant, err)
	}
	grant.Release(messages.Outcome{})
	gone := at("pc2", "tiny", 1, "absent")
	gone.Spec = nil
	g.Update(gone)
	if _, err := g.lookup(t.Context(), "tiny"); messages.CodeOf(err) != messages.ModelNotFound {
		t.Errorf("no host declares it: %v", err)
	}
}

// Each host rules over its own workers: those of another one get no hints, and its actors hear of no breakers.
func TestEachHostRulesOverItsOwnWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := rig(1, "absent")
		v := at("pc2", "tiny", 1, "ready")
		v.Replicas, v.Spec.MinReplicas, v.Spec.MaxReplicas, v.Spec.SleepMs, v.Spec.IdleMs = 1, 2, 2, proto.Int64(1000), proto.Int64(60000)
		g.Update(v)
		for range 8 {
			must(t, g).Release(messages.Outcome{Failed: true})
			time.Sleep(20 * time.Second)
		}
		sweep(g, 2*time.Second)
		sweep(g, 2*time.Minute)
		if told := d.heard(); len(told) != 0 {
			t.Errorf("told %v", told)
		}
	})
}
