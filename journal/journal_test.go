package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

func TestAppendAndReplayKeepEverything(t *testing.T) {
	o := testOptions(t, t.TempDir())
	j := mustOpen(t, o)
	at := time.Unix(1700000000, 123456789).UTC()
	a := messages.ModelActor(testHost, "hf.co/Qwen/Qwen2.5:0.5b ö")
	want := Append{Actor: a, Events: []proto.Message{&messages.ModelUnwanted{Reason: "idle"}, &messages.ModelDrained{}}, At: at,
		Meta: messages.Meta{ID: "cmd-1", Correlation: "req-1", Causation: "d-0", Caller: "fp"}}
	if seq, err := j.Append(t.Context(), want); err != nil || seq != 1 {
		t.Fatalf("Append = %d, %v", seq, err)
	}
	mustClose(t, j)

	j = mustOpen(t, o)
	got := readAll(t, j, Query{})
	if len(got) != 1 {
		t.Fatalf("got %d decisions", len(got))
	}
	r := got[0]
	if r.Actor != a || r.Sequence != 1 || r.Expected != 0 || r.ID != "cmd-1" || r.Meta != want.Meta || r.BootID != "boot-1" || !r.At.Equal(at) {
		t.Errorf("got %+v", r)
	}
	if len(r.Events) != 2 || !proto.Equal(r.Events[0], want.Events[0]) || !proto.Equal(r.Events[1], want.Events[1]) {
		t.Errorf("events %v", r.Events)
	}
	if last, err := j.Last(t.Context(), a); last != 1 || err != nil {
		t.Errorf("Last = %d, %v", last, err)
	}
	if actors, err := j.Actors(t.Context()); err != nil || !slices.Equal(actors, []messages.ActorID{a}) {
		t.Errorf("Actors = %v, %v", actors, err)
	}
}

func TestReplayChooses(t *testing.T) {
	j := testOpen(t)
	heads := map[int]uint64{}
	for i := range 12 {
		a := i % 3
		seq, err := j.Append(t.Context(), Append{Actor: modelName(a), Expected: heads[a], Events: wanted("x"), At: time.Unix(int64(1000+i), 0)})
		if err != nil {
			t.Fatal(err)
		}
		heads[a] = seq
	}
	for _, c := range []struct {
		name string
		q    Query
		want []uint64
	}{
		{"all", Query{}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
		{"after", Query{After: 10}, []uint64{11, 12}},
		{"after the end", Query{After: 12}, []uint64{}},
		{"far after the end", Query{After: 99}, []uint64{}},
		{"until", Query{Until: 2}, []uint64{1, 2}},
		{"until behind the end", Query{After: 10, Until: 99}, []uint64{11, 12}},
		{"between", Query{After: 3, Until: 5}, []uint64{4, 5}},
		{"nothing between", Query{After: 5, Until: 5}, []uint64{}},
		{"one actor", Query{Actor: modelName(1)}, []uint64{2, 5, 8, 11}},
		{"one actor after", Query{Actor: modelName(1), After: 5}, []uint64{8, 11}},
		{"one actor until", Query{Actor: modelName(1), Until: 7}, []uint64{2, 5}},
		{"one actor until its own", Query{Actor: modelName(1), Until: 8}, []uint64{2, 5, 8}},
		{"one actor after another's sequence", Query{Actor: modelName(1), After: 6}, []uint64{8, 11}},
		{"a stranger", Query{Actor: modelName(7)}, []uint64{}},
		{"until a time", Query{UntilTime: time.Unix(1003, 0)}, []uint64{1, 2, 3, 4}},
		{"before all", Query{UntilTime: time.Unix(5, 0)}, []uint64{}},
	} {
		if got := sequences(readAll(t, j, c.q)); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestReplayEndsWithTheCallersError(t *testing.T) {
	j := testOpen(t)
	fill(t, j, 3)
	stop := errors.New("stop")
	n := 0
	err := j.Replay(t.Context(), Query{}, func(messages.Recorded) error { n++; return stop })
	if err != stop || n != 1 {
		t.Errorf("got %v after %d calls", err, n)
	}
}

func TestConflict(t *testing.T) {
	j := testOpen(t)
	a := modelName(1)
	mustAppend(t, j, a, 0, wanted("1")...)
	mustAppend(t, j, modelName(2), 0, wanted("2")...)
	for _, expected := range []uint64{0, 2, 7} {
		_, err := j.Append(t.Context(), Append{Actor: a, Expected: expected, Events: wanted("no")})
		e := wantCode(t, err, messages.Conflict)
		if !strings.Contains(e.Error(), "sequence 1") {
			t.Errorf("%v does not name the sequence", e)
		}
	}
	if j.Sequence() != 2 {
		t.Errorf("Sequence = %d", j.Sequence())
	}
	mustAppend(t, j, a, 1, wanted("3")...)
}

func TestARetriedAppendIsDoneOnce(t *testing.T) {
	j := testOpen(t)
	a := Append{Actor: modelName(1), Events: wanted("once"), Meta: messages.Meta{ID: "same"}}
	for range 3 { // the entity never saw an answer
		if seq, err := j.Append(t.Context(), a); seq != 1 || err != nil {
			t.Fatalf("Append = %d, %v", seq, err)
		}
	}
	if n := len(readAll(t, j, Query{})); n != 1 {
		t.Errorf("%d decisions", n)
	}
}

// A command's id may stand on decisions of several actors, or of one actor twice. NATS would take the second for a duplicate, say yes,
// and store nothing.
func TestTheSameIdOnOtherDecisionsIsNoDuplicate(t *testing.T) {
	j := testOpen(t)
	meta := messages.Meta{ID: "same"}
	steps := []struct {
		actor    int
		expected uint64
	}{{1, 0}, {2, 0}, {1, 1}}
	for i, s := range steps {
		seq, err := j.Append(t.Context(), Append{Actor: modelName(s.actor), Expected: s.expected, Events: wanted(fmt.Sprint(i)), Meta: meta})
		if err != nil || seq != uint64(i+1) {
			t.Fatalf("step %d: %d, %v", i, seq, err)
		}
	}
}

func TestBadAppends(t *testing.T) {
	o := testOptions(t, t.TempDir())
	o.MaxPayload = 64 << 10
	j := mustOpen(t, o)
	_, err := j.Append(t.Context(), Append{Actor: modelName(1)})
	wantCode(t, err, messages.InvalidArgument)
	_, err = j.Append(t.Context(), Append{Actor: modelName(1), Events: wanted(strings.Repeat("x", 64<<10))})
	wantCode(t, err, messages.PayloadTooLarge)
	_, err = j.Append(t.Context(), Append{Actor: modelName(1), Events: []proto.Message{&messages.ModelView{}}})
	wantCode(t, err, messages.Internal)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = j.Append(ctx, Append{Actor: modelName(1), Events: wanted("late")})
	wantCode(t, err, messages.Cancelled)
	mustAppend(t, j, modelName(1), 0, wanted("line\r\nNats-Rollup: all")...)
}

func TestCloseTwiceAndAppendAfter(t *testing.T) {
	j := testOpen(t)
	mustClose(t, j)
	mustClose(t, j)
	_, err := j.Append(t.Context(), Append{Actor: modelName(1), Events: wanted("late")})
	wantCode(t, err, messages.JournalUnavailable)
	wantCode(t, j.Health(), messages.JournalUnavailable)
}
