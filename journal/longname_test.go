package journal

import (
	"strings"
	"testing"

	"modelops/messages"
)

// A name that is longer than a line of NATS's protocol ends no connection: the journal's own is shared by all actors.
func TestANameOfAnyLengthIsAsked(t *testing.T) {
	j := testOpen(t)
	for _, n := range []int{256, 300, 1 << 10, 4 << 10, 100 << 10} {
		a := messages.ModelActor(testHost, strings.Repeat("/", n)) // each byte takes three in a subject
		if last, err := j.Last(t.Context(), a); last != 0 || err != nil {
			t.Fatalf("%d bytes: %d, %v", n, last, err)
		}
		if got := readAll(t, j, Query{Actor: a}); len(got) != 0 {
			t.Fatalf("%d bytes: %d decisions", n, len(got))
		}
		_, err := j.Append(t.Context(), Append{Actor: a, Events: wanted("x")})
		if n <= 300 && err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if e := messages.AsError(err); n > 1<<10 && (e == nil || e.Code != messages.InvalidArgument || e.Hint == "") {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if _, err := j.Append(t.Context(), Append{Actor: modelName(1), Events: wanted("x")}); err != nil {
		t.Fatal(err)
	}
}
