package view

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// shelf is a store in memory.
type shelf struct {
	mu      sync.Mutex
	models  []*messages.ModelView
	dropped bool
}

func (s *shelf) Keep(_ string, models []*messages.ModelView) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.models = models
}

func (s *shelf) Drop(string) { s.dropped = true }

// What a host declares is kept with its reports, and known after a restart: its models are absent, as old as it says, and no decision stands on them. The next
// report replaces it, and a host that is removed is dropped.
func TestRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, kept := openFar(), &shelf{}
		f.shows("gone", 1, messages.ModelView_ready)
		first, stop := keeping(t, f, nil, kept)
		time.Sleep(2 * reportWait)
		stop()
		if len(kept.models) != 1 || kept.models[0].Name != "gone" || kept.models[0].Phase != messages.ModelView_absent || kept.models[0].Placement != nil {
			t.Fatalf("kept %v", kept.models)
		}
		f.cut = true
		next, stop := keeping(t, f, nil, kept)
		defer stop()
		next.Restore("pc2", append(slices.Clone(kept.models), &messages.ModelView{Id: "model/pc9/foreign", Spec: &messages.ModelSpec{}}), time.Second)
		id := messages.ModelActor("pc2", "gone")
		said := next.Said("pc2")
		if v := next.View.Model(id); v.GetSpec().GetName() != "gone" || v.Phase != messages.ModelView_absent || said.Age < time.Second || !said.Reached || next.Fresh("pc2") || len(next.Allocations()) != 0 {
			t.Errorf("restored %v, %v old, fresh %v", v, said.Age, next.Fresh("pc2"))
		}
		if len(next.View.Models()) != 1 || !slices.Equal(next.Hosts(), []string{"pc2"}) {
			t.Errorf("known are %v of %v", next.View.Models(), next.Hosts())
		}
		f.View.StateChanged(id, 2, &messages.ModelView{Id: id.String(), Host: "pc2", Name: "gone"}) // withdrawn meanwhile
		f.shows("new", 1, messages.ModelView_ready)
		f.mu.Lock()
		f.cut = false
		f.mu.Unlock()
		time.Sleep(2 * reportWait)
		if next.View.Model(id).GetSpec() != nil || next.View.Model(messages.ModelActor("pc2", "new")) == nil || !next.Fresh("pc2") {
			t.Errorf("after its report %v", next.View.Models())
		}
		next.Restore("pc2", []*messages.ModelView{proto.CloneOf(first.View.Model(id))}, time.Hour)
		if next.View.Model(id).GetSpec() != nil || next.Said("pc2").Age > time.Minute {
			t.Error("what a host says now gives way to what it said before")
		}
		if next.Forget("pc2"); !kept.dropped {
			t.Error("a host that is forgotten is still kept")
		}
	})
}

// slowShelf has its host removed while it keeps a report.
type slowShelf struct {
	remove func()
	last   string
}

func (s *slowShelf) Keep(string, []*messages.ModelView) {
	go s.remove()
	for range 10_000 { // the removal has its turn
		runtime.Gosched()
	}
	s.last = "kept"
}

func (s *slowShelf) Drop(string) { s.last = "dropped" }

// A host that is removed while its report is taken is forgotten all the same.
func TestForgetWhileAReportIsTaken(t *testing.T) {
	kept, removed := &slowShelf{}, make(chan struct{})
	f := &Follower{View: New(Options{}), Store: kept}
	kept.remove = func() { f.Forget("pc2"); close(removed) }
	id := messages.ModelActor("pc2", "tiny")
	body, err := proto.Marshal(&messages.ModelView{Id: id.String(), Host: "pc2", Name: "tiny", Spec: &messages.ModelSpec{Name: "tiny"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.take(t.Context(), "pc2", &messages.Report{Actors: []*messages.ActorReport{{Actor: id.String(), Sequence: 1, View: "ModelView", Body: body}}}); err != nil {
		t.Fatal(err)
	}
	<-removed
	if kept.last != "dropped" || f.View.Model(id) != nil || len(f.Hosts()) != 0 {
		t.Errorf("it is %s, shown as %v, of %v", kept.last, f.View.Model(id), f.Hosts())
	}
}
