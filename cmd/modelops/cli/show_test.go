package cli

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// printed is the output of do on stdout and stderr, in words or as JSON.
func printed(t *testing.T, asJSON bool, do func(*cli) error) string {
	t.Helper()
	var out bytes.Buffer
	if err := do(&cli{stdout: &out, stderr: &out, asJSON: asJSON, now: time.Now}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// says requires that do prints want in words.
func says(t *testing.T, want string, do func(*cli) error) {
	t.Helper()
	if got := "\n" + printed(t, false, do); got != want {
		t.Errorf("it says%s\nnot%s", got, want)
	}
}

// showsAs requires that do prints want as JSON.
func showsAs[M proto.Message](t *testing.T, want M, do func(*cli) error) {
	t.Helper()
	out := printed(t, true, do)
	got := want.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal([]byte(out), got); err != nil || !proto.Equal(got, want) || !json.Valid([]byte(out)) {
		t.Errorf("%v: %s", err, out)
	}
}

func somePlan() *messages.DefragPlan {
	return &messages.DefragPlan{Gpu: "gpu/h/gpu0", NeedBytes: 20 << 30, FreeBefore: 13 << 30, FreeAfter: 23 << 30, Moves: []*messages.Move{
		{Holder: "model/h/org/small", From: "gpu/h/gpu0", To: "gpu/h/gpu1", Bytes: 5 << 30, IdleMs: 90_000, LoadMs: 2500, Cost: 0.0231},
		{Holder: "model/h/tiny", From: "gpu/h/gpu0", To: "gpu/h/gpu1", Bytes: 512 << 20, IdleMs: 700, LoadMs: 300, Cost: 0.25}}}
}

func TestPlansAreShown(t *testing.T) {
	p := somePlan()
	show := func(c *cli) error { return show(c, p, c.printPlan) }
	says(t, `
MODEL      FROM  TO    MEMORY    IDLE   DOWNTIME     COST
org/small  gpu0  gpu1  5120 MiB  1m30s  about 2.5s   0.0231
tiny       gpu0  gpu1  512 MiB   700ms  about 300ms  0.25
the largest free block: 13.0 GiB now, 23.0 GiB on gpu0 after the moves
nothing was moved; --apply carries it out
`, show)
	showsAs(t, p, show)
	p.Moves, p.Id = p.Moves[:1], "p1"
	says(t, `
MODEL      FROM  TO    MEMORY    IDLE   DOWNTIME    COST
org/small  gpu0  gpu1  5120 MiB  1m30s  about 2.5s  0.0231
the largest free block: 13.0 GiB now, 23.0 GiB on gpu0 after the moves
the moves have begun; `+"`modelops state arbiter`"+` shows their progress
`, show)
	p = &messages.DefragPlan{Note: "it fits as it is", FreeBefore: 13 << 30}
	says(t, "\nit fits as it is; the largest free block is 13.0 GiB\n", show)
	showsAs(t, p, show)
}

func TestHintsAreShown(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	h := &messages.HintReply{Model: "model/h/org/big", Gpu: "gpu/h/gpu0", Bytes: 20 << 30, UntilMs: now.Add(90 * time.Second).UnixMilli(), Owner: "alice"}
	says(t, `
MODEL    DEVICE  MEMORY    FOR    BY
org/big  gpu0    20.0 GiB  1m30s  alice
`, func(c *cli) error { return c.printHints([]*messages.HintReply{h}, now) })
	says(t, "\nthere are no hints; `modelops hint MODEL` makes one\n", func(c *cli) error { return c.printHints(nil, now) })
	kept := func(c *cli) error {
		return show(c, h, func(h *messages.HintReply) error { return c.printHint("org/big", h) })
	}
	says(t, "\n20.0 GiB on gpu0 are kept free for org/big until "+time.UnixMilli(h.UntilMs).Format(time.TimeOnly)+"; a model that fits nowhere else may take them\n", kept)
	showsAs(t, h, kept)
	for want, reply := range map[string]*messages.HintReply{
		"\norg/big is on gpu0 already\n":         {Gpu: "gpu/h/gpu0"},
		"\nno memory is kept free for org/big\n": {},
	} {
		says(t, want, func(c *cli) error { return c.printHint("org/big", reply) })
	}
}

// The list of devices includes hints and moves.
func TestDevicesTellOfRoom(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	s := &messages.StatusView{Gpus: []*messages.GpuView{{Device: "gpu0", Kind: "cuda", Name: "card", CapacityBytes: 24 << 30, LimitBytes: 23 << 30, FreeBytes: 23 << 30}},
		Hints:  []*messages.HintReply{{Model: "model/h/big", Gpu: "gpu/h/gpu0", Bytes: 20 << 30, UntilMs: now.Add(5 * time.Second).UnixMilli()}},
		Defrag: &messages.DefragPlan{Moves: somePlan().Moves[:1]}}
	says(t, `
DEVICE  KIND  NAME  CAPACITY  LIMIT     RESERVED  FOREIGN  FREE      USED  UTIL  TEMP  POWER
gpu0    cuda  card  24.0 GiB  23.0 GiB  0         0        23.0 GiB  -     -     -     -
20.0 GiB on gpu0 are kept free for big for 5.0s, hinted by unknown
org/small is moving from gpu0 to gpu1
`, func(c *cli) error { return c.printDevices(s, false, now) })
}

func TestPinsAreTold(t *testing.T) {
	v := &messages.ModelView{Name: "a", Phase: messages.ModelView_ready, PinnedBy: "alice"}
	show := func(c *cli) error { return c.printPin(v, []string{"b is pinned by bob"}) }
	says(t, "\na is pinned: by alice\nconflict: b is pinned by bob\n", show)
	v.Phase = messages.ModelView_absent
	says(t, "\na is pinned: by alice; it is absent, so the pin takes effect with its next load\nconflict: b is pinned by bob\n", show)
	v.PinnedBy = ""
	says(t, "\na isn't pinned\n", func(c *cli) error { return c.printPin(v, nil) })
}

func TestAnEmptyQueueIsSaid(t *testing.T) {
	says(t, "\nthere are no requests\n", func(c *cli) error { return c.printQueue(&messages.QueueView{}, "") })
}

func TestSwapsAreShown(t *testing.T) {
	r := &messages.SwapReply{Id: "s1", Name: "chat", From: "v1", To: "v2", Phase: messages.SwapReply_trying}
	show := func(c *cli) error { return show(c, r, c.printSwap) }
	for phase, want := range map[messages.SwapReply_Phase]string{
		messages.SwapReply_preparing:   "\nchat: v2 is being loaded, v1 answers\n",
		messages.SwapReply_trying:      "\nchat: v2 is on trial, v1 stays ready\n",
		messages.SwapReply_promoted:    "\nchat is answered by v2: 20 requests went well\n",
		messages.SwapReply_rolled_back: "\nchat is answered by v1 as before: 20 requests went well\n",
	} {
		r.Phase, r.Reason = phase, "20 requests went well"
		says(t, want, show)
	}
	showsAs(t, r, show)
	says(t, `
NAME  MODEL  TRIAL  SHARE
chat  v1     v2     10 %
code  v3     -      -

SWAP  FROM  TO  PHASE   REASON
chat  v1    v2  trying  -
`, func(c *cli) error {
		return c.printSwaps(&messages.SwapList{Routes: []*messages.Route{{Name: "chat", To: "v1", Canary: "v2", SharePct: 10}, {Name: "code", To: "v3"}},
			Swaps: []*messages.SwapReply{{Name: "chat", From: "v1", To: "v2", Phase: messages.SwapReply_trying}}})
	})
}

func TestHowFarACopyIs(t *testing.T) {
	for want, m := range map[string]*messages.MemberView{
		"5":                     {Sequence: 5, Copied: 5, CopyAgeMs: 180},
		"0 (4 behind)":          {Sequence: 4},
		"3 (2 behind for 2.0s)": {Sequence: 5, Copied: 3, CopyAgeMs: 2000},
	} {
		if got := copiedOf(m); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
