package control

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modelops/messages"
)

// book is a copy of a journal in memory.
type book struct {
	mu  sync.Mutex
	all []messages.Recorded
}

func (b *book) now() []messages.Recorded { b.mu.Lock(); defer b.mu.Unlock(); return b.all }
func (b *book) Sequence() uint64         { return uint64(len(b.now())) }
func (b *book) Told() uint64             { return b.Sequence() }
func (b *book) Replay(_ context.Context, actor messages.ActorID, after uint64, fn func(messages.Recorded) error) error {
	for _, d := range b.now() {
		if d.Sequence > after && (actor.Kind == "" || actor == d.Actor) {
			if err := fn(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// add appends a decision of an actor at a second.
func (b *book) add(id, cause string, actor messages.ActorID, second int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, messages.Recorded{Sequence: uint64(len(b.all)) + 1, ID: id, Actor: actor, At: time.Unix(second, 0), Meta: messages.Meta{ID: id, Causation: cause},
		Events: nil, Decision: &messages.Decision{Events: []*messages.Event{{Type: "model.ready"}}}})
}

// twoBooks is a host that has a copy of pc2's journal.
func twoBooks() (*house, *book, *book) {
	h, own, pc2 := open(), &book{}, &book{}
	h.o.Sequence, h.o.Replay = own.Sequence, own.Replay
	h.o.Copied = func() (map[string]uint64, error) { return map[string]uint64{"pc2": pc2.Sequence(), "pc3": 0}, nil }
	h.o.Copies = func(_ context.Context, host, _ string) (JournalCopy, error) {
		if host != "pc2" {
			return nil, messages.NewError(messages.JournalDamaged, host, "it can't be read")
		}
		return pc2, nil
	}
	return h, own, pc2
}

func toldIDs(a *messages.WatchReply) string {
	var out []string
	for _, d := range a.GetDecisions() {
		out = append(out, fmt.Sprintf("%s:%s", d.Host, d.Id))
	}
	return strings.Join(out, " ")
}

// An effect here of a cause at pc2, whose copy brings it a little later, is told behind it, whatever the clocks say; nothing is told twice or left out.
func TestWatchTellsACauseFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, own, pc2 := twoBooks()
		tiny, far := messages.ModelActor("h", "tiny"), messages.ModelActor("pc2", "far")
		own.add("old", "", tiny, 1)
		pc2.add("old2", "", far, 1)
		a, err := h.Watch(t.Context(), &messages.WatchRequest{})
		if err != nil || a.Next != "h=1,pc2=1" || len(a.Decisions) > 0 {
			t.Fatal(a, err)
		}
		go func() {
			time.Sleep(3*time.Second + 5*time.Millisecond) // between two looks of the watcher
			own.add("effect", "cause", tiny, 5)
			time.Sleep(20 * time.Millisecond)
			pc2.add("cause", "", far, 100)
			own.add("later", "not here yet", tiny, 6)
			time.Sleep(causesCome)
			pc2.add("not here yet", "", far, 7)
		}()
		began := time.Now()
		a, err = h.Watch(t.Context(), &messages.WatchRequest{After: a.Next, WaitMs: 20_000})
		if err != nil || toldIDs(a) != "pc2:cause h:effect" || time.Since(began) > 3*time.Second+2*causesCome {
			t.Errorf("%v, %v, after %s", a, err, time.Since(began))
		}
		time.Sleep(time.Second)
		a, err = h.Watch(t.Context(), &messages.WatchRequest{After: a.Next, WaitMs: 20_000})
		if err != nil || toldIDs(a) != "pc2:not here yet h:later" || a.Next != "h=3,pc2=3" {
			t.Errorf("%v, %v", a, err)
		}
		began = time.Now()
		if a, err = h.Watch(t.Context(), &messages.WatchRequest{After: a.Next, WaitMs: 2000}); err != nil || len(a.Decisions) > 0 || time.Since(began) < 2*time.Second {
			t.Errorf("%v, %v, after %s", a, err, time.Since(began))
		}
	})
}

// A host whose copy begins while somebody waits is told from the last decision that it was known to have made: neither its history, nor nothing. One
// whose copy can't be read for a while keeps its place.
func TestWatchGoesOnWithACopyThatBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, pc2 := twoBooks()
		far := messages.ModelActor("pc2", "far")
		there, told := atomic.Bool{}, atomic.Uint64{}
		h.o.Copied = func() (map[string]uint64, error) { return map[string]uint64{"pc2": told.Load()}, nil }
		open := h.o.Copies
		h.o.Copies = func(ctx context.Context, host, name string) (JournalCopy, error) {
			if !there.Load() {
				return nil, messages.NewError(messages.NotFound, host, "there is no copy yet")
			}
			return open(ctx, host, name)
		}
		a, err := h.Watch(t.Context(), &messages.WatchRequest{})
		if err != nil || a.Next != "h=0" {
			t.Fatal(a, err)
		}
		told.Store(2)
		a, err = h.Watch(t.Context(), &messages.WatchRequest{After: a.Next})
		if err != nil || a.Next != "h=0,pc2=2" {
			t.Fatal(a, err)
		}
		go func() {
			time.Sleep(time.Second)
			pc2.add("old", "", far, 1)
			there.Store(true) // the copy is on its way to what was told
			time.Sleep(time.Second)
			pc2.add("old too", "", far, 2)
			time.Sleep(time.Second)
			pc2.add("new", "", far, 3)
		}()
		a, err = h.Watch(t.Context(), &messages.WatchRequest{After: a.Next, WaitMs: 20_000})
		if err != nil || toldIDs(a) != "pc2:new" || a.Next != "h=0,pc2=3" {
			t.Fatal(a, err)
		}
		there.Store(false)
		pc2.add("meanwhile", "", far, 4)
		a, err = h.Watch(t.Context(), &messages.WatchRequest{After: a.Next})
		if err != nil || toldIDs(a) != "" || a.Next != "h=0,pc2=3" {
			t.Fatal(a, err)
		}
		go func() {
			time.Sleep(time.Second)
			there.Store(true)
		}()
		a, err = h.Watch(t.Context(), &messages.WatchRequest{After: a.Next, WaitMs: 20_000})
		if err != nil || toldIDs(a) != "pc2:meanwhile" || a.Next != "h=0,pc2=4" {
			t.Fatal(a, err)
		}
	})
}

func TestWatchNarrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, own, pc2 := twoBooks()
		tiny, other, far := messages.ModelActor("h", "tiny"), messages.ModelActor("h", "other"), messages.ModelActor("pc2", "far")
		h.live = []messages.ActorID{tiny, other}
		for n := range int64(5) {
			own.add(fmt.Sprint("t", n), "", tiny, 10*n)
			own.add(fmt.Sprint("o", n), "", other, 10*n+1)
			pc2.add(fmt.Sprint("f", n), "", far, 10*n+2)
		}
		for _, c := range []struct {
			q          *messages.WatchRequest
			told, next string
		}{
			{&messages.WatchRequest{After: "h=0,pc2=0", Limit: 4}, "h:t0 h:o0 pc2:f0 h:t1", "h=3,pc2=1"},
			{&messages.WatchRequest{After: "h=8,pc2=3"}, "pc2:f3 h:t4 h:o4 pc2:f4", "h=10,pc2=5"},
			{&messages.WatchRequest{After: "h=6,pc2=9"}, "pc2:f0 pc2:f1 pc2:f2 pc2:f3 pc2:f4 h:t3 h:o3 h:t4 h:o4", "h=10,pc2=5"}, // pc2 has begun another journal
			{&messages.WatchRequest{After: "h=0,pc2=0", Host: "pc2", Limit: 2}, "pc2:f0 pc2:f1", "pc2=2"},
			{&messages.WatchRequest{After: "h=0,pc2=0", Actor: "model/h/tiny", Limit: 2}, "h:t0 h:t1", "h=3,pc2=5"},
			{&messages.WatchRequest{After: "h=0,pc2=0", Actor: "model/h/tiny"}, "h:t0 h:t1 h:t2 h:t3 h:t4", "h=10,pc2=5"},
		} {
			a, err := h.Watch(t.Context(), c.q)
			if strings.HasPrefix(c.told, "pc2:f0 pc2:f1 pc2:f2") { // by time the order is another one
				if len(a.GetDecisions()) != 9 || a.Next != c.next {
					t.Errorf("%v: %v, %v", c.q, a, err)
				}
				continue
			}
			if err != nil || toldIDs(a) != c.told || a.Next != c.next {
				t.Errorf("%v: %s, next %s, %v", c.q, toldIDs(a), a.GetNext(), err)
			}
		}
		_, err := h.Watch(t.Context(), &messages.WatchRequest{After: "h"})
		is(t, err, messages.InvalidArgument, "after", "is no HOST=SEQUENCE")
		_, err = h.Watch(t.Context(), &messages.WatchRequest{Host: "pc9"})
		is(t, err, messages.JournalDamaged, "pc9", "it can't be read")
		h.end()
		_, err = h.Watch(t.Context(), &messages.WatchRequest{WaitMs: 20_000})
		is(t, err, messages.Unavailable, "h", "stopping")
	})
}
