package view

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// far is pc2: its projection, what runs there, and the reporter that a follower asks.
type far struct {
	Reporter
	mu      sync.Mutex
	active  uint32
	cut     bool
	asked   int
	changes func(*messages.Report)
}

func openFar() *far {
	f := &far{}
	p := New(Options{})
	l := Ledgers{Host: "pc2", View: p, Now: time.Now, Seeking: func() []*messages.Allocation { return nil }, Live: func() []*messages.ModelView {
		f.mu.Lock()
		defer f.mu.Unlock()
		return []*messages.ModelView{{Id: "model/pc2/m", Name: "m", Active: f.active, IdleMs: 500}}
	}}
	f.Reporter = Reporter{Host: "pc2", BootID: "one", View: p, Ledgers: l, Now: time.Now, Queue: func() *messages.QueueView { return &messages.QueueView{Active: 3} }}
	return f
}

func (f *far) Reports(ctx context.Context, host string, q *messages.ReportRequest) (*messages.Report, error) {
	f.mu.Lock()
	f.asked++
	cut, changes := f.cut, f.changes
	f.mu.Unlock()
	if cut {
		return nil, messages.NewError(messages.Unavailable, "host "+host, "it can't be reached")
	}
	r, err := f.Report(ctx, q)
	if err == nil && changes != nil {
		changes(r)
	}
	return r, err
}

func (f *far) shows(name string, sequence uint64, phase messages.ModelView_Phase) {
	id := messages.ModelActor("pc2", name)
	f.View.StateChanged(id, sequence, &messages.ModelView{Id: id.String(), Host: "pc2", Name: name, Phase: phase, Spec: &messages.ModelSpec{Name: name},
		Placement: &messages.Placement{Shares: []*messages.Share{{Gpu: "gpu/pc2/gpu0", Bytes: 5}}}})
}

// following is main_pc, which follows pc2 until the test ends.
func following(t *testing.T, f *far, told func(messages.ActorID, proto.Message)) (*Follower, func()) {
	t.Helper()
	return keeping(t, f, told, nil)
}

// keeping is following, with a store of what pc2 declares.
func keeping(t *testing.T, f *far, told func(messages.ActorID, proto.Message), store Store) (*Follower, func()) {
	t.Helper()
	here := &Follower{View: New(Options{ListenFar: told}), Source: f, Log: slog.New(slog.DiscardHandler), Store: store}
	life, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	alongside := func(run func(context.Context)) { running.Go(func() { run(life) }) }
	here.Reached(life, "pc2", alongside)
	here.Reached(life, "pc2", alongside) // once
	return here, func() { end(); running.Wait() }
}

// What a host reports is seen here under its own actors, with figures that grow old; it stays when the host is lost, and goes when it is forgotten.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFar()
		f.shows("m", 1, messages.ModelView_ready)
		var told []string
		here, stop := following(t, f, func(id messages.ActorID, v proto.Message) {
			told = append(told, fmt.Sprint(id, " ", v.(*messages.ModelView).Phase))
		})
		defer stop()
		synctest.Wait()
		id := messages.ModelActor("pc2", "m")
		if v := here.View.Model(id); v.GetPhase() != messages.ModelView_ready || !here.Fresh("pc2") || here.Said("pc2").Report.Queue.Active != 3 {
			t.Fatalf("it is %v, fresh %v", v, here.Fresh("pc2"))
		}
		time.Sleep(reportWait / 2)
		got := here.Allocations()
		if len(got) != 1 || got[0].Holder != id.String() || got[0].IdleMs != 500+reportWait.Milliseconds()/2 {
			t.Errorf("the scheduler sees %v", got)
		}
		f.shows("m", 2, messages.ModelView_draining)
		synctest.Wait()
		if v := here.View.Model(id); v.Phase != messages.ModelView_draining {
			t.Errorf("a change shows as %v", v.Phase)
		}
		here.Lost("pc2")
		synctest.Wait()
		if here.Fresh("pc2") || len(here.Allocations()) != 0 || here.View.Model(id) == nil || here.Said("pc2").Report == nil {
			t.Error("a host that is lost isn't remembered, or still counts")
		}
		here.Forget("pc2")
		if here.View.Model(id) != nil || len(here.Hosts()) != 0 {
			t.Error("a host that is forgotten is still known")
		}
		if want := "[model/pc2/m ready model/pc2/m draining model/pc2/m absent]"; fmt.Sprint(told) != want {
			t.Errorf("told %v, want %v", told, want)
		}
	})
}

// Work that begins is reported at once although no view changes, and silence is reported each second: a report that is old counts no more.
func TestReportsOfWorkAndOfSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFar()
		f.shows("m", 1, messages.ModelView_ready)
		here, stop := following(t, f, nil)
		defer stop()
		time.Sleep(20 * reportWait)
		f.mu.Lock()
		if f.asked < 20 || f.asked > 22 {
			t.Errorf("%d reports in 20 s of silence", f.asked)
		}
		f.active = 1
		f.mu.Unlock()
		time.Sleep(loadLooks)
		synctest.Wait()
		if got := here.Allocations(); len(got) != 1 || got[0].Active != 1 {
			t.Errorf("a request that began shows as %v", got)
		}
		f.mu.Lock()
		f.cut = true
		f.mu.Unlock()
		time.Sleep(reportWait + freshLimit)
		if here.Fresh("pc2") || len(here.Allocations()) != 0 {
			t.Error("an old report counts")
		}
		f.mu.Lock()
		f.cut = false
		f.mu.Unlock()
		time.Sleep(followAgain)
		synctest.Wait()
		if !here.Fresh("pc2") {
			t.Error("a new report doesn't count")
		}
	})
}

// Many actors come in several reports. After another start of the host, what it doesn't report any more is gone, also when its journal begins anew.
func TestManyActorsAndAnotherStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFar()
		for n := range 3*mostReported + 7 {
			f.shows(fmt.Sprint("m", n), 100+uint64(n), messages.ModelView_ready)
		}
		here, stop := following(t, f, nil)
		defer stop()
		synctest.Wait()
		if got := len(here.View.ModelsOf("pc2")); got != 3*mostReported+7 {
			t.Fatalf("%d models are seen", got)
		}
		next := openFar()
		next.BootID, next.View.o.First = "two", 1
		next.shows("m1", 1, messages.ModelView_loading)
		f.mu.Lock()
		f.Reporter = next.Reporter
		f.mu.Unlock()
		time.Sleep(2 * reportWait)
		synctest.Wait()
		if got := here.View.ModelsOf("pc2"); len(got) != 1 || got[0].Name != "m1" || got[0].Phase != messages.ModelView_loading {
			t.Errorf("after the other start: %v", got)
		}
	})
}

// A host speaks for its own actors only, and passes nothing on.
func TestAHostReportsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFar()
		f.View.StateChanged(messages.ModelActor("pc3", "x"), 1, &messages.ModelView{Id: "model/pc3/x", Name: "x"})
		here, stop := following(t, f, nil)
		synctest.Wait()
		if here.View.Model(messages.ModelActor("pc3", "x")) != nil || here.Said("pc2").Report == nil {
			t.Error("it passed on what it knows of pc3")
		}
		stop()
		f.changes = func(r *messages.Report) {
			r.Actors = append(r.Actors, &messages.ActorReport{Actor: "model/main_pc/tiny", View: "ModelView"})
		}
		lied, end := following(t, f, nil)
		time.Sleep(10 * reportWait)
		end()
		if lied.Said("pc2").Report != nil || lied.View.Model(messages.ModelActor("main_pc", "tiny")) != nil {
			t.Error("it spoke for an actor of main_pc")
		}
	})
}

// TestSamplesOfOtherHostsJobs come with each report: they are in no view, because they aren't journaled.
func TestSamplesOfOtherHostsJobs(t *testing.T) {
	f := openFar()
	f.Samples = func() []*messages.JobSample { return []*messages.JobSample{{Job: "j", Step: 7}} }
	f.shows("m", 1, messages.ModelView_ready)
	r, err := f.Report(t.Context(), &messages.ReportRequest{})
	if err != nil || len(r.Samples) != 1 || r.Samples[0].Step != 7 {
		t.Errorf("%v, %v", r, err)
	}
}
