package journal

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"modelops/messages"
)

func TestSnapshotsAreACache(t *testing.T) {
	o := testOptions(t, t.TempDir())
	j := mustOpen(t, o)
	fill(t, j, 10)
	a := messages.ModelActor(testHost, "qwen2.5:1")
	want := Snapshot{Actor: modelName(1), Sequence: 7, Fingerprint: "v3", Fold: 2, State: []byte(`{"phase":"ready"}`)}
	if _, ok, err := j.LoadSnapshot(t.Context(), a); ok || err != nil {
		t.Fatalf("a snapshot before the first: %v, %v", ok, err)
	}
	save := func() {
		t.Helper()
		if err := j.SaveSnapshot(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	load := func() bool {
		t.Helper()
		got, ok, err := j.LoadSnapshot(t.Context(), want.Actor)
		if err != nil {
			t.Fatal(err)
		}
		if ok && (got.Actor != want.Actor || got.Sequence != want.Sequence || got.Fingerprint != want.Fingerprint || got.Fold != want.Fold || !bytes.Equal(got.State, want.State)) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		return ok
	}
	save()
	if !load() {
		t.Error("the snapshot is lost")
	}
	mustClose(t, j)
	j = mustOpen(t, o)
	if !load() {
		t.Error("the snapshot is lost after a clean stop")
	}
	if err := j.DeleteSnapshots(t.Context()); err != nil {
		t.Fatal(err)
	}
	if load() {
		t.Error("the snapshot is still there")
	}
	save()
	mustClose(t, j)

	bucket := filepath.Join(filepath.Dir(filepath.Dir(blocksDir(o.Dir))), bucketStream)
	if err := os.RemoveAll(bucket); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, o)
	if load() {
		t.Error("a snapshot out of nothing")
	}
	if n := len(readAll(t, j, Query{})); n != 10 {
		t.Errorf("%d decisions", n)
	}
	save()
	if !load() {
		t.Error("no snapshots any more")
	}
	want.Sequence = 11 // the journal's actor is at 7
	save()
	if load() {
		t.Error("a snapshot that knows more than the journal was believed")
	}
	mustClose(t, j)

	for _, file := range []string{"meta.inf", "meta.sum", "msgs/1.blk", "msgs/index.db"} {
		edit(t, filepath.Join(bucket, file), func(b []byte) []byte { return []byte("garbage") })
	}
	j = mustOpen(t, o)
	load()
	want.Sequence = 7
	save()
	if !load() {
		t.Error("damaged snapshots stay damaged")
	}
}

func TestSnapshotCodec(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Snapshot{Sequence: rapid.Uint64().Draw(t, "seq"), Fingerprint: rapid.String().Draw(t, "fp"), Fold: rapid.Uint32().Draw(t, "fold"), State: rapid.SliceOf(rapid.Byte()).Draw(t, "state")}
		b := encodeSnapshot(s)
		got, ok := decodeSnapshot(b)
		if !ok || got.Sequence != s.Sequence || got.Fingerprint != s.Fingerprint || got.Fold != s.Fold || !bytes.Equal(got.State, s.State) {
			t.Fatalf("%+v became %+v", s, got)
		}
		b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		if _, ok := decodeSnapshot(b); ok {
			t.Fatal("a changed byte was not noticed")
		}
	})
}

func TestTokensAreReversible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := messages.ActorID{Kind: rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "kind"), ID: rapid.String().Draw(t, "id")}
		host := rapid.String().Draw(t, "host")
		h, got, err := actorOf(subjectOf(host, a))
		if err != nil || h != host || got != a {
			t.Fatalf("%q %+v became %q %+v, %v", host, a, h, got, err)
		}
	})
	for _, bad := range []string{"journal.h.model", "journal.h.model.a.b", "x.h.model.a", "journal.h.model.a=2", "journal.h.model.=61", "journal.h.model.a/b", "journal.h.model.=2f"} {
		if _, _, err := actorOf(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
