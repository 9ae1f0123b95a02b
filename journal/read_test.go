package journal

import (
	"context"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"modelops/messages"
)

func readSome(t testing.TB, j *Journal, wanted ...uint64) (out []messages.Recorded) {
	t.Helper()
	if err := j.Read(context.Background(), wanted, func(r messages.Recorded) error { out = append(out, r); return nil }); err != nil {
		t.Fatalf("Read(%v): %v", wanted, err)
	}
	return out
}

// Whichever sequences are read, in whichever order, with or without known places: each comes once, in ascending order, and as Replay tells it.
func TestReadGivesWhatReplayGives(t *testing.T) {
	o, blocks := scannedStore(t)
	j := mustOpen(t, o)
	all := readAll(t, j, Query{})
	var seams []uint64
	for _, b := range blocks {
		if first := firstSequence(b); first > 1 {
			seams = append(seams, first-1, first)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		if rapid.IntRange(0, 3).Draw(t, "forget") == 0 {
			j.places.mu.Lock()
			j.places.blocks = nil
			j.places.mu.Unlock()
		}
		wanted := rapid.SliceOfN(rapid.OneOf(rapid.Uint64Range(1, uint64(len(all))), rapid.SampledFrom(seams)), 0, 40).Draw(t, "sequences")
		var got []messages.Recorded
		if err := j.Read(context.Background(), wanted, func(r messages.Recorded) error { got = append(got, r); return nil }); err != nil {
			t.Fatal(err)
		}
		want := slices.Compact(slices.Sorted(slices.Values(wanted)))
		if !slices.Equal(sequences(got), want) {
			t.Fatalf("%v, want %v", sequences(got), want)
		}
		for _, r := range got {
			if w := all[r.Sequence-1]; r.ID != w.ID || r.Actor != w.Actor || !r.At.Equal(w.At) || r.Meta != w.Meta || len(r.Events) != 1 {
				t.Fatalf("%+v, want %+v", r, w)
			}
		}
		after := rapid.Uint64Range(0, uint64(len(all))).Draw(t, "after")
		n := min(5, uint64(len(all))-after)
		got = nil
		if err := j.Replay(context.Background(), Query{After: after, Until: after + n}, func(r messages.Recorded) error { got = append(got, r); return nil }); err != nil {
			t.Fatal(err)
		}
		if n > 0 && (len(got) != int(n) || got[0].Sequence != after+1) {
			t.Fatalf("replay after %d: %v", after, sequences(got))
		}
	})
}

func TestReadSeesWhatWasJustAppended(t *testing.T) {
	j := testOpen(t)
	head := uint64(0)
	for n := range 200 {
		head = mustAppend(t, j, modelName(1), head, wanted("x")...)
		if got := readSome(t, j, head); len(got) != 1 || got[0].Sequence != uint64(n+1) {
			t.Fatalf("%v after %d decisions", sequences(got), n+1)
		}
	}
	if got := readSome(t, j); got != nil {
		t.Errorf("nothing was asked for: %v", got)
	}
}

func TestReadRefusesWhatIsNotThere(t *testing.T) {
	j := testOpen(t)
	fill(t, j, 3)
	for _, bad := range [][]uint64{{0}, {4}, {1, 99}} {
		err := j.Read(context.Background(), bad, func(messages.Recorded) error { return nil })
		wantCode(t, err, messages.InvalidArgument)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantCode(t, j.Read(ctx, []uint64{1}, func(messages.Recorded) error { return nil }), messages.Cancelled)
}

func TestReadChecksTheBytes(t *testing.T) {
	o, blocks := scannedStore(t)
	o.recheckAfter = time.Hour
	j := mustOpen(t, o)
	readAll(t, j, Query{})
	edit(t, blocks[0].path, flipAt("id-00000099", 3))
	e := wantCode(t, j.Read(context.Background(), []uint64{7, 100, 101}, func(messages.Recorded) error { return nil }), messages.JournalDamaged)
	if e.Subject != "journal sequence 100" {
		t.Errorf("it names %s", e.Subject)
	}
	if got := readSome(t, j, 7, 99, 101); len(got) != 3 { // only the damaged one can't be read
		t.Errorf("%v", sequences(got))
	}
}

// Places are few, and only hints: one that leads to no record costs a walk through its block, nothing else.
func TestPlacesAreFewAndOnlyHints(t *testing.T) {
	o, blocks := scannedStore(t)
	j := mustOpen(t, o)
	readAll(t, j, Query{})
	for _, b := range blocks {
		info, err := stampOf(b.path)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(j.places.blocks[b.path]); n == 0 || n > int(info.size/placeEvery)+1 {
			t.Errorf("%s: %d places for %d bytes", b.path, n, info.size)
		}
	}
	j.places.blocks = map[string][]place{blocks[0].path: {{1, 0}, {50, 70_001}, {90_000, 140_003}}}
	if got := readSome(t, j, 60, 120, 600); len(got) != 3 {
		t.Errorf("%v", sequences(got))
	}
}
