package view

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"modelops/actors/arbiter"
	"modelops/messages"
)

func schoolOf(p *Projection, now *time.Time) Ledgers {
	return Ledgers{Host: "h", View: p, Now: func() time.Time { return *now }, Seeking: func() []*messages.Allocation { return nil }, Live: func() []*messages.ModelView { return nil },
		Learning: func() arbiter.Learning {
			return arbiter.Learning{Default: arbiter.Quota{Hours: 1, Per: 24 * time.Hour}}
		}}
}

func jobView(name, goal string, began, ended int64) *messages.JobView {
	v := &messages.JobView{Id: "job/h/" + name, Host: "h", Name: name, By: "sha256:ann", Spec: &messages.JobSpec{Goal: goal, Recipe: &messages.Recipe{Name: "tiny"}}, StartedMs: began}
	switch {
	case ended > 0:
		v.Phase, v.EndedMs, v.DeviceMs, v.RanMs = messages.JobView_completed, ended, ended-began, ended-began
	default:
		v.Phase, v.BeganMs, v.Placement = messages.JobView_running, began, &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/h/g"}}}
	}
	return v
}

// What goals and keys have spent within their period is that of ended and running attempts; what is longer ago doesn't count. A running job's end is forecast
// by the mean of its recipe's runs.
func TestWhatJobsHaveSpent(t *testing.T) {
	hour := time.Hour.Milliseconds()
	p, now := New(Options{}), time.UnixMilli(100*hour)
	l := schoolOf(p, &now)
	saw := func(v *messages.JobView, sequence uint64) {
		id, _ := messages.ParseActorID(v.Id)
		p.StateChanged(id, sequence, v)
	}
	saw(jobView("old", "goal/h/a", 70*hour, 72*hour), 1)
	saw(jobView("done", "goal/h/a", 95*hour, 98*hour), 1)
	saw(jobView("done", "goal/h/a", 95*hour, 98*hour), 2) // the same again
	saw(jobView("other", "goal/h/b", 97*hour, 98*hour), 1)
	saw(jobView("runs", "goal/h/a", 99*hour, 0), 1)
	a := l.Allocations()
	if len(a) != 1 || a[0].GoalSpentMs != 4*hour || a[0].BySpentMs != 5*hour || a[0].LeftMs != hour {
		t.Fatalf("%v", a)
	}
	now = time.UnixMilli(130 * hour)
	if a := l.Allocations(); a[0].GoalSpentMs != 31*hour || a[0].LeftMs != 0 {
		t.Errorf("a day later: %v", a)
	}
	l.Left = func(messages.ActorID) time.Duration { return time.Minute }
	if a := l.Allocations(); a[0].LeftMs != 60_000 {
		t.Errorf("its trainer says a minute: %v", a)
	}
}

// The sums are the same whether the changes of jobs were seen as they came, or only the last view of each, as after a restart.
func TestSumsAfterARestart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.UnixMilli(1000 * time.Hour.Milliseconds())
		lived, restarted := New(Options{}), New(Options{})
		last, sequence := map[messages.ActorID]*messages.JobView{}, uint64(0)
		for range rapid.IntRange(1, 20).Draw(t, "changes") {
			sequence++
			name := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "job")
			id := messages.ActorID{Kind: messages.KindJob, ID: "h/" + name}
			v := &messages.JobView{Id: id.String(), Spec: &messages.JobSpec{Goal: "goal/h/" + name, Recipe: &messages.Recipe{Name: "r"}}, By: "k",
				DeviceMs: max(last[id].GetDeviceMs(), 0) + rapid.Int64Range(0, 1e7).Draw(t, "more"), WaitingSinceMs: now.UnixMilli() - rapid.Int64Range(0, 1e9).Draw(t, "since")}
			last[id] = v
			lived.StateChanged(id, sequence, v)
		}
		for id, v := range last {
			restarted.StateChanged(id, 1, v)
		}
		for _, who := range []payer{{name: "goal/h/x"}, {name: "goal/h/y"}, {key: true, name: "k"}} {
			if a, b := lived.jobs.within(who, 24*time.Hour, now), restarted.jobs.within(who, 24*time.Hour, now); a != b {
				t.Fatalf("%v has spent %d, and %d after a restart", who, a, b)
			}
		}
	})
}

// BenchmarkLedgersWithHistory: ten thousand jobs that have ended don't make a decision's readings dearer.
func BenchmarkLedgersWithHistory(b *testing.B) {
	for _, ended := range []int{0, 10_000} {
		b.Run(fmt.Sprint(ended), func(b *testing.B) {
			p, now := New(Options{}), time.UnixMilli(1000*time.Hour.Milliseconds())
			for n := range ended {
				id := messages.ActorID{Kind: messages.KindJob, ID: fmt.Sprint("h/j", n)}
				p.StateChanged(id, 1, jobView(id.Name(), "goal/h/a", 1, int64(n+1)*1000))
			}
			p.StateChanged(messages.ActorID{Kind: messages.KindJob, ID: "h/runs"}, 1, jobView("runs", "goal/h/a", 1, 0))
			p.StateChanged(messages.GPUActor("h", "g"), 1, &messages.GpuView{Id: "gpu/h/g", CapacityBytes: 1})
			l := schoolOf(p, &now)
			for b.Loop() {
				if len(l.Allocations())+len(l.Ledgers()) != 2 {
					b.Fatal("they aren't seen")
				}
			}
		})
	}
}

// Requests at the models of a placement's devices are seen, those elsewhere aren't.
func TestWhatRunsBesideAJob(t *testing.T) {
	p, now := New(Options{}), time.UnixMilli(1000)
	l := schoolOf(p, &now)
	at := func(name, gpu string, active, queued uint32) *messages.ModelView {
		id := messages.ModelActor("h", name)
		v := &messages.ModelView{Id: id.String(), Host: "h", Name: name, Spec: &messages.ModelSpec{}, Placement: &messages.Placement{Shares: []*messages.Share{{Gpu: gpu}}}, Active: active, Queued: queued}
		p.StateChanged(id, 1, v)
		return v
	}
	live := []*messages.ModelView{at("a", "gpu/h/g0", 1, 1), at("b", "gpu/h/g1", 0, 0)}
	l.Live = func() []*messages.ModelView { return live }
	for gpu, want := range map[string]string{"gpu/h/g0": "model/h/a has 2 requests", "gpu/h/g1": "", "gpu/h/g2": ""} {
		if got := l.Busy(&messages.Placement{Shares: []*messages.Share{{Gpu: gpu}}}); got != want {
			t.Errorf("%s: %q, want %q", gpu, got, want)
		}
	}
}
