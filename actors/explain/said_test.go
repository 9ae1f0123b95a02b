package explain

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/messages"
)

// said is what an explanation of a subject has to say, and what would be wrong.
type said struct {
	tale    *tale
	subject string // a model's name, or else an id
	want    string
	never   string
}

func check(t *testing.T, cases map[string]said) {
	t.Helper()
	for name, c := range cases {
		q := Question{Subject: c.subject, ID: c.subject}
		if len(c.subject) == 1 {
			q = Question{Subject: c.subject, Model: messages.ModelActor("main_pc", c.subject)}
		}
		got := plain(why(q, c.tale.records, c.tale.present()))
		if !strings.Contains(got, c.want) || c.never != "" && strings.Contains(got, c.never) {
			t.Errorf("%s: want %q, never %q:\n%s", name, c.want, c.never, got)
		}
	}
}

// then tells more of a model or another actor.
func (s *tale) then(actor string, events ...proto.Message) *tale {
	for _, e := range events {
		s.tell(actor, e)
	}
	return s
}

// wanting has d wanted, of which the journal holds no decision.
func wanting(spec *messages.ModelSpec) *tale {
	return newTale().devices().declare("d", spec).tell(m("d"), &messages.ModelWanted{Reason: "a request waits for it", Attempt: 1})
}

func full(holder string) *messages.PlacementPostponed {
	return &messages.PlacementPostponed{Holder: holder, Claim: "1", Reason: "all devices are full", Candidates: []*messages.Candidate{weighed("sim0", 12000, 20000, refused("full by others"))}}
}

func noMemory() *messages.LoadFailed {
	return &messages.LoadFailed{Attempt: 1, RetryMs: 5000, Error: &messages.ErrorBody{Code: "GPU_UNAVAILABLE", Message: "Insufficient GPU memory: required 30000MB, available 23488MB"}}
}

func TestWhereAModelStands(t *testing.T) {
	split := decided("d", 1, "sim0", messages.Need_declared, weighed("sim0", 0, 12000, chosen), weighed("sim1", 0, 12000, chosen))
	split.Placement.Shares = append(split.Placement.Shares, &messages.Share{Gpu: dev("sim1"), Bytes: 12000 * mb, Lease: "p-d-1.1"})
	placed := decided("d", 1, "sim0", messages.Need_declared, weighed("sim0", 0, 12000, chosen))
	until := twoLoaded()
	until.tell(m("a"), &messages.ModelPinned{Owner: "ops", UntilMs: until.now.Add(time.Second).UnixMilli()})
	check(t, map[string]said{
		"a pin that is over":                   {until, "a", "while it is idle would evict it", "unpin it"},
		"a pin by its declaration":             {newTale().devices().declare("d", &messages.ModelSpec{Pinned: true}).load(placed, 1), "d", "pinned by its declaration, it is never evicted", ""},
		"it waits by its name":                 {newTale().devices().declare("d", &messages.ModelSpec{}).tell("arbiter", full("model/*/d")), "d", "d waits for a place", ""},
		"another with a longer name waits":     {newTale().devices().declare("d", &messages.ModelSpec{}).tell("arbiter", full("model/*/x/d")), "d", "d is absent", ""},
		"it was unloaded while it waited":      {wanting(&messages.ModelSpec{}).tell("arbiter", full(m("d"))).tell(m("d"), &messages.ModelUnwanted{Reason: "by hand"}), "d", "d is absent", "waits for a place"},
		"it failed after it waited":            {wanting(&messages.ModelSpec{}).tell("arbiter", full(m("d"))).tell(m("d"), noMemory()), "d", "d failed to load", "waits for a place"},
		"it loads after no device was enough":  {wanting(&messages.ModelSpec{}).tell(m("d"), noMemory()).then("arbiter", placed).then(m("d"), &messages.ModelLoadStarted{Attempt: 2, Placement: placed.Placement}), "d", "weighed gpu/main_pc/sim0 (chosen true", "rejected: needs"},
		"its placement was refused":            {wanting(&messages.ModelSpec{}).then("arbiter", placed, &messages.PlacementRefused{Id: "p-d-1"}), "d", "nothing is decided yet", ""},
		"it waits after it was evicted":        {evicted().tell(m("a"), &messages.ModelWanted{Attempt: 2}).tell("arbiter", full(m("a"))), "a", "all devices are full", "chosen true"},
		"it was asked for long ago":            {pinnedOften(twoLoaded()), "a", "It is wanted because: asked to load it", ""},
		"it sleeps":                            {twoLoaded().then(m("a"), &messages.SleepStarted{Reason: "nobody asked"}, &messages.ModelAsleep{Bytes: 500 * mb}), "a", "a is asleep on sim0", "asked to load it (decision 5): ."},
		"it falls asleep":                      {twoLoaded().then(m("a"), &messages.SleepStarted{Reason: "nobody asked"}), "a", ": nobody asked. Decision", ""},
		"it wakes up":                          {twoLoaded().then(m("a"), &messages.SleepStarted{Reason: "nobody asked"}, &messages.ModelAsleep{}, &messages.WakeStarted{Reason: "somebody asks"}), "a", ": somebody asks.", ""},
		"words of a worker of an earlier load": {failing(1).tell(m("f"), &messages.ModelWanted{Attempt: 2}).tell(m("f"), &messages.LoadFailed{Attempt: 2, RetryMs: 1, Error: &messages.ErrorBody{Code: "X"}}), "f", "f failed to load", "last words"},
		"it is split":                          {wanting(&messages.ModelSpec{}).load(split, 1), "d", "each of which had room for a share of 12000 MiB", ""},
		"halves fit":                           {halves(30000), "d", "has not been asked for", "refused at once"},
		"halves don't fit":                     {halves(50000), "d", "refused at once", ""},
		"it was measured":                      {wanting(&messages.ModelSpec{VramBytes: mb}).load(placed, 1).tell(m("d"), &messages.FootprintMeasured{Bytes: 30000 * mb}).tell(m("d"), &messages.ModelUnwanted{}, &messages.ModelDraining{}).tell(m("d"), &messages.WorkerExited{Reason: "stopped"}), "d", "it needs 30000 MiB", ""},
		"it is to answer a name":               {swapped(1), "b", "It is to answer chat instead of a (decision", ""},
	})
}

// halves has d declared, which is split over two devices.
func halves(need uint64) *tale {
	s := newTale()
	for _, name := range []string{"sim0", "sim1"} {
		s.tell(dev(name), &messages.DeviceRegistered{Kind: "cuda", CapacityBytes: 24000 * mb, MarginBytes: 512 * mb})
	}
	return s.tell(m("d"), &messages.ModelDeclared{Spec: &messages.ModelSpec{Name: "d", Runtime: "vllm", VramBytes: need * mb, Shards: 2}})
}

// pinnedOften fills the window of a's facts.
func pinnedOften(s *tale) *tale {
	for range 2 * keep {
		s.tell(m("a"), &messages.ModelPinned{Owner: "ops"})
	}
	return s
}

// crowd has a, b and e on sim0, where c takes a's place: e loads, or b is pinned.
func crowd(pinned bool) *tale {
	s := newTale().devices()
	for _, name := range []string{"a", "b", "e"} {
		s.declare(name, &messages.ModelSpec{VramBytes: 7000 * mb})
		s.load(decided(name, 1, "sim0", messages.Need_declared, weighed("sim0", 0, 7000, chosen)), 1)
	}
	if pinned {
		s.tell(m("b"), &messages.ModelPinned{Owner: "ops"})
	}
	s.tell(m("e"), &messages.ModelDraining{Attempt: 1, Reason: "by hand"})
	s.declare("c", &messages.ModelSpec{})
	s.tell("arbiter", decided("c", 1, "sim0", messages.Need_declared, weighed("sim0", 21000, 7000, chosen, leaves(1, out("a", 7000, 1, 1)))))
	return s.evict("a", "p-c-1", m("c"), "sim0", "p-a-1")
}

func TestWhoCouldHaveLeftInstead(t *testing.T) {
	check(t, map[string]said{
		"another that was ready":   {crowd(false), "a", "b idle for longer", "e idle for longer"},
		"none that was pinned":     {crowd(true), "a", "there stayed b (7000 MiB, pinned by ops)", "b idle for longer"},
		"who has left already":     {crowd(false).tell(m("c"), &messages.ModelWanted{Attempt: 1}), "c", "a must leave it first", "a to finish its requests"},
		"who sleeps on the device": {twoLoaded().then(m("a"), &messages.SleepStarted{}, &messages.ModelAsleep{Bytes: 500 * mb}).then("arbiter", full(m("c"))), "c", "a to leave: it sleeps", "a idle: it holds"},
	})
}

func TestWhatHappenedToAModel(t *testing.T) {
	on := func(actor string, e proto.Message) *tale { return twoLoaded().tell(actor, e) }
	open := decided("a", 2, "sim0", messages.Need_declared, weighed("sim0", 0, 12000, chosen))
	open.Advice = "some could move"
	byName := decided("c", 7, "sim0", messages.Need_declared, weighed("sim0", 0, 12000, chosen))
	byName.Placement.Claim = messages.ByName
	check(t, map[string]said{
		"a device refused":        {twoLoaded().then("arbiter", open, &messages.PlacementRefused{Id: "p-a-2"}), "a", "the device's owner refused", ""},
		"a placement ended":       {twoLoaded().then("arbiter", open, &messages.PlacementAbandoned{Id: "p-a-2", Reason: "it was pinned"}), "a", "the placement was abandoned: it was pinned", ""},
		"advice":                  {twoLoaded().then("arbiter", open), "a", "some could move", ""},
		"its lease ran out":       {on(dev("sim0"), &messages.LeaseExpired{Lease: "p-a-1"}), "a", "the lease ran out", ""},
		"its lease was reclaimed": {on(dev("sim0"), &messages.LeaseReclaimed{Lease: "p-a-1"}), "a", "gpu.lease_reclaimed", ""},
		"room is kept for it":     {on("arbiter", &messages.PlacementHinted{Holder: m("a"), Gpu: dev("sim0"), Bytes: mb, UntilMs: 1}), "a", "are kept for it on sim0", ""},
		"it has moved out":        {on("arbiter", &messages.MoveLeft{Holder: m("a")}), "a", "a has left its device", ""},
		"it is to move":           {on("arbiter", &messages.DefragDecided{Id: "d", Holder: m("b"), Moves: []*messages.Move{{Holder: m("a")}}}), "a", "models move to make room", ""},
		"another was reclaimed":   {on(dev("sim1"), &messages.LeaseReclaimed{Lease: "p-b-1"}), "a", "a is ready", "gpu.lease_reclaimed"},
		"a load without attempt":  {twoLoaded().load(byName, 7), "p-c-7", "attempt 7 of c", ""},
	})
	twice := plain(modelOf("a", on("arbiter", &messages.DefragDecided{Id: "d", Holder: m("a"), Moves: []*messages.Move{{Holder: m("a")}, {Holder: m("a")}}})))
	if n := strings.Count(twice, "models move to make room"); n != 1 {
		t.Errorf("told %d times:\n%s", n, twice)
	}
}

func TestHowPlacementsAndLeasesEnd(t *testing.T) {
	often := newTale().devices()
	for range mostOfID {
		often.then(dev("sim0"), &messages.VramReserved{Lease: "lease", Holder: "client/x", Bytes: mb}, &messages.LeaseExpired{Lease: "lease"})
	}
	often.tell(dev("sim0"), &messages.VramReserved{Lease: "lease", Holder: "client/x", Bytes: 2 * mb})
	asked := newTale().devices().declare("d", &messages.ModelSpec{})
	asked.caused("d3", "arbiter", full("model/*/d"))
	big := decided("d", 1, "sim1", messages.Need_declared, weighed("sim0", 0, 30000, refused("never fits")), weighed("sim1", 0, 12000, chosen))
	open := decided("a", 2, "sim0", messages.Need_declared, weighed("sim0", 0, 12000, chosen))
	client := func(e proto.Message) *tale { return leased(nil).tell(dev("sim0"), e) }
	check(t, map[string]said{
		"its load failed":         {&tale{failing(1).records[:8], start}, "p-f-1", "Its load failed: MODEL_LOAD_ERROR", ""},
		"its worker ended":        {twoLoaded().tell(m("a"), &messages.WorkerExited{Attempt: 1, Reason: "exit status 9"}), "p-a-1", "Its worker ended: exit status 9.", ""},
		"it was abandoned":        {twoLoaded().then("arbiter", open, &messages.PlacementAbandoned{Id: "p-a-2", Reason: "it was pinned"}), "p-a-2", "It was abandoned: it was pinned.", ""},
		"it never fitted there":   {newTale().devices().tell("arbiter", big), "p-d-1", "a larger device than sim0", "more free on sim0"},
		"a lease was measured":    {client(&messages.VramSettled{Lease: "sim0_9", MeasuredBytes: 77 * mb}), "sim0_9", "77 MiB measured; the lease holds that much", ""},
		"a lease was reclaimed":   {client(&messages.LeaseReclaimed{Lease: "sim0_9"}), "sim0_9", "client/train held 4096 MiB of sim0", ""},
		"a lease of a used name":  {often, "lease", "client/x holds 2 MiB of sim0 since " + moment(often.now), ""},
		"a decision is a request": {asked, "d3", "refused: d3", ""},
	})
}

func TestWhyADeviceWasNotTaken(t *testing.T) {
	device := func(name string, more ...func(*messages.Candidate)) *messages.Candidate {
		return weighed(name, 1000, 12000, more...)
	}
	kept := func(c *messages.Candidate) { c.KeptFor = m("b") }
	preferred := func(c *messages.Candidate) { c.Preferred = true }
	strangers := func(c *messages.Candidate) { c.ForeignBytes = 2000 * mb }
	costs := func(cost float64) func(*messages.Candidate) { return func(c *messages.Candidate) { c.Cost = cost } }
	for _, c := range []struct {
		other, taken []func(*messages.Candidate)
		want         string
	}{
		{[]func(*messages.Candidate){kept}, nil, "room is kept there for b"},
		{nil, []func(*messages.Candidate){preferred}, "sim0 is where a hint or a plan wants it"},
		{[]func(*messages.Candidate){costs(2)}, []func(*messages.Candidate){costs(1)}, "sim0 costs 1"},
		{[]func(*messages.Candidate){strangers}, nil, "reserved 1000 MiB - used by others 2000 MiB = 20488 MiB free"},
		{nil, nil, "as good as sim0"},
	} {
		s := newTale().devices().declare("d", &messages.ModelSpec{})
		s.load(decided("d", 1, "sim0", messages.Need_declared, device("sim0", append(c.taken, chosen)...), device("sim1", c.other...)), 1)
		if got := plain(modelOf("d", s)); !strings.Contains(got, c.want) {
			t.Errorf("no %q in\n%s", c.want, got)
		}
	}
	if c := chosenOf([]*messages.Candidate{device("a", chosen, costs(1)), device("b", chosen, costs(3)), device("c", costs(9))}); c.Cost != 3 {
		t.Errorf("a split model is compared by its dearest device, not by %v", c)
	}
}

// merged is a journal of two stories of which each keeps its own order.
func merged(t *rapid.T, a, b []messages.Recorded) *tale {
	s := newTale()
	for len(a)+len(b) > 0 {
		from := &a
		if len(a) == 0 || len(b) > 0 && rapid.Bool().Draw(t, "b's turn") {
			from = &b
		}
		r := (*from)[0]
		*from = (*from)[1:]
		s.tell(r.Actor.String(), r.Events...)
		s.records[len(s.records)-1].At = r.At
	}
	return s
}

// Two hosts have a model and devices of the same names. What happens on one is no part of the other's explanation, in whatever order the journal
// has them: but for the sequences, each is explained as if it were alone.
func TestHostsOfOneNameAreToldApart(t *testing.T) {
	other := func(s *tale) []messages.Recorded {
		out := slices.Clone(s.records)
		for i := range out {
			out[i].Actor.ID = strings.Replace(out[i].Actor.ID, "main_pc/", "pc2/", 1)
			out[i].Events = nil
			for _, e := range s.records[i].Events {
				out[i].Events = append(out[i].Events, there(e))
			}
		}
		return out
	}
	here := evicted()
	p := Present{Now: here.now.Add(time.Hour), Tries: 3, LastWords: func(file string) string { return map[string]string{"f.log": "CUDA error: out of memory"}[file] }}
	rapid.Check(t, func(t *rapid.T) {
		elsewhere := rapid.SampledFrom([]*tale{twoLoaded(), relieved(), cycled(2), waiting()}).Draw(t, "the other host")
		all := merged(t, slices.Clone(here.records), other(elsewhere))
		for _, name := range []string{"a", "b", "c"} {
			id := messages.ModelActor("main_pc", name)
			alone, together := numberless(whyModel(id, here.records, p)), numberless(whyModel(id, all.records, p))
			if alone != together {
				t.Fatalf("%s\nbeside another host\n%s", alone, together)
			}
		}
	})
}

// there is an event of the other host: its holders, devices, placements and leases are others.
func there(e proto.Message) proto.Message {
	said, err := protojson.Marshal(e)
	if err != nil {
		panic(err)
	}
	out := e.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal([]byte(strings.NewReplacer("main_pc", "pc2", `"p-`, `"q-`, "sim1_", "other_").Replace(string(said))), out); err != nil {
		panic(err)
	}
	return out
}

// numberless is an explanation without the sequences of decisions.
func numberless(e *messages.Explanation, err error) string {
	words := strings.Fields(plain(e, err))
	for i, w := range words {
		if i > 0 && strings.Trim(strings.ToLower(words[i-1]), "(") == "decision" || strings.HasPrefix(w, "#") || i > 0 && words[i-1] == "epoch" {
			words[i] = "N"
		}
	}
	return strings.Join(words, " ")
}

// A model that had to leave and moved, and the one that needs its memory, both say where to, with the sums.
func TestMovesAreSaid(t *testing.T) {
	moved := newTale().devices().declare("a", &messages.ModelSpec{}).declare("d", &messages.ModelSpec{})
	moved.tell(m("a"), &messages.ModelWanted{Reason: "a request waits for it", Attempt: 1})
	moved.load(decided("a", 1, "sim0", messages.Need_declared, weighed("sim0", 0, 12000, chosen)), 1)
	moved.tell(m("d"), &messages.ModelWanted{Reason: "a request waits for it", Attempt: 1})
	d := decided("d", 1, "sim0", messages.Need_declared, weighed("sim0", 12000, 20000, chosen, leaves(0.5, out("a", 12000, 3000, 1300))))
	d.Moves = []*messages.Move{{Holder: m("a"), From: dev("sim0"), To: "gpu/pc2/gpu1", Bytes: 12000 * mb, FreeBytes: 16000 * mb}}
	moved.tell("arbiter", d).evict("a", "p-d-1", m("d"), "sim0", "p-a-1")
	where := "moves to gpu1 of pc2, which had 16000 MiB free for the 12000 MiB that it held"
	check(t, map[string]said{
		"why it left":          {moved, "a", "evicted it from sim0 for d, which needs 20000 MiB (as declared) where 11488 MiB were free", ""},
		"where it went":        {moved, "a", "; it " + where, ""},
		"in its own timeline":  {moved, "a", "named to leave sim0 for d, which needs 20000 MiB (as declared): a (12000 MiB, idle for 3s, 1.3s to load again; first to go by cost_aware); it " + where, ""},
		"in the timeline of d": {moved, "d", "; a " + where, ""},
	})
}
