package view

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// A withdrawn replica holds memory until its worker is gone: the scheduler sees it until then, and not afterwards.
func TestLedgersShowTheWithdrawnUntilTheyAreGone(t *testing.T) {
	p := New(Options{})
	placed := &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/h/g", Bytes: 8}}}
	base := &messages.ModelView{Id: "model/h/chat", Phase: messages.ModelView_ready, Spec: &messages.ModelSpec{Name: "chat"}, Placement: placed}
	l := Ledgers{Host: "h", View: p, Now: time.Now, Seeking: func() []*messages.Allocation { return nil }, Live: func() []*messages.ModelView { return []*messages.ModelView{base} }}
	replica := messages.ModelActor("h", "chat~2")
	p.StateChanged(messages.ModelActor("h", "chat"), 1, base)
	p.StateChanged(replica, 2, &messages.ModelView{Id: replica.String(), Phase: messages.ModelView_draining, Placement: placed})
	if rs := l.Allocations(); len(rs) != 2 || rs[1].Holder != replica.String() || rs[1].State != messages.Allocation_changing || len(p.Present()) != 2 {
		t.Errorf("while it drains: %v", rs)
	}
	p.StateChanged(replica, 3, &messages.ModelView{Id: replica.String(), Phase: messages.ModelView_absent})
	if rs := l.Allocations(); len(rs) != 1 || len(l.Models()) != 1 || len(p.Present()) != 1 {
		t.Errorf("when it is gone: %v, shown %v", rs, l.Models())
	}
}

// A load that has just begun counts for the scheduler, although the gateway doesn't have its view yet.
func TestALoadCountsFromItsDecision(t *testing.T) {
	id := messages.ModelActor("main_pc", "m")
	view := func(phase messages.ModelView_Phase) *messages.ModelView {
		return &messages.ModelView{Id: id.String(), Name: "m", Phase: phase, Spec: &messages.ModelSpec{Name: "m"}, Placement: &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/main_pc/cpu"}}}}
	}
	p := New(Options{})
	p.StateChanged(id, 1, view(messages.ModelView_loading))
	late := view(messages.ModelView_placing)
	late.Placement, late.Queued = nil, 3
	l := Ledgers{Host: "main_pc", View: p, Now: time.Now, Seeking: func() []*messages.Allocation { return nil }, Live: func() []*messages.ModelView { return []*messages.ModelView{late} }}
	got := l.Allocations()
	if len(got) != 1 || got[0].State != messages.Allocation_starting || len(got[0].Shares) == 0 || got[0].Queued != 3 {
		t.Errorf("the scheduler sees %v", got)
	}
}

// What runs at another host is counted once, as that host says: what this one sends there is among it.
func TestLedgersOfSeveralHosts(t *testing.T) {
	at := func(host string, active uint32) *messages.ModelView {
		id := messages.ModelActor(host, "m")
		return &messages.ModelView{Id: id.String(), Host: host, Name: "m", Phase: messages.ModelView_ready, Spec: &messages.ModelSpec{Name: "m"}, Active: active}
	}
	p := New(Options{})
	for _, host := range []string{"main_pc", "pc2", "pc3"} {
		p.StateChanged(messages.ModelActor(host, "m"), 1, at(host, 0))
		p.StateChanged(messages.HostActor(host), 1, &messages.HostView{Host: host})
	}
	others := &Follower{View: p}
	if err := others.take(t.Context(), "pc2", &messages.Report{Loads: []*messages.ModelLoad{{Model: "m", Active: 3, Queued: 1}}}); err != nil {
		t.Fatal(err)
	}
	if err := others.take(t.Context(), "pc3", &messages.Report{}); err != nil {
		t.Fatal(err)
	}
	l := Ledgers{Host: "main_pc", View: p, Others: others, Now: time.Now, Seeking: func() []*messages.Allocation { return nil },
		Live: func() []*messages.ModelView {
			return []*messages.ModelView{at("main_pc", 2), at("pc2", 2), at("pc3", 5)}
		}}
	runs := map[string]uint32{}
	for _, m := range l.AllModels() {
		runs[m.Host] += m.Active + m.Queued
	}
	if want := map[string]uint32{"main_pc": 2, "pc2": 4, "pc3": 0}; !maps.Equal(runs, want) {
		t.Errorf("%v run and wait, not %v", runs, want)
	}
	busy := map[string]uint32{}
	for _, h := range l.Hosts() {
		busy[h.Host] = h.Busy
	}
	if want := map[string]uint32{"main_pc": 2, "pc2": 4}; !maps.Equal(busy, want) {
		t.Errorf("%v are busy, not %v", busy, want)
	}
	r := Reporter{Host: "main_pc", View: p, Ledgers: l, Now: time.Now, Queue: func() *messages.QueueView { return nil }}
	if a := r.activity(); a.active != 2 {
		t.Errorf("%d run here, not 2", a.active)
	}
	if loads := r.sign(&messages.Report{}).Loads; len(loads) != 1 || loads[0].Active != 2 {
		t.Errorf("it reports %v", loads)
	}
}

// Nothing is placed on a host that has said nothing for a while, and the decision says so. This host needs no report of its own.
func TestAHostWithAnOldReportIsLeftOut(t *testing.T) {
	p := New(Options{})
	others := &Follower{View: p}
	for _, host := range []string{"main_pc", "pc2", "pc3"} {
		p.StateChanged(messages.HostActor(host), 1, &messages.HostView{Host: host})
		if host != "main_pc" {
			others.of(host).end = func() {}
			if err := others.take(t.Context(), host, &messages.Report{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	now := time.Now()
	others.of("pc3").at = now.Add(-time.Minute)
	l := Ledgers{Host: "main_pc", View: p, Others: others, Now: func() time.Time { return now }, Live: func() []*messages.ModelView { return nil }, Other: func(string) string { return "" }}
	got := l.Hosts()
	if len(got) != 1 || got[0].Host != "pc3" || !got[0].Unreachable || got[0].Refusal != "reported last 1m0s ago" {
		t.Errorf("%v", got)
	}
}

// A job seeks memory while it waits for it, holds it while it runs, and is never idle then. One that has ended long ago is in no reading.
func TestLedgersShowJobs(t *testing.T) {
	tune := messages.ActorID{Kind: messages.KindJob, ID: "h/tune"}
	p, now := New(Options{}), time.UnixMilli(100_000)
	l := Ledgers{Host: "h", View: p, Now: func() time.Time { return now }, Seeking: func() []*messages.Allocation { return nil }, Live: func() []*messages.ModelView { return nil }}
	spec := &messages.JobSpec{Priority: -5}
	placed := &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/h/g", Bytes: 8, Lease: "l", Epoch: 3}}}
	apart := &messages.Placement{Shares: placed.Shares, Unpreemptible: true}
	share := placed.Shares
	seeks := &messages.Allocation{Holder: "job/h/tune", State: messages.Allocation_seeking, WaitedMs: 40_000, Priority: -5, Job: true, Devices: 1}
	for i, c := range []struct {
		view *messages.JobView
		want *messages.Allocation
	}{
		{&messages.JobView{Phase: messages.JobView_pending, WaitingSinceMs: 60_000}, seeks},
		{&messages.JobView{Phase: messages.JobView_pending, RetryAtMs: 120_000}, nil},
		{&messages.JobView{Phase: messages.JobView_reserved, Placement: placed}, &messages.Allocation{Holder: "job/h/tune", State: messages.Allocation_starting, Priority: -5, Shares: share, Job: true, Devices: 1, GraceMs: 30_000}},
		{&messages.JobView{Phase: messages.JobView_running, Placement: placed, BeganMs: 70_000}, &messages.Allocation{Holder: "job/h/tune", State: messages.Allocation_settled, Priority: -5, Shares: share, Active: 1, HeldMs: 30_000, Job: true, Devices: 1, GraceMs: 30_000, UnsavedMs: 30_000}},
		{&messages.JobView{Phase: messages.JobView_running, Placement: apart}, &messages.Allocation{Holder: "job/h/tune", State: messages.Allocation_settled, Priority: -5, Shares: share, Active: 1, Pinned: true, PinnedBy: "its claim", Job: true, Devices: 1, GraceMs: 30_000}},
		{&messages.JobView{Phase: messages.JobView_checkpointing, Placement: placed}, &messages.Allocation{Holder: "job/h/tune", State: messages.Allocation_changing, Priority: -5, Shares: share, Job: true, Devices: 1, GraceMs: 30_000}},
		{&messages.JobView{Phase: messages.JobView_preempted, WaitingSinceMs: 60_000}, seeks},
		{&messages.JobView{Phase: messages.JobView_paused}, nil},
		{&messages.JobView{Phase: messages.JobView_completed}, nil},
	} {
		c.view.Id, c.view.Host, c.view.Name, c.view.Spec = tune.String(), "h", "tune", spec
		p.StateChanged(tune, uint64(i+1), c.view)
		var got *messages.Allocation
		if all := l.Allocations(); len(all) == 1 {
			got = all[0]
		}
		if !proto.Equal(got, c.want) {
			t.Errorf("%s: the scheduler sees %v, want %v", c.view.Phase, got, c.want)
		}
	}
	if far := p.LiveJobsOf("pc2"); len(far) != 0 {
		t.Errorf("another host's jobs: %v", far)
	}
}

// A deleted goal whose job is still being stopped is shown until that has ended; other hosts hear of it all.
func TestGoalsAreShown(t *testing.T) {
	p, follower := New(Options{}), &Follower{View: New(Options{})}
	goal := messages.ActorID{Kind: messages.KindGoal, ID: "h/better"}
	r := Reporter{Host: "h", View: p, Ledgers: Ledgers{Host: "h", View: p, Now: time.Now, Seeking: func() []*messages.Allocation { return nil }, Live: func() []*messages.ModelView { return nil }},
		Queue: func() *messages.QueueView { return nil }, Now: time.Now}
	for n, c := range []struct {
		view  *messages.GoalView
		shown int
	}{
		{&messages.GoalView{Id: goal.String(), Spec: &messages.GoalSpec{}, Phase: messages.GoalView_active}, 1},
		{&messages.GoalView{Id: goal.String(), Spec: &messages.GoalSpec{}, Phase: messages.GoalView_cancelled, Deleted: true, Working: true}, 1},
		{&messages.GoalView{Id: goal.String(), Spec: &messages.GoalSpec{}, Phase: messages.GoalView_cancelled, Deleted: true}, 0},
	} {
		p.StateChanged(goal, uint64(n+1), c.view)
		said, err := r.Report(t.Context(), &messages.ReportRequest{})
		if err == nil {
			err = follower.take(t.Context(), "h", said)
		}
		if here, there := len(p.GoalsOf("h")), len(follower.View.Goals()); err != nil || here != c.shown || there != c.shown || len(p.GoalsOf("pc2")) != 0 {
			t.Errorf("%d: %d goals here, %d there, %v", n, here, there, err)
		}
		if v := follower.View.Goal(goal); v.GetPhase() != c.view.Phase {
			t.Errorf("%d: %v", n, v)
		}
	}
}

// A deleted job is shown a moment longer, and forgotten when others end after it; other hosts hear of it as long.
func TestDeletedJobsAreForgotten(t *testing.T) {
	p, follower := New(Options{}), &Follower{View: New(Options{})}
	at := func(n int) messages.ActorID {
		return messages.ActorID{Kind: messages.KindJob, ID: fmt.Sprintf("h/j%d", n)}
	}
	r := Reporter{Host: "h", View: p, Ledgers: Ledgers{Host: "h", View: p, Now: time.Now, Seeking: func() []*messages.Allocation { return nil }, Live: func() []*messages.ModelView { return nil }},
		Queue: func() *messages.QueueView { return nil }, Now: time.Now}
	for n := range keptEnded + 5 {
		p.StateChanged(at(n), uint64(n+1), &messages.JobView{Id: at(n).String(), Host: "h", Spec: &messages.JobSpec{}, Phase: messages.JobView_completed})
	}
	report := func() {
		t.Helper()
		said, err := r.Report(t.Context(), &messages.ReportRequest{})
		if err == nil {
			err = follower.take(t.Context(), "h", said)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	report()
	if n, far := len(p.Jobs()), len(follower.View.Jobs()); n != keptEnded+5 || far != n || follower.View.Job(at(3)) == nil {
		t.Errorf("%d jobs here, %d there", n, far)
	}
	for n := range keptEnded + 4 {
		p.StateChanged(at(n), uint64(100+n), &messages.JobView{Id: at(n).String(), Host: "h", Spec: &messages.JobSpec{}, Phase: messages.JobView_completed, Deleted: true})
	}
	report()
	if n, far := len(p.Jobs()), len(follower.View.Jobs()); n != 1 || far != 1 {
		t.Errorf("%d jobs here, %d there after the others were deleted", n, far)
	}
	if p.Job(at(0)) != nil || follower.View.Job(at(0)) != nil || p.Job(at(keptEnded+3)) == nil {
		t.Error("the job that was deleted first is still known, or the last one isn't")
	}
}
