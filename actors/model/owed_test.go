package model

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// The key of owed work tells which it is; this tells what it is done with.
func TestOwedWorkHasWhatItNeeds(t *testing.T) {
	p, worker := placement("3"), &messages.Worker{Pid: 7}
	spec := &messages.ModelSpec{Name: "tiny", Revision: "r1"}
	known := map[string]uint64{"r1@cuda": 90, "r1@cpu": 70, "r10@cuda": 500, "r2@cuda": 400, "@cuda": 600}
	in := func(phase Phase) State { return State{ID: tiny, Spec: spec, Attempt: 3, Phase: phase, Wanted: true} }
	for name, c := range map[string]struct {
		state State
		work  entity.Effect
	}{
		"the largest footprint of this revision": {func() State { s := in(Placing); s.Footprints = known; return s }(), place{spec, tiny, 3, 90, false}},
		"a guess that is larger":                 {func() State { s := in(Placing); s.Footprints, s.Guess = known, 95; return s }(), place{spec, tiny, 3, 95, false}},
		"a start with its nonce":                 {func() State { s := in(Loading); s.Placement, s.Nonce = p, "n"; return s }(), start{spec, p, "n", 3}},
		"a stop by the nonce":                    {func() State { s := in(Stopping); s.Nonce = "n"; return s }(), stop{spec, nil, "n", 3}},
		"what it holds when it is awake": {func() State {
			s := in(Waking)
			s.Placement, s.Worker, s.SleepTried, s.Measured, s.SleepBytes = p, worker, true, 90, 5
			return s
		}(), wake{spec, worker, p, 90, 3}},
		"what was reserved when nothing was measured": {func() State {
			s := in(Waking)
			s.Placement, s.Worker, s.SleepTried, s.SleepBytes = p, worker, true, 5
			return s
		}(), wake{spec, worker, p, 1 << 30, 3}},
		"a pause": {func() State { s := in(Waiting); s.RetryMS = 1500; return s }(), retry{3, 1500 * time.Millisecond}},
	} {
		found := false
		for _, e := range Owed(c.state) {
			found = found || e == c.work
		}
		if !found {
			t.Errorf("%s: owed is %+v, want %+v", name, Owed(c.state), c.work)
		}
	}
	if after := (retry{After: time.Second}).Delay(); after != time.Second {
		t.Errorf("the try comes after %s", after)
	}
}

// A replica's engine answers as its model, and it isn't found by another name, listed, or scaled by itself.
func TestADeclarationOfAReplica(t *testing.T) {
	for own, answers := range map[string]string{"": "tiny", "Tiny-1B": "Tiny-1B"} {
		s := State{ID: tiny, Spec: &messages.ModelSpec{Name: "tiny", Revision: "r1", Runtime: "vllm", UseModelName: own, Aliases: []string{"small"}, MinReplicas: 2,
			MaxReplicas: 3, DeclaredBy: "configuration", Pinned: true}}
		want := &messages.ModelSpec{Name: "tiny~2", ReplicaOf: "tiny", Revision: "r1", Runtime: "vllm", UseModelName: answers, Unlisted: true,
			DeclaredBy: "replica", Pinned: true}
		if got := s.replicaSpec("tiny~2"); !proto.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

// A withdrawn declaration isn't shown, so that no request is routed there. A sleeping worker shows what it holds asleep.
func TestWhatIsShown(t *testing.T) {
	s := State{ID: tiny, Spec: &messages.ModelSpec{Name: "tiny"}, Phase: Ready, Measured: 90, SleepBytes: 5, Replacement: &Replacement{Replica: "tiny~2", By: "tiny~3"}}
	show := func(s State) *messages.ModelView { v, _ := View(s).(*messages.ModelView); return v }
	if v := show(s); v.Spec == nil || v.MeasuredBytes != 90 || v.Replacing != "tiny~2" || v.Replacement != "tiny~3" {
		t.Errorf("ready: %v", v)
	}
	s.Phase = Asleep
	if v := show(s); v.MeasuredBytes != 5 {
		t.Errorf("asleep: %v", v)
	}
	s.Retired = true
	if v := show(s); v.Spec != nil {
		t.Errorf("withdrawn: %v", v)
	}
}

// Footprints are peaks. Those of the present revision stay, of others as many as there is room for.
func TestFootprintsArePeaks(t *testing.T) {
	s := State{ID: tiny, Spec: &messages.ModelSpec{Name: "tiny", Revision: "r1"}, Placement: placement("1")}
	for _, bytes := range []uint64{90, 60, 0} {
		s = s.remember(bytes)
	}
	if got := s.remembered(); got != 90 {
		t.Errorf("remembers %d, the peak was 90", got)
	}
	for _, revision := range []string{"r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"} {
		s.Spec = &messages.ModelSpec{Name: "tiny", Revision: revision}
		s.Placement.DeviceKind = "cpu"
		s = s.remember(50)
		if len(s.Footprints) > keepFootprints {
			t.Errorf("%s: %d footprints are kept", revision, len(s.Footprints))
		}
		s.Placement.DeviceKind = "cuda"
		s = s.remember(40)
		if s.remembered() != 50 || s.Footprints[revision+"@cuda"] != 40 {
			t.Errorf("%s: what was measured on another device is forgotten: %v", revision, s.Footprints)
		}
	}
}

// A placement is taken when it is this model's, on this host, with a lease on each device, and was asked for.
func TestWhichPlacementIsTaken(t *testing.T) {
	const ok, invalid, refused = messages.Code(0), messages.InvalidArgument, messages.FailedPrecondition
	for name, c := range map[string]struct {
		change func(*messages.Placement)
		code   messages.Code
	}{
		"as asked for":                    {func(*messages.Placement) {}, ok},
		"without an id":                   {func(p *messages.Placement) { p.Id = "" }, invalid},
		"of another holder on this host":  {func(p *messages.Placement) { p.Holder = "model/main_pc/big" }, refused},
		"of a client":                     {func(p *messages.Placement) { p.Holder = "client/train" }, refused},
		"on another host":                 {func(p *messages.Placement) { p.Host = "pc2" }, refused},
		"on what isn't a device":          {func(p *messages.Placement) { p.Shares[0].Gpu = "model/main_pc/gpu0" }, invalid},
		"with a second device elsewhere":  {func(p *messages.Placement) { p.Shares[1].Gpu = "gpu/pc2/gpu0" }, refused},
		"with a second device, no lease":  {func(p *messages.Placement) { p.Shares[1].Lease = "" }, invalid},
		"of an earlier attempt":           {func(p *messages.Placement) { p.Claim = "2" }, refused},
		"by its name, while it seeks one": {func(p *messages.Placement) { p.Claim = messages.ByName }, refused},
	} {
		p := split()
		p.Claim = "3"
		c.change(p)
		err := State{ID: tiny, Spec: &messages.ModelSpec{Name: "tiny"}, Phase: Placing, Attempt: 3}.takes(p)
		if c.code == ok && err != nil || c.code != ok && messages.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No model sleeps where the port that knows what can sleep is missing.
func TestNothingSleepsUnasked(t *testing.T) {
	s := State{ID: tiny, Spec: &messages.ModelSpec{Name: "tiny"}, Phase: Ready, Wanted: true}
	if _, err := (Rules{}).sleep(s, &messages.SleepModel{}, entity.Stamp{}); messages.CodeOf(err) != messages.Unsupported {
		t.Errorf("%v", err)
	}
}
