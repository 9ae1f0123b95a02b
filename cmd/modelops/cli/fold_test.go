package cli

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/journal"
	"modelops/messages"
)

// recording is a journal in memory.
type recording []messages.Recorded

func (r recording) Replay(_ context.Context, q journal.Query, fn func(messages.Recorded) error) error {
	for _, rec := range r {
		if q.Actor != (messages.ActorID{}) && rec.Actor != q.Actor || rec.Sequence <= q.After || q.Until > 0 && rec.Sequence > q.Until {
			continue
		}
		if !q.UntilTime.IsZero() && rec.At.After(q.UntilTime) {
			return nil
		}
		if err := fn(rec); err != nil {
			return err
		}
	}
	return nil
}

func (recording) Follow(context.Context, uint64, func(messages.Recorded) error) error { return nil }
func (recording) Actors(context.Context) ([]messages.ActorID, error)                  { return nil, nil }

func past(events ...proto.Message) recording {
	var out recording
	gpu := messages.GPUActor("pc", "cpu")
	for i, e := range events {
		at := timestamppb.New(timestamppb.Now().AsTime())
		out = append(out, messages.Recorded{Actor: gpu, Sequence: uint64(i + 1), ID: "d", At: at.AsTime(), Events: []proto.Message{e}})
	}
	return out
}

func TestStateOfThePast(t *testing.T) {
	journal := past(
		&messages.DeviceRegistered{Kind: "cpu", CapacityBytes: 100},
		&messages.VramReserved{Lease: "l", Holder: "me", Bytes: 30},
		&messages.VramReleased{Lease: "l"})
	src := &source{journal: journal, host: "pc", last: 3}
	for at, want := range map[string]string{"2": `"reserved_bytes":30`, "3": `"free_bytes":100`, "99": `"free_bytes":100`} {
		when, _ := parseMoment(at, journal[0].At)
		s, err := foldedState(t.Context(), src, nil, "gpu/cpu", when)
		if err != nil || !strings.Contains(string(s.View), want) || s.Actor != "gpu/pc/cpu" {
			t.Errorf("at %s: %s %v", at, s.View, err)
		}
	}
	if _, err := foldedState(t.Context(), src, nil, "model/none", moment{}); messages.CodeOf(err) != messages.NotFound {
		t.Error(err)
	}
	if _, err := foldedState(t.Context(), src, nil, "gateway", moment{}); messages.CodeOf(err) != messages.InvalidArgument {
		t.Error(err)
	}
}

// An actor of another host, named as `journal tail` prints it, is folded from the copy of that host's journal.
func TestStateOfThePastElsewhere(t *testing.T) {
	own := &source{journal: past(), host: "main_pc"}
	other := &source{journal: past(&messages.DeviceRegistered{Kind: "cpu", CapacityBytes: 100}), host: "pc", last: 1, copy: true}
	s, err := foldedState(t.Context(), own, []*source{other}, "gpu/pc/cpu", moment{})
	if err != nil || s.Actor != "gpu/pc/cpu" || s.Sequence != 1 {
		t.Errorf("%+v %v", s, err)
	}
}

func TestReplayFoldsAndCounts(t *testing.T) {
	r := replay{entities: map[messages.ActorID]*folded{}}
	src := &source{journal: past(&messages.DeviceRegistered{Kind: "cpu", CapacityBytes: 100}, &messages.ForeignUseChanged{Bytes: 7})}
	if err := r.read(t.Context(), src, (&cli{}).progress("")); err != nil {
		t.Fatal(err)
	}
	got := r.report(false)
	if !got.Equal || got.Compared || got.Decisions != 2 || got.Events != 2 || len(got.Entities) != 1 || got.Entities[0].Sequence != 2 {
		t.Errorf("%+v", got)
	}
	r.results = []replayed{{Result: "equal"}, {Result: "unknown"}}
	if r.report(true).Equal {
		t.Error("what could not be compared is called equal")
	}
}

func TestReplayRefusesStrangers(t *testing.T) {
	r := replay{entities: map[messages.ActorID]*folded{}}
	err := r.apply(messages.Recorded{Actor: messages.ActorID{Kind: "ghost", ID: "x"}, Sequence: 3})
	if messages.CodeOf(err) != messages.JournalDamaged {
		t.Error(err)
	}
}
