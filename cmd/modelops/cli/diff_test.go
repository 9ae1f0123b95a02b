package cli

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestDiff(t *testing.T) {
	for name, c := range map[string]struct {
		journal, live string
		want          []difference
	}{
		"the same":                     {`{"a":1,"b":[1,{"c":null}]}`, `{"b":[1,{"c":null}],"a":1}`, nil},
		"a number":                     {`{"a":1}`, `{"a":2}`, []difference{{".a", "1", "2"}}},
		"sums that don't fit a float":  {`{"a":9007199254740993}`, `{"a":9007199254740992}`, []difference{{".a", "9007199254740993", "9007199254740992"}}},
		"deep":                         {`{"a":{"b":[{"c":"x"}]}}`, `{"a":{"b":[{"c":"y"}]}}`, []difference{{".a.b[0].c", `"x"`, `"y"`}}},
		"missing in life":              {`{"a":1,"b":2}`, `{"a":1}`, []difference{{".b", "2", "absent"}}},
		"missing in the journal":       {`{}`, `{"b":null}`, []difference{{".b", "absent", "null"}}},
		"a shorter list":               {`[1,2]`, `[1]`, []difference{{"[1]", "2", "absent"}}},
		"null is not an empty list":    {`{"a":null}`, `{"a":[]}`, []difference{{".a", "null", "[]"}}},
		"an object is not a string":    {`{"a":{}}`, `{"a":"x"}`, []difference{{".a", "{}", `"x"`}}},
		"a list is not an object":      {`{"a":[]}`, `{"a":{}}`, []difference{{".a", "[]", "{}"}}},
		"a number is not its text":     {`1`, `"1"`, []difference{{".", "1", `"1"`}}},
		"several, in order of the key": {`{"b":1,"a":1}`, `{"b":2,"a":2}`, []difference{{".a", "1", "2"}, {".b", "1", "2"}}},
	} {
		got, err := diffJSON([]byte(c.journal), []byte(c.live))
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v %v, want %v", name, got, err, c.want)
		}
	}
	for _, c := range [][2]string{{`{`, `{}`}, {`{}`, ``}} {
		if _, err := diffJSON([]byte(c[0]), []byte(c[1])); err == nil {
			t.Errorf("%q and %q are compared", c[0], c[1])
		}
	}
}

func anyJSON() *rapid.Generator[any] {
	leaf := rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.Bool(), toAny), rapid.Map(rapid.IntRange(0, 3), toAny), rapid.Map(rapid.SampledFrom([]string{"", "x"}), toAny))
	return rapid.Deferred(func() *rapid.Generator[any] {
		deeper := rapid.Custom(func(t *rapid.T) any { return anyJSON().Draw(t, "inner") })
		return rapid.OneOf(leaf, leaf, leaf,
			rapid.Map(rapid.SliceOfN(deeper, 0, 2), func(v []any) any { return v }),
			rapid.Map(rapid.MapOfN(rapid.SampledFrom([]string{"a", "b"}), deeper, 0, 2), func(v map[string]any) any { return maps.Clone(v) }))
	})
}

func toAny[T any](v T) any { return v }

// Two values have no difference if and only if their JSON is the same.
func TestDiffIsEquality(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, _ := json.Marshal(anyJSON().Draw(t, "a"))
		b, _ := json.Marshal(anyJSON().Draw(t, "b"))
		found, err := diffJSON(a, b)
		if err != nil {
			t.Fatal(err)
		}
		if same := string(a) == string(b); same != (len(found) == 0) {
			t.Fatalf("%s and %s: %v", a, b, found)
		}
	})
}
