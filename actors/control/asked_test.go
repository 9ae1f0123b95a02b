package control

import (
	"context"
	"slices"
	"testing"

	"modelops/messages"
)

// Asked of one host, lists leave out what is of others, also while that host can't be reached; where a model's host can be named it is; all else is run there.
func TestAskedOfOneHost(t *testing.T) {
	h, others := open(), &otherHosts{cut: true}
	h.o.Hosts = others
	h.o.Others = func() ([]*messages.HostSaid, []*messages.QueuedRequest) {
		return []*messages.HostSaid{{Host: "pc2", AgeMs: 7, Active: 4}}, []*messages.QueuedRequest{{Host: "pc2", RequestId: "there"}}
	}
	h.queued = []*messages.ModelView{{Name: "a", Host: "h", Phase: messages.ModelView_ready, MeasuredBytes: 5 * messages.MiB}, {Name: "b", Host: "pc2", Phase: messages.ModelView_ready, MeasuredBytes: 9 * messages.MiB}}
	h.view.StateChanged(messages.HostActor("pc2"), 1, &messages.HostView{Host: "pc2", BootId: "b2"})
	of := func(host string) context.Context {
		return messages.WithCaller(t.Context(), messages.Caller{Only: messages.Only{Host: host}})
	}
	o := h.Scoped()
	for host, want := range map[string]string{"h": "a", "pc2": "b"} {
		s, err := o.GetStatus(of(host), nil)
		if err != nil || len(s.Models) != 1 || s.Models[0].Name != want || len(s.Hosts) != map[string]int{"h": 0, "pc2": 1}[host] {
			t.Errorf("status of %s: %v, %v", host, s, err)
		}
		r, err := o.ListResident(of(host), nil)
		if err != nil || len(r.Models) != 1 || r.Models[0].Name != want {
			t.Errorf("resident on %s: %v, %v", host, r, err)
		}
		l, err := o.ListModels(of(host), nil)
		if err != nil || l.TotalCount != 1 || l.Models[0].Host != host || l.TotalVramMb != map[string]int64{"h": 5, "pc2": 9}[host] {
			t.Errorf("models of %s: %v, %v", host, l, err)
		}
	}
	if s, _ := o.GetStatus(of("pc2"), nil); s.Host.GetBootId() != "b2" {
		t.Errorf("the status of pc2 shows the host %v", s.Host)
	}
	if q, err := o.GetQueue(of("pc2"), nil); err != nil || len(q.Requests) != 1 || q.Requests[0].RequestId != "there" || q.Active != 4 || q.Hosts[0].AgeMs != 7 {
		t.Errorf("queue of pc2: %v, %v", q, err)
	}
	if q, err := o.GetQueue(of("h"), nil); err != nil || len(q.Requests) != 0 || q.Active != 3 {
		t.Errorf("queue of h: %v, %v", q, err)
	}
	others.cut = false
	for range 2 { // the caller's word about the host isn't said again there
		_, _ = o.StartSwap(of("pc2"), &messages.SwapModel{Name: "a", To: "b"})
		_, _ = o.PinModel(of("pc2"), &messages.PinModelRequest{ModelName: "b"})
		_, _ = o.Why(of("pc2"), &messages.WhyRequest{Subject: "b"})
	}
	if want := []string{"pc2 StartSwap", "pc2 PinModel at pc2", "pc2 Why b at pc2"}; !slices.Equal(others.asked, append(want, want...)) {
		t.Errorf("asked %q", others.asked)
	}
	_, err := o.GetStatus(of("pc9"), nil)
	is(t, err, messages.NotFound, "host pc9", "no member")
	if v, err := o.GetVersion(of("h"), nil); err != nil || v.Host != "h" {
		t.Errorf("%v, %v", v, err)
	}
}

// A request that this host has passed on to a worker of another host, where it waits for a place, is shown as waiting there; what a host says that can't be
// reached now doesn't count.
func TestWaitsAtAnotherHost(t *testing.T) {
	for _, stale := range []bool{false, true} {
		q := &messages.QueueView{Active: 2, Queued: 1, Requests: []*messages.QueuedRequest{{RequestId: "r1", Model: "m", State: "running"}, {RequestId: "r2", Model: "m", State: "running", WaitedMs: 5},
			{RequestId: "r3", Model: "m", State: "waiting", Position: 1, WaitsFor: "a place"}}}
		waitThere(q, []*messages.HostSaid{{Host: "pc2", Stale: stale}}, []*messages.QueuedRequest{{Host: "pc2", RequestId: "r1", Model: "m", State: "running"},
			{Host: "pc2", RequestId: "r2", Model: "m", State: "waiting", Position: 1, WaitedMs: 7, WaitsFor: "a place"}, {Host: "pc2", RequestId: "r3", Model: "m", State: "waiting", Position: 9, WaitsFor: "a place"}})
		r1, r2, r3 := q.Requests[0], q.Requests[1], q.Requests[2]
		if waits := r2.State == "waiting" && r2.Position == 0 && r2.WaitedMs == 12 && r2.WaitsFor == "a place at pc2, as number 1 there" && q.Active == 1 && q.Queued == 2; waits == stale {
			t.Errorf("stale %t: %v", stale, q)
		}
		if r1.State != "running" || r3.Position != 1 || r3.WaitsFor != "a place" {
			t.Errorf("%v", q)
		}
	}
}
