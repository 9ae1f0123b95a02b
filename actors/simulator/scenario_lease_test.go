package simulator

import (
	"testing"
	"time"

	"modelops/actors/model"
	"modelops/messages"
)

// A lease that neither its holder nor the arbiter knows is reclaimed, also after a restart; the leases of running models stay.
func TestALeaseThatNobodyKnowsIsReclaimed(t *testing.T) {
	for _, restart := range []bool{false, true} {
		s := onStage(t, oneCard(plain("a", 8), plain("b", 8)))
		s.ready("a")
		s.lenient = true
		if _, err := s.ledgers[0].ask(&messages.ReserveVram{Lease: "leak", Holder: s.models[1].id.String(), Bytes: messages.GiB}); err != nil {
			t.Fatal(err)
		}
		if restart {
			s.fall()
			s.until("the coordinator is back", time.Minute, func() bool { return !s.down })
		}
		began := s.elapsed
		s.until("the lease is reclaimed", 2*time.Minute, func() bool { return s.ledgers[0].state.Reclaimed == 1 })
		if after := s.elapsed - began; after < 25*time.Second {
			t.Errorf("reclaimed after %s: a hand-over could be under way", after)
		}
		s.lenient = false
		s.lasts(5 * time.Minute)
		if r := s.ledgers[0].state.Reclaimed; r != 1 || s.phase("a") != model.Ready {
			t.Errorf("%d leases were reclaimed, a is %s", r, s.phase("a"))
		}
		s.rests()
	}
}

// A worker whose lease is lost goes soon, with its requests, and comes back on a new lease because it is still wanted. So does one that is
// adopted without a lease.
func TestAWorkerWithoutItsLeaseGoes(t *testing.T) {
	for _, restart := range []bool{false, true} {
		s := onStage(t, oneCard(plain("a", 8)))
		s.ready("a")
		was := s.models[0].state.Placement
		s.lenient = true
		lost := &messages.ReportLeaseDiffers{Lease: was.Shares[0].Lease, Holder: was.Holder, Epoch: was.Shares[0].Epoch, Reason: "a drill"}
		if r, err := s.ledgers[0].ask(lost); err != nil || len(r.Events) != 1 {
			t.Fatal(r, err)
		}
		if restart {
			s.fall()
			s.until("the coordinator is back", time.Minute, func() bool { return !s.down })
		}
		s.until("its worker goes", 70*time.Second, func() bool { return s.phase("a") == model.Draining })
		if !s.models[0].state.Force {
			t.Error("it drains as if it could keep its memory")
		}
		s.until("it is back", time.Minute, func() bool { return s.phase("a") == model.Ready })
		if now := s.models[0].state.Placement; now.Id == was.Id {
			t.Errorf("it is back on %v", now)
		}
		s.lenient = false
		s.rests()
	}
}
