package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

func pinned(name, owner string, on string, gib uint64, groups ...string) *messages.ModelView {
	v := &messages.ModelView{Name: name, Phase: messages.ModelView_absent, PinnedBy: owner, Spec: &messages.ModelSpec{Name: name, Groups: groups, VramBytes: gib << 30}}
	if on != "" {
		v.Phase, v.Placement = messages.ModelView_ready, &messages.Placement{Shares: []*messages.Share{{Gpu: on, Bytes: gib << 30}}}
	}
	return v
}

func TestPinConflictsNameTheOthers(t *testing.T) {
	gpus := []*messages.GpuView{{Id: "gpu/h/a", LimitBytes: 20 << 30}, {Id: "gpu/h/b", LimitBytes: 10 << 30}}
	a, b := pinned("a", "alice", "gpu/h/a", 15, "big"), pinned("b", "", "gpu/h/b", 8)
	b.Spec.Pinned = true
	c := pinned("c", "", "gpu/h/a", 5) // resident, and can be evicted
	s := &messages.StatusView{Gpus: gpus, Models: []*messages.ModelView{a, b, c}}
	for _, x := range []struct {
		m    *messages.ModelView
		want string
	}{
		{pinned("small", "me", "", 5), ""},
		{pinned("large", "me", "", 6), "it needs 6144 MiB, and at most 5120 MiB can be free on one device while these models are pinned: a by alice (15.0 GiB), b by configuration (8192 MiB)"},
		{pinned("large", "", "", 6), ""},          // not pinned
		{pinned("large", "me", "gpu/h/b", 6), ""}, // it is there already
		{pinned("rival", "me", "", 1, "x", "big"), "a is pinned by alice, and group big allows only one of the two to be loaded"},
	} {
		if got := strings.Join(pinConflicts(s, x.m, time.Now()), "; "); got != x.want {
			t.Errorf("%s: %q, want %q", x.m.Name, got, x.want)
		}
	}
}

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
	if err := c.printQueue(q); err != nil {
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
