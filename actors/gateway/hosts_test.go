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

// A request for a host that is no member is told so, whatever it asks for. One for a member, or for this host, is told of the model.
func TestARequestForAStrangeHost(t *testing.T) {
	g, _ := rig(1, "ready")
	g.o.Member = func(host string) bool { return host == "pc2" }
	for host, want := range map[string]messages.Code{"pc5": messages.NotFound, "pc2": messages.ModelNotFound, "main_pc": messages.ModelNotFound, "": messages.ModelNotFound} {
		ctx := messages.WithCaller(t.Context(), messages.Caller{Only: messages.Only{Host: host}})
		if _, err := g.Admit(ctx, "other"); messages.CodeOf(err) != want {
			t.Errorf("at %q: %v", host, err)
		}
	}
	if _, err := g.Admit(messages.WithCaller(t.Context(), messages.Caller{Only: messages.Only{Host: "pc5"}}), "tiny"); messages.CodeOf(err) != messages.NotFound {
		t.Errorf("%v", err)
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

// A worker of another host that serves another file under the name gets no request: this host's own comes up for them. A host without a file of its own refuses
// them, also those that wait, and says what differs.
func TestAnotherFileServesNobodyHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		differ := messages.NewError(messages.FailedPrecondition, "tiny", "model tiny is another file on main_pc than on pc2")
		g, d := rig(1, "absent")
		g.o.Apart = func(model, host string) *messages.Error {
			if model == "tiny" && host == "pc2" {
				return differ
			}
			return nil
		}
		g.Update(at("pc2", "tiny", 1, "ready"))
		w := admit(g, t.Context())
		if len(d.whom(&messages.EnsureModel{})) == 0 {
			t.Fatal("no place is sought here")
		}
		if v := g.Models()[1]; v.Differs != differ.Message {
			t.Errorf("shown as %q", v.Differs)
		}
		bound := messages.WithCaller(t.Context(), messages.Caller{Only: messages.Only{Host: "pc2"}})
		if _, err := g.Admit(bound, "tiny"); messages.AsError(err).Message != differ.Message {
			t.Errorf("bound to it: %v", err)
		}
		g.Update(view(1, "ready"))
		if r := <-w; r.err != nil || r.grant.Actor != tiny {
			t.Errorf("%+v", r)
		} else {
			r.grant.Release(messages.Outcome{})
		}

		// Without a declaration here, nobody is left.
		g.Update(at("pc3", "tiny", 0, "absent"))
		here := view(1, "absent")
		here.Spec = nil
		g.Update(here)
		w = admit(g, t.Context())
		g.o.Apart = func(string, string) *messages.Error { return differ }
		g.Compare()
		if r := <-w; messages.AsError(r.err).Message != differ.Message {
			t.Errorf("it waits: %+v", r)
		}
		if _, err := g.Admit(t.Context(), "tiny"); messages.AsError(err).Message != differ.Message {
			t.Errorf("it comes: %v", err)
		}
		if err := g.Ensure(t.Context(), "tiny", time.Time{}); messages.AsError(err).Message != differ.Message {
			t.Errorf("a load by hand: %v", err)
		}

		// The files are the same again.
		g.o.Apart = func(string, string) *messages.Error { return nil }
		g.Compare()
		must(t, g).Release(messages.Outcome{})
		empty(t, g)
	})
}

// While another host's worker is busy with requests of others, one request of this host waits there, for its turn by class and age. The rest waits here.
func TestOneRequestWaitsAtABusyHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := rig(1, "absent")
		g.Update(at("pc2", "tiny", 1, "ready"))
		here := view(1, "absent")
		here.Spec = nil
		g.Update(here)
		busy := []*messages.ModelLoad{{Model: "tiny", Active: 1}}
		g.Loads("pc2", busy)
		first := must(t, g)
		w := admit(g, t.Context())
		g.Loads("pc2", busy)
		select {
		case r := <-w:
			t.Fatalf("a second one waits there: %+v", r)
		default:
		}
		first.Release(messages.Outcome{})
		r := <-w
		if r.err != nil || r.grant.Host != "pc2" {
			t.Fatalf("%+v", r)
		}
		r.grant.Release(messages.Outcome{})
	})
}
