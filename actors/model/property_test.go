package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/actors/entity"
	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

type machine = entitytest.Bench[State]

func placement(claim string) *messages.Placement {
	id := "p" + claim
	return &messages.Placement{Id: id, Holder: "model/main_pc/tiny", Claim: claim, Host: "main_pc", DeviceKind: "cuda",
		Shares: []*messages.Share{{Gpu: "gpu/main_pc/gpu0", Bytes: 1 << 30, Lease: id, Epoch: 7}}}
}

// success is what reports that owed work went well.
func success(e entity.Effect) proto.Message {
	switch e := e.(type) {
	case place: // the arbiter brings the placement
		return &messages.PlacementGranted{Placement: placement(claimOf(e.Attempt))}
	case start:
		return &messages.ReportWorkerStarted{Attempt: e.Attempt, Worker: &messages.Worker{Pid: 7, Nonce: e.Nonce}}
	case await:
		return &messages.ReportWorkerReady{Attempt: e.Attempt, MeasuredBytes: 1 << 29, Slots: 2}
	case watch, verify:
		return nil // a healthy worker has no end, and its leases hold
	case settle:
		return &messages.ReportLeaseSettled{Attempt: e.Attempt}
	case drain:
		return &messages.ReportDrained{Attempt: e.Attempt}
	case fallAsleep:
		return &messages.ReportAsleep{Attempt: e.Attempt, Bytes: 1 << 20}
	case shrink:
		return &messages.ReportLeaseSettled{Attempt: e.Attempt}
	case wake:
		return &messages.ReportAwake{Attempt: e.Attempt}
	case ensureReplica:
		return &messages.ReportReplicaSettled{Replica: e.Actor.Name(), Up: true, Order: e.Order}
	case removeReplica:
		return &messages.ReportReplicaSettled{Replica: e.Actor.Name(), Order: e.Order}
	case ensureReplacement:
		return &messages.ReportReplacementReady{Replica: e.Actor.Name()}
	case restartReplica:
		return &messages.ReportReplicaSettled{Replica: e.Actor.Name(), Up: true, Order: e.Order}
	case stop:
		return &messages.ReportWorkerExited{Attempt: e.Attempt, Reason: "stopped"}
	case giveBack:
		return &messages.ReportLeaseReturned{Placement: e.Placement.Id}
	case retry:
		return &messages.RetryLoad{Attempt: e.Attempt}
	}
	panic(fmt.Sprintf("no success for %T", e))
}

// anyCommand draws orders and reports, of this attempt and of older and never begun ones.
func anyCommand(t *rapid.T, s State) proto.Message {
	attempt := s.Attempt
	if rapid.IntRange(0, 3).Draw(t, "stale") == 0 {
		attempt = rapid.Uint64Range(0, s.Attempt+2).Draw(t, "attempt")
	}
	failure := &messages.ErrorBody{Code: "MODEL_LOAD_ERROR", Message: "no"}
	switch rapid.IntRange(0, 38).Draw(t, "command") {
	case 0:
		return &messages.DeclareModel{Spec: &messages.ModelSpec{Name: "tiny", Revision: fmt.Sprint(rapid.IntRange(1, 3).Draw(t, "revision")),
			MinReplicas: rapid.Uint32Range(0, 2).Draw(t, "least"), MaxReplicas: rapid.Uint32Range(0, 4).Draw(t, "most")}}
	case 1, 2:
		return &messages.EnsureModel{Reason: "a request"}
	case 3:
		return &messages.UnloadModel{Force: rapid.Bool().Draw(t, "force")}
	case 4:
		return &messages.PlacementGranted{Placement: placement(claimOf(attempt))}
	case 5:
		return &messages.PlacementGranted{Placement: nonsense(t, placement(claimOf(attempt)))}
	case 6:
		return &messages.ReportPlacementFailed{Attempt: rapid.SampledFrom([]uint64{0, attempt}).Draw(t, "failed"), Error: failure, Retriable: rapid.Bool().Draw(t, "retriable")}
	case 7:
		return &messages.ReportWorkerStarted{Attempt: attempt, Worker: &messages.Worker{Pid: 7}}
	case 8:
		return &messages.ReportWorkerStarted{Attempt: attempt}
	case 9:
		return &messages.ReportWorkerReady{Attempt: attempt, MeasuredBytes: rapid.Uint64Range(0, 1<<40).Draw(t, "measured")}
	case 10:
		return &messages.ReportLoadFailed{Attempt: attempt, Error: failure, Retriable: rapid.Bool().Draw(t, "retriable"), OutOfMemory: rapid.Bool().Draw(t, "oom")}
	case 11:
		return &messages.ReportWorkerExited{Attempt: attempt, Reason: "gone", Unwitnessed: rapid.Bool().Draw(t, "unwitnessed")}
	case 12:
		return &messages.ReportDrained{Attempt: attempt}
	case 13:
		return &messages.ReportLeaseReturned{Placement: "p" + claimOf(attempt)}
	case 14:
		return &messages.RetryLoad{Attempt: attempt}
	case 15:
		return &messages.Preempt{Placement: fmt.Sprintf("for%d", rapid.IntRange(0, 2).Draw(t, "for")), PreemptedFor: "model/main_pc/big"}
	case 16:
		return &messages.PinModel{Owner: rapid.SampledFrom([]string{"", "alice"}).Draw(t, "owner"), TtlSeconds: rapid.Uint32Range(0, 60).Draw(t, "ttl")}
	case 17:
		return &messages.ReportFootprint{Attempt: attempt, Bytes: rapid.Uint64Range(0, 1<<40).Draw(t, "bytes")}
	case 18, 19:
		return &messages.SleepModel{}
	case 20:
		return &messages.ReportAsleep{Attempt: attempt, Bytes: rapid.Uint64Range(0, 1<<40).Draw(t, "dormant")}
	case 21:
		return &messages.ReportAwake{Attempt: attempt}
	case 22, 23:
		return &messages.ReportSleepFailed{Attempt: attempt, Error: failure, Waking: rapid.Bool().Draw(t, "waking")}
	case 24, 25, 26:
		return &messages.ScaleModel{Replicas: rapid.Uint32Range(0, 5).Draw(t, "replicas")}
	case 27, 28:
		return &messages.ReplaceWorker{Replica: anyReplica(t), Attempt: attempt, Reason: "it hangs"}
	case 29:
		return &messages.ReportReplacementReady{Replica: anyReplica(t)}
	case 30, 31:
		code := rapid.SampledFrom([]messages.Code{messages.GPUUnavailable, messages.ModelLoadError}).Draw(t, "code")
		return &messages.ReportReplacementFailed{Replica: anyReplica(t), Error: &messages.ErrorBody{Code: code.String(), RetryAfterMs: rapid.Int64Range(0, 1).Draw(t, "retry")}}
	case 32:
		return &messages.ReportReplicaSettled{Replica: anyReplica(t), Up: rapid.Bool().Draw(t, "up"), Order: rapid.Uint64Range(0, 60).Draw(t, "order")}
	case 33, 34:
		return &messages.PlacementGranted{Placement: placement(messages.ByName)}
	case 35:
		return &messages.Reinstate{Placement: fmt.Sprintf("for%d", rapid.IntRange(0, 2).Draw(t, "for"))}
	case 36:
		return &messages.ReportLeaseLost{Attempt: attempt, Lease: s.Placement.GetId(), Epoch: rapid.Uint64Range(6, 7).Draw(t, "epoch"), Reason: "gone"}
	case 37:
		return &messages.QueryHolding{Lease: "p" + claimOf(attempt)}
	}
	return &messages.RetireModel{}
}

// nonsense is a placement that no model may take.
func nonsense(t *rapid.T, p *messages.Placement) *messages.Placement {
	switch rapid.IntRange(0, 4).Draw(t, "nonsense") {
	case 0:
		p.Holder = "model/pc2/tiny"
	case 1:
		p.Host = "pc2"
	case 2:
		p.Shares[0].Gpu = "no device"
	case 3:
		p.Shares = nil
	case 4:
		p.Shares[0].Lease = ""
	}
	return p
}

func anyReplica(t *rapid.T) string {
	return rapid.SampledFrom([]string{"tiny", "tiny~2", "tiny~3", "tiny~4", "tiny~5"}).Draw(t, "replica")
}

// wild is a model after any commands and reports in any order, checked at every step.
func wild(t *rapid.T) *machine {
	m := fresh()
	_, _ = m.Do(&messages.DeclareModel{Spec: &messages.ModelSpec{Name: "tiny", Revision: "1", MaxReplicas: 3}})
	for range rapid.IntRange(0, 40).Draw(t, "steps") {
		m.Wait(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
		c := anyCommand(t, m.State)
		if owed := m.Kind.Owed(m.State); len(owed) > 0 && rapid.Bool().Draw(t, "goes on") { // without it a walk would seldom get far
			if s := success(rapid.SampledFrom(owed).Draw(t, "work")); s != nil {
				c = s
			}
		}
		was := m.State
		v, err := m.Do(c)
		sound(t, m, fmt.Sprintf("%T in %s gave %v, %v", c, was.Phase, v.Events, err))
		if _, pins := c.(*messages.PinModel); pins || err != nil {
			continue
		}
		if _, room := c.(*messages.Preempt); room {
			continue // says how far it is
		}
		if again, _ := m.Do(c); len(again.Events) > 0 {
			t.Fatalf("%T told twice in %s happened twice: %v and %v", c, was.Phase, v.Events, again.Events)
		}
	}
	return m
}

// sound is what holds in every state.
func sound(t *rapid.T, m *machine, after string) {
	s, owed := m.State, m.Owed()
	lease := s.Placement.GetId()                                        // each placement here has one lease, of its own name
	allowed := max(s.Spec.GetMinReplicas(), s.Spec.GetMaxReplicas(), 1) // one of them is the model's own worker; a replacement comes on top
	wantedReplicas := 0
	for _, r := range s.Replicas {
		if r.Wanted {
			wantedReplicas++
		}
	}
	has := func(prefix string) bool {
		return slices.ContainsFunc(owed, func(k string) bool { return strings.HasPrefix(k, prefix) })
	}
	for what, broken := range map[string]bool{
		"ready without placement, lease and worker":        s.Phase == Ready && (lease == "" || s.Worker == nil),
		"loading without a placement":                      s.Phase == Loading && (s.Placement == nil || s.Nonce == ""),
		"a placement although nothing is resident":         !s.resident() && (s.Placement != nil || s.Worker != nil || s.Nonce != ""),
		"placed while an old lease is out":                 has("place/") && len(s.Returning) > 0,
		"an old lease that isn't returned":                 len(s.Returning) > 0 && !has("return/"),
		"loaded although it isn't wanted":                  !s.Wanted && (s.Phase == Placing || s.Phase == Waiting || s.Phase == Failed),
		"wanted and nothing owed":                          s.Wanted && s.Phase != Failed && len(owed) == 0,
		"wanted and absent":                                s.Wanted && s.Phase == Absent,
		"a resident attempt whose lease is being returned": slices.ContainsFunc(s.Returning, func(p *messages.Placement) bool { return p.Id == lease }),
		"asleep without placement, lease and worker":       s.sleeping() && (lease == "" || s.Worker == nil),
		"a sleeping worker without its watch":              s.sleeping() && !has("watch/"),
		"asleep and holds nothing or too much":             s.Phase == Asleep && (s.SleepBytes == 0 || s.SleepBytes > max(s.full(), 1)),
		"two amounts told to the ledger":                   has("shrink/") && (has("wake/") || has("settle/")),
		"a worker whose leases aren't verified":            (s.settledIn() || s.Phase == Loading) && !has("verify/"),
		"sleeping although it isn't wanted":                s.sleeping() && !s.Wanted,
		"an unwanted replica that isn't removed":           !s.Wanted && slices.ContainsFunc(slices.Collect(maps.Keys(s.Replicas)), func(n string) bool { return !has("remove_replica/" + n + "/") }),
		"more replicas than the declaration allows":        wantedReplicas > int(allowed)-1 && (s.Replacement == nil || wantedReplicas > int(allowed)),
		"a desired replica that isn't wanted":              slices.ContainsFunc(s.desiredReplicas(), func(n string) bool { return !s.Replicas[n].Wanted }),
		"a replacement that isn't ensured":                 s.Replacement != nil && !s.Replacement.Restarting && !has("ensure_replacement/"+s.Replacement.By),
		"a replacement of what isn't wanted":               s.Replacement != nil && !s.Wanted,
		"a placement of another host":                      s.Placement != nil && (s.Placement.Holder != "model/main_pc/tiny" || s.Placement.Host != "main_pc"),
		"ready on a lease that is lost":                    s.LostLease != "" && (s.settledIn() || s.Phase == Loading || s.Phase == Draining && !s.Force),
		"failures below zero":                              s.Failures < 0,
		"waits for memory without a time":                  s.Phase == Placing && s.WantedMS == 0,
		"waits for memory although it failed":              (s.Phase == Failed || s.Phase == Absent) && s.WantedMS != 0,
	} {
		if broken {
			t.Fatalf("%s, after %s: %+v owes %v", what, after, s, owed)
		}
	}
}

func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := wild(t)
		if err := m.Replayed(rapid.IntRange(0, len(m.Recorded)).Draw(t, "snapshot")); err != nil {
			t.Fatal(err)
		}
	})
}

// Once the world works, owed work alone brings every state to rest, without another command: ready when wanted, absent when not (or failed,
// when its tries are used up), with no lease left.
func TestLiveOnceCalm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := wild(t)
		from := m.State.Phase
		for range 60 {
			work := slices.DeleteFunc(m.Kind.Owed(m.State), func(e entity.Effect) bool { return success(e) == nil })
			if len(work) == 0 {
				break
			}
			if _, err := m.Do(success(rapid.SampledFrom(work).Draw(t, "work"))); err != nil {
				t.Fatalf("%T was refused: %v", work[0], err)
			}
			sound(t, m, "calm")
		}
		s, rest := m.State, []Phase{Absent}
		if s.Wanted {
			rest = []Phase{Ready, Asleep, Failed}
		}
		if !slices.Contains(rest, s.Phase) || len(s.Returning) > 0 || s.Unsettled || s.pendingReplicas() ||
			len(s.Replicas) != len(s.desiredReplicas()) || s.Replacement != nil && !(s.Phase == Failed && s.Replacement.Replica == "tiny") {
			t.Fatalf("from %s to %s (wanted %t), leases out %v, owed %v", from, s.Phase, s.Wanted, s.Returning, m.Owed())
		}
	})
}

func TestPauses(t *testing.T) {
	r := Retry{Limit: 100}
	for n, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 40: time.Minute, 99: time.Minute, 100: 0} {
		if got := r.pause(n); got != want {
			t.Errorf("after %d failures: %s, want %s", n, got, want)
		}
	}
}
