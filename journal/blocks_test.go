package journal

import (
	"os"
	"strings"
	"testing"

	"modelops/messages"
)

// A journal of more than one block: the seams are checked too, and an old block is as well guarded as the last.
func TestDamageInOlderBlocks(t *testing.T) {
	const size = 60_000
	whole := testOptions(t, t.TempDir())
	whole.noSync = true
	bulk(t, whole, size)
	blocks, err := listBlocks(whole.Dir)
	if err != nil || len(blocks) < 3 {
		t.Fatalf("%d blocks, the test needs 3: %v", len(blocks), err)
	}
	second := firstSequence(blocks[1])
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, bs []block)
		want   string
	}{
		{"a byte in the first block", func(t *testing.T, bs []block) { edit(t, bs[0].path, flipAt("id-00000099", 3)) }, "sequence 100:"},
		{"the first block gone", func(t *testing.T, bs []block) { os.Remove(bs[0].path) }, "sequence 1:"},
		{"a middle block gone", func(t *testing.T, bs []block) { os.Remove(bs[1].path) }, itoa(second)},
		{"a middle block cut", func(t *testing.T, bs []block) {
			edit(t, bs[1].path, func(b []byte) []byte { return b[:len(b)-7] })
		}, itoa(firstSequence(blocks[2]) - 1)},
		{"the last block gone", func(t *testing.T, bs []block) { os.Remove(bs[len(bs)-1].path) }, "sequence 60000 was acknowledged"},
		{"two blocks swapped", func(t *testing.T, bs []block) {
			os.Rename(bs[0].path, bs[0].path+".x")
			os.Rename(bs[1].path, bs[0].path)
			os.Rename(bs[0].path+".x", bs[1].path)
		}, "sequence 1:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := whole
			o.Dir = t.TempDir()
			if err := os.CopyFS(o.Dir, os.DirFS(whole.Dir)); err != nil {
				t.Fatal(err)
			}
			bs, err := listBlocks(o.Dir)
			if err != nil {
				t.Fatal(err)
			}
			c.damage(t, bs)
			before := digest(t, o.Dir)
			_, err = Open(t.Context(), o)
			if e := wantCode(t, err, messages.JournalDamaged); !strings.Contains(e.Error(), c.want) {
				t.Errorf("%q does not say %q", e, c.want)
			}
			if digest(t, o.Dir) != before {
				t.Error("the refused start changed something on disk")
			}
		})
	}
	j := mustOpen(t, whole)
	for _, after := range []uint64{0, second - 2, second - 1, second, size - 1} {
		n := after
		err := j.Replay(t.Context(), Query{After: after}, func(r messages.Recorded) error { n++; return nil })
		if err != nil || n != size {
			t.Errorf("after %d: read up to %d, %v", after, n, err)
		}
	}
	rs := readAll(t, j, Query{Actor: modelName(3)}) // by steps first, then by a consumer
	if len(rs) != size/500 || rs[100].Sequence != 100*500+4 {
		t.Errorf("one actor: %d decisions", len(rs))
	}
}
