package journal

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

func FuzzParseRecord(f *testing.F) {
	b := block{index: 1}
	sum, err := b.hash()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0}, 64))
	f.Add([]byte{31, 0, 0, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 'a', 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, checked := range []bool{true, false} {
			s := sum
			if !checked {
				s = nil
			}
			r, err := parseRecord(in, s)
			if err != nil {
				continue
			}
			if r.size < recordHead+checksumSize || r.size > len(in) {
				t.Fatalf("a record of %d bytes in %d", r.size, len(in))
			}
			r.heads()
			rawHeader(r.headers, headExpected)
		}
		follows(in, 0, sum)
	})
}

func FuzzWholeDecision(f *testing.F) {
	d, err := messages.Seal(wanted("x"))
	if err != nil {
		f.Fatal(err)
	}
	b, err := proto.Marshal(d)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		d := new(messages.Decision)
		if wholeDecision(in) && proto.Unmarshal(in, d) == nil && len(d.Events) == 0 {
			t.Fatal("a decision without events passed")
		}
	})
}

func FuzzUntoken(f *testing.F) {
	f.Add("qwen=2E5")
	f.Add("=")
	f.Fuzz(func(t *testing.T, in string) {
		if text, err := untoken(in); err == nil && token(text) != in {
			t.Fatalf("%q became %q became %q", in, text, token(text))
		}
	})
}

func FuzzDecodeSnapshot(f *testing.F) {
	f.Add(encodeSnapshot(Snapshot{Sequence: 3, Fingerprint: "v1", Fold: 1, State: []byte("s")}))
	f.Fuzz(func(t *testing.T, in []byte) { decodeSnapshot(in) })
}
