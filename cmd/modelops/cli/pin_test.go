package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

// What a duration may be is said with both of its bounds.
func TestSpansAreBounded(t *testing.T) {
	for d, want := range map[time.Duration]uint32{0: 0, time.Second: 1, 1193046 * time.Hour: 1193046 * 3600} {
		if got, err := wholeSeconds("--for", d, "0 is none"); err != nil || got != want {
			t.Errorf("%s: %d %v", d, got, err)
		}
	}
	for _, d := range []time.Duration{-time.Second, time.Millisecond, 2_000_000 * time.Hour} {
		if _, err := wholeSeconds("--for", d, "0 is none"); messages.CodeOf(err) != messages.InvalidArgument || !strings.Contains(err.Error(), "at least 1s, at most 1193046h; 0 is none") {
			t.Errorf("%s: %v", d, err)
		}
	}
}

func TestPinsAreShownWithOwnerAndEnd(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	v := &messages.ModelView{PinnedBy: "alice"}
	if got := pinOf(v, now); got != "by alice" {
		t.Error(got)
	}
	v.PinnedUntilMs = now.Add(2 * time.Hour).UnixMilli()
	if got := pinOf(v, now); got != "by alice for 2h0m" {
		t.Error(got)
	}
	if got := pinOf(v, now.Add(3*time.Hour)); got != "" {
		t.Error("a pin that is over:", got)
	}
	if got := pinOf(&messages.ModelView{Spec: &messages.ModelSpec{Pinned: true}}, now); got != "by configuration" {
		t.Error(got)
	}
}

func TestQueueIsShown(t *testing.T) {
	var out bytes.Buffer
	c := &cli{stdout: &out}
	q := &messages.QueueView{Active: 1, Queued: 1, MaxActive: 512, Requests: []*messages.QueuedRequest{
		{RequestId: "r1", Model: "tiny", State: "running", Class: "normal", WaitedMs: 20},
		{RequestId: "r2", Model: "tiny", State: "waiting", Class: "batch", Caller: "bob", Position: 1, WaitedMs: 1500, ExpectedMs: 4000, WaitsFor: "a place"},
	}}
	if err := c.printQueue(q, ""); err != nil {
		t.Fatal(err)
	}
	const want = `MODEL  REQUEST  STATE    CLASS   CALLER  PLACE  WAITED  EXPECTED  WAITS FOR
tiny   r1       running  normal  -       -      20ms    -         -
tiny   r2       waiting  batch   bob     1      1.5s    4.0s      a place
on this host: 1 running of 512, 1 waiting
`
	if got := out.String(); got != want {
		t.Errorf("%s", got)
	}
	if rs := requestsOf(q, "other"); rs != nil {
		t.Error(rs)
	}
}
