package host

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// between is what residents are at some moment.
type between struct {
	models  []*messages.ModelView
	devices []*messages.GpuView
	jobs    []*messages.JobView
	closed  string
}

var noon = time.UnixMilli(1_800_000_000_000)

func (b between) Models() []*messages.ModelView { return b.models }
func (b between) Devices() []*messages.GpuView  { return b.devices }
func (b between) Jobs(host string) []*messages.JobView {
	return slices.DeleteFunc(slices.Clone(b.jobs), func(j *messages.JobView) bool { return j.Host != host })
}
func (b between) Now() time.Time { return noon }
func (b between) Closed(host string) string {
	if host == b.closed {
		return "can't be reached"
	}
	return ""
}

func at(host string, phase messages.ModelView_Phase, change ...func(*messages.ModelView)) *messages.ModelView {
	v := &messages.ModelView{Id: "model/" + host + "/m", Host: host, Name: "m", Phase: phase, Spec: &messages.ModelSpec{Name: "m"}}
	switch phase {
	case messages.ModelView_absent, messages.ModelView_failed:
	case messages.ModelView_placing:
		v.Wanted = true
	default:
		v.Placement, v.Wanted = &messages.Placement{}, true
	}
	for _, c := range change {
		c(v)
	}
	return v
}

func busy(v *messages.ModelView)   { v.Active = 1 }
func always(v *messages.ModelView) { v.Spec.Pinned = true }
func pinned(v *messages.ModelView) { v.PinnedBy = "alice" }
func since(d time.Duration) func(*messages.ModelView) {
	return func(v *messages.ModelView) { v.WantedMs = noon.Add(-d).UnixMilli() }
}
func until(d time.Duration) func(*messages.ModelView) {
	return func(v *messages.ModelView) { v.PinnedBy, v.PinnedUntilMs = "alice", noon.Add(d).UnixMilli() }
}

// door notes what is asked.
type door struct{ asked []string }

func (d *door) Ask(_ context.Context, to messages.ActorID, c proto.Message) (messages.Reply, error) {
	said := to.String() + " " + string(c.ProtoReflect().Descriptor().Name())
	if p, ok := c.(*messages.PinModel); ok {
		said += " " + p.Owner + " " + (time.Duration(p.TtlSeconds) * time.Second).String()
	}
	d.asked = append(d.asked, said)
	return messages.Reply{}, nil
}

func (d *door) Tell(context.Context, messages.ActorID, proto.Message) {}

func TestHowModelsLeaveADrainedHost(t *testing.T) {
	const absent, placing, loading, ready, asleep, failed = messages.ModelView_absent, messages.ModelView_placing, messages.ModelView_loading, messages.ModelView_ready, messages.ModelView_asleep, messages.ModelView_failed
	small := []*messages.GpuView{{Host: "b", Device: "gpu0", LimitBytes: 8 << 30, ReservedBytes: 7 << 30, Reservations: []*messages.Reservation{{Holder: "model/b/big"}, {Holder: "client/x"}}},
		{Host: "c", Device: "gpu0", LimitBytes: 8 << 30}}
	big := &messages.ModelView{Id: "model/b/big", Host: "b", Name: "big", PinnedBy: "bob"}
	ends := "m leaves: its host is being emptied, and no other host can run it"
	unload, ensure := "model/a/m UnloadModel", "model/b/m EnsureModel"
	for name, c := range map[string]struct {
		between
		asks, waits, stuck string
	}{
		"it is ready there":        {between{models: []*messages.ModelView{at("a", ready, busy), at("b", ready)}}, unload, "m leaves: its host is being emptied, and it is ready on b", ""},
		"it is loaded there first": {between{models: []*messages.ModelView{at("a", ready), at("b", absent)}}, ensure, "m loads on b first", ""},
		"it loads there":           {between{models: []*messages.ModelView{at("a", ready), at("b", loading)}}, "", "m loads on b first", ""},
		"it sleeps there":          {between{models: []*messages.ModelView{at("a", ready), at("b", asleep)}}, ensure, "m loads on b first", ""},
		"it sleeps on both":        {between{models: []*messages.ModelView{at("a", asleep), at("b", asleep)}}, unload, "m leaves: its host is being emptied, and it is ready on b", ""},
		"it failed there":          {between{models: []*messages.ModelView{at("a", ready), at("b", failed)}}, unload, ends, ""},
		"the other is unreachable": {between{models: []*messages.ModelView{at("a", ready, busy), at("b", ready)}, closed: "b"}, "", "m finishes its requests: no other host can run it", ""},
		"it is alone and idle":     {between{models: []*messages.ModelView{at("a", asleep)}}, unload, ends, ""},
		"it starts":                {between{models: []*messages.ModelView{at("a", loading)}}, "", "m is loading", ""},
		"it looks for room there":  {between{models: []*messages.ModelView{at("a", ready), at("b", placing, since(10*time.Second))}}, "", "m loads on b first", ""},
		"there is no room": {between{models: []*messages.ModelView{at("a", ready), at("b", placing, since(time.Minute)), big}, devices: small}, "", "",
			"m stays: b has no room for it: gpu0 has 1024 MiB of 8192 MiB free, and big (pinned), client/x on it; make room on b, or modelops unload m --host a"},
		"no room, but on a third": {between{models: []*messages.ModelView{at("a", ready), at("b", placing, since(time.Minute)), at("c", absent)}, devices: small}, "model/c/m EnsureModel", "m loads on c first", ""},
		"no room on any, the latest counts": {between{models: []*messages.ModelView{at("a", ready), at("b", placing, since(time.Hour)), at("c", placing, since(time.Minute))}, devices: small}, "", "",
			"m stays: c has no room for it: gpu0 has 8192 MiB of 8192 MiB free; make room on c, or modelops unload m --host a"},
		"its pin goes first":      {between{models: []*messages.ModelView{at("a", ready, until(90*time.Second)), at("b", ready)}}, "model/b/m PinModel alice 1m31s", "m takes its pin to b", ""},
		"its pin without an end":  {between{models: []*messages.ModelView{at("a", ready, pinned), at("b", ready)}}, "model/b/m PinModel alice 0s", "m takes its pin to b", ""},
		"its pin is there":        {between{models: []*messages.ModelView{at("a", ready, pinned), at("b", ready, pinned)}}, unload, "m leaves: its host is being emptied, and it is ready on b", ""},
		"its pin is over":         {between{models: []*messages.ModelView{at("a", ready, until(-time.Second))}}, unload, ends, ""},
		"it is pinned and alone":  {between{models: []*messages.ModelView{at("a", ready, pinned)}}, "", "", "m stays: it is pinned, and no other host can run it; modelops unload m --host a"},
		"its declaration pins it": {between{models: []*messages.ModelView{at("a", ready, always)}}, "", "", "m stays: it is pinned, and no other host can run it; modelops unload m --host a"},
		"a program holds memory": {between{devices: []*messages.GpuView{{Host: "a", Device: "gpu0", Reservations: []*messages.Reservation{{Holder: "client/x", Bytes: 1 << 30}}}}}, "",
			"client/x holds 1024 MiB of gpu0 until it gives that back", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := &door{}
			if _, err := (ports{Door: d, Residents: c.between}).empty(t.Context(), empty{"a"}); err != nil {
				t.Fatal(err)
			}
			got := Drained("a", c.between)
			if asked := strings.Join(d.asked, ", "); asked != c.asks || strings.Join(got.WaitsFor, ", ") != c.waits || strings.Join(got.Stuck, ", ") != c.stuck || got.Safe {
				t.Errorf("asked %q, %v", asked, got)
			}
		})
	}
	if got := Drained("a", between{models: []*messages.ModelView{at("a", absent), at("b", ready)}, devices: small}); !got.Safe {
		t.Errorf("an empty host: %v", got)
	}
}

// What found no room yet on another host is called back when the drain ends; what has loaded stays.
func TestADrainThatEndsCallsBack(t *testing.T) {
	d := &door{}
	for _, phase := range []messages.ModelView_Phase{messages.ModelView_placing, messages.ModelView_loading, messages.ModelView_ready} {
		if err := CallBack(t.Context(), "a", between{models: []*messages.ModelView{at("a", messages.ModelView_ready), at("b", phase)}}, d); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(d.asked, []string{"model/b/m UnloadModel"}) {
		t.Errorf("asked %q", d.asked)
	}
}

// A job leaves a drained host with a checkpoint; the drain isn't safe before its memory is back. One that only waits is left alone.
func TestHowJobsLeaveADrainedHost(t *testing.T) {
	job := func(name string, phase messages.JobView_Phase) *messages.JobView {
		v := &messages.JobView{Id: "job/a/" + name, Host: "a", Name: name, Phase: phase, Attempt: 3}
		if phase != messages.JobView_pending {
			v.Placement = &messages.Placement{}
		}
		return v
	}
	elsewhere := job("there", messages.JobView_running)
	elsewhere.Host = "b"
	r := between{jobs: []*messages.JobView{job("waits", messages.JobView_pending), job("held", messages.JobView_reserved), job("trains", messages.JobView_running), job("leaves", messages.JobView_checkpointing), elsewhere},
		devices: []*messages.GpuView{{Host: "a", Device: "gpu0", Reservations: []*messages.Reservation{{Holder: "job/a/trains"}}}}}
	d := &door{}
	if _, err := (ports{Door: d, Residents: r}).empty(t.Context(), empty{"a"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"job/a/held StopJob", "job/a/trains StopJob"}; !slices.Equal(d.asked, want) {
		t.Errorf("asked %q, want %q", d.asked, want)
	}
	said := Drained("a", r)
	if said.Safe || !slices.Contains(said.WaitsFor, "job/trains writes a checkpoint and leaves") || len(said.WaitsFor) != 3 {
		t.Error(said)
	}
	if said := Drained("a", between{jobs: r.jobs[:1]}); !said.Safe {
		t.Error(said)
	}
}
