package model

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/messages"
)

// A report of another attempt than the present one is late, or was never asked for: it changes nothing, in any state.
func TestReportsOfOtherAttemptsChangeNothing(t *testing.T) {
	failure := &messages.ErrorBody{Code: messages.ModelLoadError.String(), Message: "no"}
	rapid.Check(t, func(t *rapid.T) {
		m := wild(t)
		s := m.State
		other := rapid.Uint64Range(0, s.Attempt+2).Filter(func(n uint64) bool { return n != s.Attempt }).Draw(t, "other")
		for _, report := range []proto.Message{
			&messages.ReportPlacementFailed{Attempt: max(other, s.Attempt+1), Error: failure}, // 0 is of a request by its name
			&messages.ReportWorkerStarted{Attempt: other, Worker: &messages.Worker{Pid: 8}},
			&messages.ReportWorkerReady{Attempt: other, MeasuredBytes: 1 << 29},
			&messages.ReportLoadFailed{Attempt: other, Error: failure, OutOfMemory: true},
			&messages.ReportWorkerExited{Attempt: other, Reason: "gone"},
			&messages.ReportDrained{Attempt: other},
			&messages.ReportFootprint{Attempt: other, Bytes: 1 << 41},
			&messages.ReportLeaseSettled{Attempt: other},
			&messages.ReportLeaseLost{Attempt: other, Lease: s.Placement.GetId(), Epoch: 7},
			&messages.ReportAsleep{Attempt: other, Bytes: 1 << 20},
			&messages.ReportAwake{Attempt: other},
			&messages.ReportSleepFailed{Attempt: other, Error: failure, Waking: s.SleepTried},
			&messages.RetryLoad{Attempt: other},
			&messages.ReplaceWorker{Replica: "tiny", Attempt: other, Reason: "it hangs"},
		} {
			if v, err := m.Do(report); len(v.Events) > 0 {
				t.Fatalf("%T of attempt %d in attempt %d (%s): %v, %v", report, other, s.Attempt, s.Phase, v.Events, err)
			}
		}
	})
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
