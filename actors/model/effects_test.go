package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// playedWorld plays the engine, the gate and the other actors. fails names the calls that fail, called lists them all.
type playedWorld struct {
	exit   Exit // how the worker ends
	fails  map[string]error
	found  *messages.Worker    // lives and carries the nonce
	view   *messages.ModelView // of the actor that is asked
	called []string
}

func (w *playedWorld) call(format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	w.called = append(w.called, what)
	name, _, _ := strings.Cut(what, " ")
	return w.fails[name]
}

func (w *playedWorld) Need(context.Context, *messages.ModelSpec) (*messages.Need, error) {
	return &messages.Need{Bytes: 100, Source: messages.Need_estimated}, w.call("need")
}
func (w *playedWorld) Start(_ context.Context, _ *messages.ModelSpec, _ *messages.Placement, nonce string) (*messages.Worker, error) {
	return &messages.Worker{Pid: 7, Nonce: nonce}, w.call("start %s", nonce)
}
func (w *playedWorld) AwaitReady(context.Context, *messages.ModelSpec, *messages.Worker) (uint64, uint32, error) {
	return 90, 2, w.call("ready")
}
func (w *playedWorld) Watch(context.Context, *messages.Worker) (Exit, error) {
	if w.exit.Code != 0 {
		return w.exit, w.call("watch")
	}
	return Exit{Code: -1, Reason: "gone", Unwitnessed: true}, w.call("watch")
}
func (w *playedWorld) Stop(_ context.Context, _ *messages.ModelSpec, worker *messages.Worker) error {
	return w.call("stop %d", worker.Pid)
}
func (w *playedWorld) Sleep(context.Context, *messages.ModelSpec, *messages.Worker) (uint64, error) {
	return 5, w.call("sleep")
}
func (w *playedWorld) Wake(context.Context, *messages.ModelSpec, *messages.Worker) error {
	return w.call("wake")
}
func (w *playedWorld) Find(_ context.Context, nonce string) (*messages.Worker, error) {
	return w.found, w.call("find %s", nonce)
}
func (w *playedWorld) Drain(_ context.Context, _ messages.ActorID, _ uint64, force bool) error {
	return w.call("drain %t", force)
}
func (w *playedWorld) Tell(context.Context, messages.ActorID, proto.Message) {}
func (w *playedWorld) Ask(_ context.Context, to messages.ActorID, c proto.Message) (messages.Reply, error) {
	what := string(c.ProtoReflect().Descriptor().Name())
	switch c := c.(type) {
	case *messages.QueryView:
		json, _ := protojson.Marshal(w.view)
		return messages.Reply{Answer: &messages.StateReply{ViewJson: string(json)}}, w.call("view")
	case *messages.ReleaseVram:
		what += fmt.Sprintf(" %s %s %d", to.Name(), c.Lease, c.Epoch)
	case *messages.SettleVram:
		what += fmt.Sprintf(" %s %s %d %d", to.Name(), c.Lease, c.Epoch, c.MeasuredBytes)
	case *messages.ResizeVram:
		what += fmt.Sprintf(" %s %s %d %d", to.Name(), c.Lease, c.Epoch, c.Bytes)
	case *messages.RequestPlacement:
		need := c.Claim.Needs[0]
		what += fmt.Sprintf(" %s/%s %s %d %s", c.Holder, c.Claim.Id, need.Host, need.Bytes, need.Source)
	}
	return messages.Reply{}, w.call("%s", what)
}

var (
	tiny      = messages.ModelActor("main_pc", "tiny")
	second    = messages.ModelActor("main_pc", "tiny~2")
	noProgram = messages.NewError(messages.ModelLoadError, "tiny", "no such program")
	broken    = messages.NewError(messages.ModelLoadError, "tiny", "broken")
	full      = messages.NewError(messages.GPUUnavailable, "tiny", "full")
)

// split is a placement on two devices.
func split() *messages.Placement {
	return &messages.Placement{Id: "p1", Holder: "model/main_pc/tiny", Host: "main_pc", Shares: []*messages.Share{
		{Gpu: "gpu/main_pc/gpu0", Bytes: 10, Lease: "p1", Epoch: 7}, {Gpu: "gpu/main_pc/gpu1", Bytes: 10, Lease: "p1.1", Epoch: 8}}}
}

// What is done for owed work, in which order, and what is reported. Work that failed on the way without a report is owed still.
func TestOwedWorkIsDone(t *testing.T) {
	worker := &messages.Worker{Pid: 7}
	spec := &messages.ModelSpec{Name: "tiny~2", ReplicaOf: "tiny"}
	same := func(phase Phase, attempt uint64) *messages.ModelView {
		return &messages.ModelView{Id: "model/main_pc/tiny~2", Spec: spec, Wanted: true, Phase: phase, Attempt: attempt}
	}
	fails := func(call string, err error) map[string]error { return map[string]error{call: err} }
	const ask = "DeclareModel,EnsureModel"
	for name, c := range map[string]struct {
		work   entity.Effect
		world  playedWorld
		called string // in order
		report string // empty: it is owed still
	}{
		"a worker starts":               {start{Nonce: "n", Attempt: 3}, playedWorld{}, "start n", `WorkerStarted attempt:3 worker:{nonce:"n" pid:7}`},
		"there is no such program":      {start{Nonce: "n", Attempt: 3}, playedWorld{fails: fails("start", noProgram)}, "start n", `LoadFailed attempt:3 error`},
		"there are no descriptors":      {start{Nonce: "n", Attempt: 3}, playedWorld{fails: fails("start", noProgram.WithRetry(time.Second))}, "start n", `LoadFailed attempt:3 error retriable:true`},
		"it can't be started now":       {start{Nonce: "n", Attempt: 3}, playedWorld{fails: fails("start", errors.New("busy"))}, "start n", `LoadFailed attempt:3 error retriable:true`},
		"its declaration is wrong":      {start{Nonce: "n", Attempt: 3}, playedWorld{fails: fails("start", messages.NewError(messages.InvalidArgument, "tiny", "no such file"))}, "start n", `LoadFailed attempt:3 error`},
		"it is ready":                   {await{Worker: worker, Attempt: 3}, playedWorld{}, "ready", `WorkerReady attempt:3 measured_bytes:90 slots:2`},
		"it isn't ready and is stopped": {await{Worker: worker, Attempt: 3}, playedWorld{fails: fails("ready", broken)}, "ready,stop 7", `LoadFailed attempt:3 error retriable:true`},
		"it can't be stopped":           {await{Worker: worker, Attempt: 3}, playedWorld{fails: map[string]error{"ready": broken, "stop": broken}}, "ready,stop 7", ``},
		"too little memory":             {await{Worker: worker, Attempt: 3}, playedWorld{fails: fails("ready", full)}, "ready,stop 7", `LoadFailed attempt:3 error out_of_memory:true retriable:true`},
		"an exit without a status":      {watch{worker, 3}, playedWorld{}, "watch", `WorkerExited attempt:3 exit_code:-1 reason:"gone" unwitnessed:true`},
		"the host's stop ended it":      {watch{worker, 3}, playedWorld{exit: Exit{Code: 143, Reason: "term"}}, "watch", `WorkerExited attempt:3 exit_code:143 reason:"term" unwitnessed:true`},
		"it ended by itself":            {watch{worker, 3}, playedWorld{exit: Exit{Code: 1, Reason: "one"}}, "watch", `WorkerExited attempt:3 exit_code:1 reason:"one"`},
		"an end that can't be known":    {watch{worker, 3}, playedWorld{fails: fails("watch", broken)}, "watch", ``},
		"a known worker is stopped":     {stop{Worker: worker, Nonce: "n", Attempt: 3}, playedWorld{}, "stop 7", `WorkerExited attempt:3 reason:"stopped"`},
		"a worker half-way started":     {stop{Nonce: "n", Attempt: 3}, playedWorld{found: worker}, "find n,stop 7", `WorkerExited attempt:3 reason:"stopped"`},
		"a worker that never was":       {stop{Nonce: "n", Attempt: 3}, playedWorld{}, "find n", `WorkerExited attempt:3 reason:"stopped"`},
		"whether it lives is unknown":   {stop{Nonce: "n", Attempt: 3}, playedWorld{fails: fails("find", broken)}, "find n", ``},
		"it lives on":                   {stop{Worker: worker, Attempt: 3}, playedWorld{fails: fails("stop", broken)}, "stop 7", ``},
		"requests end":                  {drain{tiny, 3, false}, playedWorld{}, "drain false", `Drained attempt:3`},
		"requests are ended":            {drain{tiny, 3, true}, playedWorld{}, "drain true", `Drained attempt:3`},
		"requests still run":            {drain{tiny, 3, false}, playedWorld{fails: fails("drain", broken)}, "drain false", ``},

		"sleep after the last request":    {fallAsleep{Actor: tiny, Attempt: 3}, playedWorld{}, "drain false,sleep", `Asleep attempt:3 bytes:5`},
		"no sleep while requests run":     {fallAsleep{Actor: tiny, Attempt: 3}, playedWorld{fails: fails("drain", broken)}, "drain false", ``},
		"it doesn't fall asleep":          {fallAsleep{Actor: tiny, Attempt: 3}, playedWorld{fails: fails("sleep", broken)}, "drain false,sleep", `SleepFailed attempt:3 error`},
		"memory first, then it wakes":     {wake{Placement: split(), Bytes: 20, Attempt: 3}, playedWorld{}, "ResizeVram gpu0 p1 7 10,ResizeVram gpu1 p1.1 8 10,wake", `Awake attempt:3`},
		"no memory to wake up in":         {wake{Placement: split(), Bytes: 20, Attempt: 3}, playedWorld{fails: fails("ResizeVram", full)}, "ResizeVram gpu0 p1 7 10", `SleepFailed attempt:3 error waking:true`},
		"it doesn't wake up":              {wake{Placement: split(), Bytes: 20, Attempt: 3}, playedWorld{fails: fails("wake", broken)}, "ResizeVram gpu0 p1 7 10,ResizeVram gpu1 p1.1 8 10,wake", `SleepFailed attempt:3 error waking:true`},
		"a sleeping worker's memory":      {shrink{split(), 4, 3}, playedWorld{}, "ResizeVram gpu0 p1 7 2,ResizeVram gpu1 p1.1 8 2", `LeaseSettled attempt:3`},
		"the measured memory":             {settle{split(), 14, 3}, playedWorld{}, "SettleVram gpu0 p1 7 7,SettleVram gpu1 p1.1 8 7", `LeaseSettled attempt:3`},
		"memory goes back when it's free": {giveBack{split()}, playedWorld{}, "free,ReleaseVram gpu0 p1 7,ReleaseVram gpu1 p1.1 8", `LeaseReturned placement:"p1"`},
		"nobody knows whether it's free":  {giveBack{split()}, playedWorld{fails: fails("free", broken)}, "free", ``},

		"a place is asked for":        {place{&messages.ModelSpec{}, tiny, 3, 0, false}, playedWorld{}, "need,RequestPlacement model/main_pc/tiny/3 main_pc 100 estimated", ``},
		"with what was measured":      {place{&messages.ModelSpec{}, tiny, 3, 90, false}, playedWorld{}, "need,RequestPlacement model/main_pc/tiny/3 main_pc 90 measured", ``},
		"there is no place now":       {place{&messages.ModelSpec{}, tiny, 3, 90, false}, playedWorld{fails: fails("RequestPlacement", full.WithRetry(time.Second))}, "need,RequestPlacement model/main_pc/tiny/3 main_pc 90 measured", `PlacementFailed attempt:3 error retriable:true`},
		"there will never be a place": {place{&messages.ModelSpec{}, tiny, 3, 90, false}, playedWorld{fails: fails("RequestPlacement", full)}, "need,RequestPlacement model/main_pc/tiny/3 main_pc 90 measured", `PlacementFailed attempt:3 error`},
		"its file isn't there":        {place{&messages.ModelSpec{}, tiny, 3, 90, false}, playedWorld{fails: fails("need", broken)}, "need", `PlacementFailed attempt:3 error`},

		"a replica is declared":       {ensureReplica{second, spec, 9}, playedWorld{}, ask, `ReplicaSettled order:9 replica:"tiny~2" up:true`},
		"a replica is removed":        {removeReplica{second, 9}, playedWorld{}, "RetireModel", `ReplicaSettled order:9 replica:"tiny~2"`},
		"a replacement is new":        {ensureReplacement{second, spec, 9}, playedWorld{view: &messages.ModelView{}}, "view," + ask, ``},
		"a replacement was unloaded":  {ensureReplacement{second, spec, 9}, playedWorld{view: &messages.ModelView{Spec: spec, Phase: Absent}}, "view," + ask, ``},
		"a replacement loads":         {ensureReplacement{second, spec, 9}, playedWorld{view: same(Loading, 1)}, "view", ``},
		"a replacement is ready":      {ensureReplacement{second, spec, 9}, playedWorld{view: same(Ready, 1)}, "view", `ReplacementReady replica:"tiny~2"`},
		"a replacement has no memory": {ensureReplacement{second, spec, 9}, playedWorld{view: same(Placing, 1)}, "view", `ReplacementFailed error GPU_UNAVAILABLE, 30s replica:"tiny~2"`},
		"a replacement fell asleep":   {ensureReplacement{second, spec, 9}, playedWorld{view: same(Asleep, 1)}, "view," + ask, ``},
		"a replacement failed":        {ensureReplacement{second, spec, 9}, playedWorld{view: same(Waiting, 1)}, "view", `ReplacementFailed error MODEL_LOAD_ERROR, 0s replica:"tiny~2"`},
		"a replica's worker restarts": {restartReplica{second, 4, "it hangs", 9}, playedWorld{view: same(Stopping, 4)}, "ReplaceWorker,view", ``},
		"it is still the old one":     {restartReplica{second, 4, "it hangs", 9}, playedWorld{view: same(Ready, 4)}, "ReplaceWorker,view", ``},
		"it loads":                    {restartReplica{second, 4, "it hangs", 9}, playedWorld{view: same(Loading, 5)}, "ReplaceWorker,view", ``},
		"it has restarted":            {restartReplica{second, 4, "it hangs", 9}, playedWorld{view: same(Ready, 5)}, "ReplaceWorker,view", `ReplicaSettled order:9 replica:"tiny~2" up:true`},
		"it sleeps again already":     {restartReplica{second, 4, "it hangs", 9}, playedWorld{view: same(Asleep, 5)}, "ReplaceWorker,view", `ReplicaSettled order:9 replica:"tiny~2" up:true`},
		"it isn't wanted any more":    {restartReplica{second, 4, "it hangs", 9}, playedWorld{view: &messages.ModelView{Phase: Draining, Attempt: 4}}, "ReplaceWorker,view", `ReplicaSettled order:9 replica:"tiny~2" up:true`},
		"it isn't declared any more":  {restartReplica{second, 4, "it hangs", 9}, playedWorld{view: &messages.ModelView{}, fails: fails("ReplaceWorker", NotFound(second))}, "ReplaceWorker,view", `ReplicaSettled order:9 replica:"tiny~2" up:true`},
	} {
		w := &c.world
		kind := Kind(rules, World{Runtime: w, Gate: w, Door: w, OutOfMemory: func(err error) bool { return errors.Is(err, full) },
			Interrupted: func(_ context.Context, err error) bool { var x Exit; return errors.As(err, &x) && x.Code == 143 },
			Free:        func(context.Context, *messages.Placement) error { return w.call("free") }})
		report, err := kind.Perform(t.Context(), c.work)
		if called := strings.Join(w.called, ","); called != c.called || told(report) != c.report || report != nil && err != nil {
			t.Errorf("%s:\n called %s\n   want %s\n reports %s, %v\n    want %s", name, called, c.called, told(report), err, c.report)
		}
	}
}

// told is a report in one line: its fields in their alphabetical order, without what an error says.
func told(report proto.Message) string {
	if report == nil {
		return ""
	}
	words := []string{strings.TrimPrefix(string(report.ProtoReflect().Descriptor().Name()), "Report")}
	if failed, ok := report.(*messages.ReportReplacementFailed); ok {
		return fmt.Sprintf("ReplacementFailed error %s, %s replica:%q", failed.Error.Code, time.Duration(failed.Error.RetryAfterMs)*time.Millisecond, failed.Replica)
	}
	var fields []string
	for field, v := range report.ProtoReflect().Range {
		switch {
		case field.Name() == "error":
			fields = append(fields, "error")
		case field.IsList():
			fields = append(fields, fmt.Sprintf("%s:%q", field.Name(), v.List().Get(0).String()))
		case field.Name() == "worker":
			worker, _ := v.Message().Interface().(*messages.Worker)
			fields = append(fields, fmt.Sprintf("worker:{nonce:%q pid:%d}", worker.Nonce, worker.Pid))
		case field.Kind().String() == "string":
			fields = append(fields, fmt.Sprintf("%s:%q", field.Name(), v.String()))
		default:
			fields = append(fields, fmt.Sprintf("%s:%v", field.Name(), v))
		}
	}
	slices.Sort(fields)
	return strings.Join(append(words, fields...), " ")
}

// Work that is cancelled half-way, because it isn't owed any more or the daemon ends, reports nothing: the failure is of the cancellation.
func TestCancelledWorkReportsNothing(t *testing.T) {
	for work, called := range map[entity.Effect]string{
		start{Nonce: "n", Attempt: 3}:                       "start n",
		await{Worker: &messages.Worker{Pid: 7}, Attempt: 3}: "ready", // the worker isn't stopped: the daemon that comes next adopts it
		fallAsleep{Actor: tiny, Attempt: 3}:                 "drain false,sleep",
		wake{Placement: split(), Bytes: 20, Attempt: 3}:     "ResizeVram gpu0 p1 7 10,ResizeVram gpu1 p1.1 8 10,wake",
		ensureReplica{second, &messages.ModelSpec{}, 9}:     "",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w := &playedWorld{fails: map[string]error{"start": broken, "ready": broken, "sleep": broken, "wake": broken}}
		report, err := Kind(rules, World{Runtime: w, Gate: w, Door: w}).Perform(ctx, work)
		if got := strings.Join(w.called, ","); report != nil || err == nil || got != called {
			t.Errorf("%s: called %s, want %s; %v, %v", work.Key(), got, called, report, err)
		}
	}
}

// Each device hears what the worker holds there. Figures that aren't one for each device say nothing: then each holds an equal part.
func TestASplitWorkerSettlesEachDevice(t *testing.T) {
	for name, c := range map[string]struct {
		held   []uint64
		called string
	}{
		"measured on each":  {[]uint64{9, 5}, "SettleVram gpu0 p1 7 9,SettleVram gpu1 p1.1 8 5"},
		"measured on one":   {[]uint64{9}, "SettleVram gpu0 p1 7 7,SettleVram gpu1 p1.1 8 7"},
		"measured on three": {[]uint64{9, 5, 1}, "SettleVram gpu0 p1 7 7,SettleVram gpu1 p1.1 8 7"},
	} {
		w := &playedWorld{}
		_, err := Kind(rules, World{Door: w, Held: func(context.Context, *messages.Placement) []uint64 { return c.held }}).Perform(t.Context(), settle{split(), 14, 3})
		if got := strings.Join(w.called, ","); err != nil || got != c.called {
			t.Errorf("%s: %s, want %s; %v", name, got, c.called, err)
		}
	}
}
