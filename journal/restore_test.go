package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"modelops/messages"
)

func TestRestoreBringsBackEveryDecision(t *testing.T) {
	good := testOptions(t, t.TempDir())
	j := mustOpen(t, good)
	fill(t, j, 30)
	if _, err := j.Append(t.Context(), Append{Actor: messages.ArbiterActor(), Events: wanted("last"), Meta: messages.Meta{ID: "x", Correlation: "c", Causation: "d", Caller: "f"}}); err != nil {
		t.Fatal(err)
	}
	want := readAll(t, j, Query{})

	o := damagedStore(t)
	edit(t, onlyBlock(t, o), flipAt("reason 000099", 3))
	o.BootID = "another"
	done, err := Restore(t.Context(), o, func(ctx context.Context, fn func(messages.Recorded) error) error {
		return j.Replay(ctx, Query{Unknown: true}, fn)
	})
	if err != nil || done.Last != 31 || *done.Lost != (Range{32, damagedSize}) {
		t.Fatalf("Restore = %+v, %v", done, err)
	}
	r := mustOpen(t, o)
	got := readAll(t, r, Query{})
	if len(got) != len(want) {
		t.Fatalf("%d decisions, want %d", len(got), len(want))
	}
	for i := range got {
		got[i].Events, want[i].Events = nil, nil
		got[i].Decision, want[i].Decision = nil, nil
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
	mustAppend(t, r, messages.ArbiterActor(), 31, wanted("on")...)
	kept, _ := filepath.Glob(filepath.Join(o.Dir, "damaged-*"))
	if len(kept) != 1 {
		t.Fatalf("the old store is not kept: %v", kept)
	}
	if found, err := Verify(t.Context(), kept[0]); err != nil || found.Last != damagedSize || found.Err() == nil {
		t.Errorf("the old store: %+v, %v", found, err)
	}
}

func TestAFailedRestoreChangesNothing(t *testing.T) {
	o := damagedStore(t)
	edit(t, onlyBlock(t, o), flipAt("reason 000099", 3))
	before := digest(t, o.Dir)
	cut := errors.New("the peer went away")
	for name, read := range map[string]func(ctx context.Context, fn func(messages.Recorded) error) error{
		"cut": func(ctx context.Context, fn func(messages.Recorded) error) error { return cut },
		"gap": func(ctx context.Context, fn func(messages.Recorded) error) error {
			return fn(messages.Recorded{Actor: modelName(1), Sequence: 2, Decision: &messages.Decision{}})
		},
	} {
		if _, err := Restore(t.Context(), o, read); err == nil {
			t.Errorf("%s: no error", name)
		}
		if digest(t, o.Dir) != before {
			t.Errorf("%s: something changed", name)
		}
	}
	if _, err := os.Stat(filepath.Join(o.Dir, "restoring")); !os.IsNotExist(err) {
		t.Error("the attempt left something behind")
	}
}
