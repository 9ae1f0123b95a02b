package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"modelops/actors/entity"
	"modelops/messages"
)

// playedWorld plays the trainer and the other actors. fails names the calls that fail, called lists them all.
type playedWorld struct {
	next   Next
	found  *messages.Runner
	lease  messages.LeaseReply_State
	fails  map[string]error
	takes  time.Duration // until a checkpoint is told
	called []string
}

func (w *playedWorld) call(format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	w.called = append(w.called, what)
	name, _, _ := strings.Cut(what, " ")
	return w.fails[name]
}

func (w *playedWorld) Start(_ context.Context, l Launch) (*messages.Runner, error) {
	return &messages.Runner{Pid: 7, Nonce: l.Nonce}, w.call("start %s from %d", l.Nonce, l.Resume.GetStep())
}
func (w *playedWorld) Find(_ context.Context, r Run) (*messages.Runner, error) {
	return w.found, w.call("find %s", r.Nonce)
}
func (w *playedWorld) Follow(_ context.Context, _ Run, after uint64) (Next, error) {
	return w.next, w.call("follow %d", after)
}
func (w *playedWorld) Checkpoint(ctx context.Context, _ Run) error {
	select {
	case <-ctx.Done():
	case <-time.After(w.takes):
	}
	return w.call("checkpoint")
}
func (w *playedWorld) Stop(_ context.Context, _ Run, grace time.Duration) error {
	return w.call("stop %s", grace)
}
func (w *playedWorld) Remove(_ context.Context, job messages.ActorID) (uint64, error) {
	return 9, w.call("remove %s", job)
}
func (w *playedWorld) free(_ context.Context, p *messages.Placement) error {
	return w.call("free %s", p.Id)
}
func (w *playedWorld) Tell(context.Context, messages.ActorID, proto.Message) {}
func (w *playedWorld) Ask(_ context.Context, to messages.ActorID, c proto.Message) (messages.Reply, error) {
	what := string(c.ProtoReflect().Descriptor().Name())
	switch c := c.(type) {
	case *messages.ReleaseVram:
		what += fmt.Sprintf(" %s %s %d", to.Name(), c.Lease, c.Epoch)
	case *messages.CheckLease:
		return messages.Reply{Answer: &messages.LeaseReply{State: w.lease}}, w.call("%s %s %s %d", what, to.Name(), c.Lease, c.Epoch)
	case *messages.RequestPlacement:
		need := c.Claim.Needs[0]
		what += fmt.Sprintf(" %s/%s %s %d %d %s priority %d preemptible %t", c.Holder, c.Claim.Id, need.Host, need.Shards, need.Bytes, need.Source, c.Priority, c.Preemptible)
	}
	return messages.Reply{}, w.call("%s", what)
}

func (w *playedWorld) world() World { return World{Trainer: w, Door: w, Free: w.free} }

var (
	busy    = messages.NewError(messages.Unavailable, "tune", "it can't be told")
	missing = messages.NewError(messages.NotFound, "tune", "no such program")
)

// What is done for owed work, in which order, and what is reported. Work that failed on the way without a report is owed still.
func TestOwedWorkIsDone(t *testing.T) {
	recipe := &messages.Recipe{Command: []string{"x"}, Checkpoint: "signal", GraceSeconds: 20, VramBytes: 50, Devices: 2}
	spec := &messages.JobSpec{Kind: messages.JobSpec_custom, Recipe: recipe, Priority: 3}
	fixed := &messages.JobSpec{Kind: messages.JobSpec_custom, Recipe: recipe, VramBytes: 70, Devices: 1, Unpreemptible: true}
	run := Run{Job: tune, Attempt: 3, Nonce: "n", Spec: spec, Runner: &messages.Runner{Pid: 7}}
	split := &messages.Placement{Id: "p1", Holder: tune.String(), Host: "main_pc", Shares: []*messages.Share{
		{Gpu: "gpu/main_pc/gpu0", Bytes: 10, Lease: "p1", Epoch: 7}, {Gpu: "gpu/main_pc/gpu1", Bytes: 10, Lease: "p1.1", Epoch: 8}}}
	far := proto.CloneOf(split)
	far.Arbiter, far.ArbiterEpoch = "pc2", 4
	fails := func(call string, err error) map[string]error { return map[string]error{call: err} }
	launch := Launch{Run: run, Placement: split, Resume: &messages.Checkpoint{Step: 5}}
	const asks = "RequestPlacement job/main_pc/tune/3 main_pc "
	for name, c := range map[string]struct {
		work   entity.Effect
		world  playedWorld
		called string // in order
		report string // empty: it is owed still
	}{
		"it asks for memory":                  {place{spec, tune, 3}, playedWorld{}, asks + "2 100 declared priority 3 preemptible true", ""},
		"what the job says goes first":        {place{fixed, tune, 3}, playedWorld{}, asks + "1 70 declared priority -10 preemptible false", ""},
		"nobody knows how much":               {place{&messages.JobSpec{}, tune, 3}, playedWorld{}, "", "ReportJobPlacementFailed attempt:3,error:{}"},
		"it fits no device":                   {place{spec, tune, 3}, playedWorld{fails: fails("RequestPlacement", messages.NewError(messages.GPUUnavailable, "x", "full"))}, asks + "2 100 declared priority 3 preemptible true", "ReportJobPlacementFailed attempt:3,error:{}"},
		"there is no device yet":              {place{spec, tune, 3}, playedWorld{fails: fails("RequestPlacement", messages.NewError(messages.GPUUnavailable, "x", "none").WithRetry(time.Second))}, asks + "2 100 declared priority 3 preemptible true", ""},
		"the arbiter can't be asked":          {place{spec, tune, 3}, playedWorld{fails: fails("RequestPlacement", busy)}, asks + "2 100 declared priority 3 preemptible true", ""},
		"it starts":                           {start{launch}, playedWorld{}, "start n from 5", "ReportJobStarted attempt:3,runner:{pid:7,nonce:n}"},
		"it can't be told whether it started": {start{launch}, playedWorld{fails: fails("start", busy)}, "start n from 5", ""},
		"there is no such program":            {start{launch}, playedWorld{fails: fails("start", missing)}, "start n from 5", "ReportJobStartFailed attempt:3,error:{}"},
		"there will be one":                   {start{launch}, playedWorld{fails: fails("start", missing.WithRetry(time.Second))}, "start n from 5", "ReportJobStartFailed attempt:3,error:{},retriable:true"},
		"the disk is slow":                    {start{launch}, playedWorld{fails: fails("start", errors.New("io"))}, "start n from 5", "ReportJobStartFailed attempt:3,error:{},retriable:true"},
		"its memory is another's by now":      {start{Launch{Run: run, Placement: far}}, playedWorld{lease: messages.LeaseReply_gone}, "CheckLease gpu0 p1 7", "ReportJobLeaseLost attempt:3,lease:p1,reason:gpu/main_pc/gpu0 doesn't know it,epoch:7"},
		"its memory is still its own":         {start{Launch{Run: run, Placement: far}}, playedWorld{lease: messages.LeaseReply_valid}, "CheckLease gpu0 p1 7,CheckLease gpu1 p1.1 8,start n from 0", "ReportJobStarted attempt:3,runner:{pid:7,nonce:n}"},
		"an owner can't be asked":             {start{Launch{Run: run, Placement: far}}, playedWorld{fails: fails("CheckLease", busy)}, "CheckLease gpu0 p1 7", ""},
		"a checkpoint":                        {follow{run, 5}, playedWorld{next: Next{Checkpoint: &messages.Checkpoint{Step: 6}}}, "follow 5", "ReportCheckpoint attempt:3,checkpoint:{step:6}"},
		"a checkpoint that it knows":          {follow{run, 5}, playedWorld{next: Next{Checkpoint: &messages.Checkpoint{Step: 5}}}, "follow 5", ""},
		"nothing":                             {follow{run, 5}, playedWorld{}, "follow 5", ""},
		"the end":                             {follow{run, 5}, playedWorld{next: Next{Outcome: &messages.JobOutcome{End: messages.JobOutcome_done}}}, "follow 5", "ReportJobEnded attempt:3,outcome:{end:done}"},
		"it can't be told whether it lives":   {follow{run, 5}, playedWorld{fails: fails("follow", busy)}, "follow 5", ""},
		"a checkpoint is asked for":           {ask{run, 5}, playedWorld{}, "checkpoint", ""},
		"a process was begun":                 {find{run}, playedWorld{found: &messages.Runner{Pid: 8}}, "find n", "ReportJobStarted attempt:3,runner:{pid:8}"},
		"none was":                            {find{run}, playedWorld{}, "find n", "ReportJobEnded attempt:3,outcome:{end:stopped,reason:it was stopped before it began}"},
		"it can't be told":                    {find{run}, playedWorld{fails: fails("find", busy)}, "find n", ""},
		"it leaves with a checkpoint":         {leave{run, true, 20 * time.Second}, playedWorld{takes: 5 * time.Second}, "checkpoint,stop 15s", ""},
		"its checkpoint takes too long":       {leave{run, true, 20 * time.Second}, playedWorld{takes: time.Hour}, "checkpoint,stop 1s", ""},
		"it has none":                         {leave{run, true, 20 * time.Second}, playedWorld{fails: fails("checkpoint", busy)}, "checkpoint,stop 20s", ""},
		"it leaves without":                   {leave{run, false, 20 * time.Second}, playedWorld{}, "stop 20s", ""},
		"it ends at once":                     {leave{run, false, 0}, playedWorld{}, "stop 0s", ""},
		"its time is over":                    {overtime{3, time.Hour}, playedWorld{}, "", "StopJob attempt:3,cause:stop_overtime,reason:its time is over, and its runner hasn't ended it"},
		"the pause is over":                   {retry{3, time.Second}, playedWorld{}, "", "RetryStart attempt:3"},
		"its files go":                        {remove{tune}, playedWorld{}, "remove job/main_pc/tune", "ReportJobFilesRemoved bytes:9"},
		"its files stay":                      {remove{tune}, playedWorld{fails: fails("remove", busy)}, "remove job/main_pc/tune", ""},
		"its memory goes back":                {giveBack{split}, playedWorld{}, "free p1,ReleaseVram gpu0 p1 7,ReleaseVram gpu1 p1.1 8", "ReportJobLeaseReturned placement:p1"},
		"it was taken back":                   {giveBack{split}, playedWorld{fails: fails("ReleaseVram", missing)}, "free p1,ReleaseVram gpu0 p1 7,ReleaseVram gpu1 p1.1 8", "ReportJobLeaseReturned placement:p1"},
		"it isn't seen to be free":            {giveBack{split}, playedWorld{fails: fails("free", busy)}, "free p1", ""},
		"the owner can't be asked":            {giveBack{split}, playedWorld{fails: fails("ReleaseVram", busy)}, "free p1,ReleaseVram gpu0 p1 7", ""},
		"its leases hold":                     {verify{split, 3}, playedWorld{lease: messages.LeaseReply_valid}, "CheckLease gpu0 p1 7,CheckLease gpu1 p1.1 8", ""},
		"its lease is another's":              {verify{split, 3}, playedWorld{lease: messages.LeaseReply_fenced}, "CheckLease gpu0 p1 7", "ReportJobLeaseLost attempt:3,lease:p1,reason:gpu/main_pc/gpu0 granted it to another,epoch:7"},
	} {
		synctest.Test(t, func(t *testing.T) {
			report, err := Kind(rules, c.world.world()).Perform(t.Context(), c.work)
			if got := strings.Join(c.world.called, ","); got != c.called {
				t.Errorf("%s: called %s, want %s", name, got, c.called)
			}
			if got := said(report); got != c.report || report != nil && err != nil {
				t.Errorf("%s: reported %q, %v, want %q", name, got, err, c.report)
			}
		})
	}
}

// said is a report in one line, without an error's words.
func said(m proto.Message) string {
	if m == nil {
		return ""
	}
	m = proto.Clone(m)
	if f := m.ProtoReflect().Descriptor().Fields().ByName("error"); f != nil && m.ProtoReflect().Has(f) {
		m.ProtoReflect().Set(f, protoreflect.ValueOfMessage((&messages.ErrorBody{}).ProtoReflect()))
	}
	b, _ := protojson.Marshal(m)
	var line bytes.Buffer
	_ = json.Compact(&line, b)
	return string(m.ProtoReflect().Descriptor().Name()) + " " + strings.ReplaceAll(line.String()[1:line.Len()-1], `"`, "")
}

// Work that is cancelled half-way, because it isn't owed any more or the daemon ends, reports nothing: the failure is of the cancellation.
func TestCancelledWorkReportsNothing(t *testing.T) {
	run := Run{Job: tune, Attempt: 3, Nonce: "n"}
	for work, called := range map[entity.Effect]string{
		start{Launch{Run: run}}:        "start n from 0",
		leave{run, true, time.Second}:  "checkpoint", // the daemon that comes next goes on
		leave{run, false, time.Second}: "stop 1s",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w := &playedWorld{fails: map[string]error{"start": missing, "checkpoint": missing, "stop": missing}, takes: time.Hour}
		report, err := Kind(rules, w.world()).Perform(ctx, work)
		if got := strings.Join(w.called, ","); report != nil || err == nil || got != called {
			t.Errorf("%s: called %s, want %s; %v, %v", work.Key(), got, called, report, err)
		}
	}
}

// What a job needs where neither it nor, of it, its recipe says so.
func TestWhatWasMeasuredCounts(t *testing.T) {
	measured := func(*messages.JobSpec) uint64 { return 30 }
	for name, c := range map[string]struct {
		spec   *messages.JobSpec
		bytes  uint64
		source messages.Need_Source
	}{
		"the job says more":   {&messages.JobSpec{VramBytes: 40}, 40, messages.Need_declared},
		"its recipe says so":  {&messages.JobSpec{Recipe: &messages.Recipe{VramBytes: 50}}, 30, messages.Need_measured},
		"on each of several":  {&messages.JobSpec{Recipe: &messages.Recipe{Devices: 2}}, 60, messages.Need_measured},
		"as many as it wants": {&messages.JobSpec{Devices: 3, Recipe: &messages.Recipe{Devices: 2}}, 90, messages.Need_measured},
	} {
		need := ports{measured: measured}.need(place{c.spec, tune, 1})
		if need.Bytes != c.bytes || need.Source != c.source || need.Host != "main_pc" || need.Shards != c.spec.RunsOn() || len(need.Kinds) == 0 {
			t.Errorf("%s: %v", name, need)
		}
	}
}

// The key of owed work tells which it is; this tells what it is done with, and when.
func TestOwedWorkHasWhatItNeeds(t *testing.T) {
	p, runner := placement("3"), &messages.Runner{Pid: 7}
	spec := &messages.JobSpec{Recipe: &messages.Recipe{Checkpoint: "stdin", WallSeconds: 100, GraceSeconds: 5}}
	s := State{ID: tune, Spec: spec, Attempt: 3, Phase: Running, Placement: p, Nonce: "n", Runner: runner, Checkpoint: &messages.Checkpoint{Step: 5}, RanMS: 60_000}
	run := Run{tune, 3, "n", spec, runner}
	in := func(change func(*State)) State { s := s; change(&s); return s }
	for name, c := range map[string]struct {
		state State
		work  entity.Effect
		after time.Duration
	}{
		"a start with what is left": {in(func(s *State) { s.Phase, s.Runner, s.Smaller = Reserved, nil, true }), start{Launch{Run{tune, 3, "n", spec, nil}, p, s.Checkpoint, true, 40 * time.Second}}, 0},
		"a start with nothing left": {in(func(s *State) { s.Phase, s.Runner, s.RanMS = Reserved, nil, 200_000 }), start{Launch{Run{tune, 3, "n", spec, nil}, p, s.Checkpoint, false, time.Millisecond}}, 0},
		"what comes next":           {s, follow{run, 5}, 0},
		"the end of its time":       {s, overtime{3, 75 * time.Second}, 75 * time.Second},
		"a wish for a checkpoint":   {in(func(s *State) { s.Asked = true }), ask{run, 5}, 0},
		"a gentle end":              {in(func(s *State) { s.Phase, s.Stop.Cause = Checkpointing, messages.StopCause_stop_paused }), leave{run, true, 5 * time.Second}, 0},
		"a cancel":                  {in(func(s *State) { s.Phase, s.Stop.Cause = Checkpointing, messages.StopCause_stop_cancelled }), leave{run, false, 5 * time.Second}, 0},
		"an end without memory": {in(func(s *State) {
			s.Phase, s.Stop.Cause, s.LostLease = Checkpointing, messages.StopCause_stop_paused, "p3"
		}), leave{run, false, 0}, 0},
		"a pause": {in(func(s *State) { s.Phase, s.RetryMS, s.RetryAtMS = Pending, 1500, 1 }), retry{3, 1500 * time.Millisecond}, 1500 * time.Millisecond},
	} {
		owed := Owed(c.state)
		i := slices.Index(owed, c.work)
		if i < 0 {
			t.Errorf("%s: owed is %+v, want %+v", name, owed, c.work)
			continue
		}
		if d, ok := owed[i].(entity.Delayed); ok && d.Delay() != c.after || !ok && c.after > 0 {
			t.Errorf("%s: it begins after %s", name, d.Delay())
		}
	}
}

func TestPauses(t *testing.T) {
	for n, want := range map[int]time.Duration{1: 5 * time.Second, 2: 10 * time.Second, 7: 5 * time.Minute, 40: 5 * time.Minute, 99: 5 * time.Minute, 100: 0} {
		if got := (Rules{}).pause(n, &messages.Recipe{Retries: 99}); got != want {
			t.Errorf("after %d failures: %s, want %s", n, got, want)
		}
	}
	if (Rules{}).pause(2, nil) == 0 || (Rules{}).pause(3, nil) != 0 {
		t.Error("a recipe that says nothing has two further attempts")
	}
}

// A job's folder has its name, so that a name can't lead out of the folder of all jobs.
func TestNamesThatAreNoFolder(t *testing.T) {
	for _, name := range []string{"..", "../x", "a/b", ".hidden", "a b", "a~2", "-x", strings.Repeat("a", 129), "a\x00"} {
		if err := check(messages.ActorID{Kind: messages.KindJob, ID: "main_pc/" + name}, &messages.JobSpec{Kind: messages.JobSpec_custom, Recipe: &messages.Recipe{Command: []string{"x"}}}); messages.CodeOf(err) != messages.InvalidArgument {
			t.Errorf("%q: %v", name, err)
		}
	}
}
