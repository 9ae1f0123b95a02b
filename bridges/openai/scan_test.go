package openai

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func FuzzScanBody(f *testing.F) {
	for _, s := range []string{
		`{"model":"a"}`, ` { } `, `{"a":[1,-0.5e+10,true,false,null,"\u00e9\\\"",{}],"model":"b"}`, `{"model":"a","model":"b"}`, `{"a":01}`, `{"a":1,}`,
		`{"a" 1}`, "{\"a\":\"\x01\"}", "{\"\xff\":1}", `{"a":"\ud800"}`, `{"m\u006fdel":1}`, `{"a":-}`, `{"a":1.}`, `{"a":1e}`, `{"a":tru}`, `[`, ``, "\ufeff{}", `{"MODEL":"x"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(agrees)
}

// agrees holds the scanner against encoding/json: same opinion on what is an object, same value of the model.
func agrees(t *testing.T, b []byte) {
	env, err := scanBody(b)
	bad, ok := err.(*badJSON)
	if err != nil && (!ok || bad.offset < 0 || bad.offset > len(b)) {
		t.Fatalf("%q: error %v", b, err)
	}
	object := json.Valid(b) && bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{"))
	if twice := ok && bad.field != ""; !twice && object != (err == nil) {
		t.Fatalf("%q: encoding/json says %v, the scanner %v", b, object, err)
	}
	if err != nil {
		return
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(b, &members) != nil {
		t.Fatalf("%q: encoding/json can't read it", b)
	}
	for f, name := range fieldNames {
		raw, there := members[name]
		s := env[f]
		if field(f) == fieldModel && !there {
			continue // it may be there as "Model"
		}
		if there != s.present() || there && !bytes.Equal(raw, b[s.from:s.to]) {
			t.Fatalf("%q: %s is %q, the scanner says %q", b, name, raw, b[s.from:s.to])
		}
	}
}

func TestScannerOnMadeAndMutatedObjects(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		key := rapid.OneOf(rapid.SampledFrom(fieldNames[:]), rapid.String())
		value := rapid.SampledFrom([]any{nil, true, 1.5, -3, "text", "quote\"\\\u2028é", []any{1, []any{}, map[string]any{"model": 1}}, map[string]any{}})
		b, err := json.Marshal(rapid.MapOf(key, value).Draw(rt, "object"))
		if err != nil {
			rt.Fatal(err)
		}
		agrees(t, b)
		i := rapid.IntRange(0, len(b)-1).Draw(rt, "at")
		agrees(t, b[:i])
		b[i] = rapid.SampledFrom([]byte("{}[]:,\"\\0-.eEtfnu \x00\xff")).Draw(rt, "byte")
		agrees(t, b)
	})
}

func TestSkipPlainStopsWhereItShould(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := rapid.SliceOf(rapid.OneOf(rapid.Byte(), rapid.ByteRange('a', 'z'), rapid.SampledFrom([]byte("\"\\\x1f\x20\x7f\x80\xa2\xdc\xff#]!")))).Draw(rt, "bytes")
		from := rapid.IntRange(0, len(b)).Draw(rt, "from")
		want := from
		for want < len(b) && b[want] >= 0x20 && b[want] != '"' && b[want] != '\\' {
			want++
		}
		if got := skipPlain(b, from); got != want {
			rt.Fatalf("%q from %d: %d, want %d", b, from, got, want)
		}
	})
}

func TestDepthIsBounded(t *testing.T) {
	for depth, fine := range map[int]bool{maxDepth - 1: true, maxDepth: false, 1 << 20: false} {
		b := []byte(`{"a":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`)
		if _, err := scanBody(b); (err == nil) != fine || json.Valid(b) != fine {
			t.Errorf("depth %d: %v, encoding/json %v", depth, err, json.Valid(b))
		}
	}
}

func TestNullMeansAbsent(t *testing.T) {
	q, bad := readQuestion([]byte(`{"model":"a","stream":null,"n":null,"max_tokens":null,"temperature":null,"max_completion_tokens":0}`), route{}, false)
	if bad != nil || q.stream {
		t.Errorf("%+v %v", q, bad)
	}
}
