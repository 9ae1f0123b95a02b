package model

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/actors/entity"
	"modelops/messages"
)

// A report of another attempt than the present one is late, or was never asked for: it changes nothing, in any phase.
func TestReportsOfOtherAttemptsChangeNothing(t *testing.T) {
	failure := &messages.ErrorBody{Code: messages.ModelLoadError.String(), Message: "no"}
	reports := func(of uint64) []proto.Message {
		return []proto.Message{
			&messages.ReportPlacementFailed{Attempt: of, Error: failure},
			&messages.ReportWorkerStarted{Attempt: of, Worker: &messages.Worker{Pid: 8}},
			&messages.ReportWorkerReady{Attempt: of, MeasuredBytes: 1 << 29},
			&messages.ReportLoadFailed{Attempt: of, Error: failure, OutOfMemory: true},
			&messages.ReportWorkerExited{Attempt: of, Reason: "gone"},
			&messages.ReportDrained{Attempt: of},
			&messages.ReportFootprint{Attempt: of, Bytes: 1 << 41},
			&messages.ReportLeaseSettled{Attempt: of},
			&messages.ReportLeaseLost{Attempt: of, Lease: "p3", Epoch: 7},
			&messages.ReportAsleep{Attempt: of, Bytes: 1 << 20},
			&messages.ReportAwake{Attempt: of},
			&messages.ReportSleepFailed{Attempt: of, Error: failure},
			&messages.ReportSleepFailed{Attempt: of, Error: failure, Waking: true},
			&messages.RetryLoad{Attempt: of},
			&messages.ReplaceWorker{Replica: "tiny", Attempt: of, Reason: "it hangs"},
		}
	}
	for _, phase := range []Phase{Absent, Placing, Loading, Ready, FallingAsleep, Asleep, Waking, Draining, Stopping, Waiting, Failed} {
		for _, worker := range []*messages.Worker{nil, {Pid: 7}} {
			s := State{ID: tiny, Spec: &messages.ModelSpec{Name: "tiny"}, Wanted: true, Phase: phase, Attempt: 3, Placement: placement("3"), Worker: worker,
				Unsettled: true, SleepTried: worker != nil}
			for _, of := range []uint64{1, 2, 4} {
				for _, report := range reports(of) {
					if v, err := rules.Decide(s, report, entity.Stamp{}); err != nil || len(v.Events) > 0 {
						t.Errorf("%T of attempt %d in attempt 3, %s: %v, %v", report, of, phase, v.Events, err)
					}
				}
			}
		}
	}
}

// What the journal tells after any commands in any order: one worker at a time, each with a name of its own, and no lease is forgotten.
func TestOneWorkerAtATimeAndNoLeaseForgotten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := wild(t)
		out, nonces := map[string]int{}, map[string]bool{} // placements not given back, of which some have the same name here; nonces used
		var live, last uint64                              // the attempt whose worker may live; the attempt begun last
		using, started := "", false
		for _, r := range m.Recorded {
			for _, e := range r.Events {
				switch e := e.(type) {
				case *messages.ModelLoadStarted:
					if live != 0 || e.Attempt <= last || nonces[e.Nonce] || e.Nonce == "" {
						t.Fatalf("attempt %d begins with nonce %q after %d, of which the worker of %d may live", e.Attempt, e.Nonce, last, live)
					}
					live, last, using, started = e.Attempt, e.Attempt, e.Placement.Id, false
					out[using]++
					nonces[e.Nonce] = true
				case *messages.WorkerStarted:
					if e.Attempt != live || started {
						t.Fatalf("a worker of attempt %d starts beside that of %d", e.Attempt, live)
					}
					started = true
				case *messages.ModelReady:
					if e.Attempt != live || !started {
						t.Fatalf("attempt %d is ready, and no worker of it was started", e.Attempt)
					}
				case *messages.WorkerExited, *messages.LoadFailed:
					live, using = 0, ""
				case *messages.LeaseReturned:
					out[e.Placement]--
					if out[e.Placement] < 0 || using == e.Placement {
						t.Fatalf("%s is given back, and wasn't out or is still used", e.Placement)
					}
				}
			}
		}
		for _, p := range append(slices.Clone(m.State.Returning), m.State.Placement) {
			out[p.GetId()]--
		}
		delete(out, "") // no placement
		for id, n := range out {
			if n != 0 {
				t.Fatalf("%d of %s are out: %+v", n, id, m.State)
			}
		}
	})
}
