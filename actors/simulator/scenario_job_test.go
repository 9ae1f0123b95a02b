package simulator

import (
	"testing"
	"time"

	"modelops/actors/model"
	"modelops/messages"
)

// The scenarios in which something takes long.

func TestS06ALongJobIsNotSwappedOut(t *testing.T) {
	o := oneCard(plain("job", 20), plain("chat", 20))
	o.MaxWait = 30 * time.Minute
	for seed := uint64(1); seed <= 3; seed++ {
		o.Seed = seed
		s := onStage(t, o)
		s.ready("job")
		job := s.call("job", 20*time.Minute)
		chat := s.call("chat", time.Second)
		s.until("the job ends", 21*time.Minute, func() bool { return job.ended })
		if job.code != 0 || chat.ended || s.tally.evictions > 0 {
			t.Fatalf("seed %d: the job got %s, the chat ended %t, %d evictions", seed, job.code, chat.ended, s.tally.evictions)
		}
		asked := s.elapsed
		if s.ended(chat, s.turn()); chat.code != 0 {
			t.Fatalf("seed %d: the chat got %s", seed, chat.code)
		}
		if waited := s.elapsed - asked; waited > s.turn() {
			t.Errorf("seed %d: the chat waited %s after the job", seed, waited)
		}
		s.rests()
	}
}

func TestS06AJobBeyondTheBoundEndsItsTurn(t *testing.T) {
	s := onStage(t, oneCard(plain("job", 20), plain("chat", 20)))
	s.ready("job")
	began := s.elapsed
	job := s.call("job", 20*time.Minute)
	chat := s.call("chat", time.Second)
	s.ended(job, s.Bound())
	if after := s.elapsed - began; job.code != messages.Unavailable || after < s.o.MaxWait+s.o.DrainTimeout {
		t.Errorf("the job got %s after %s: it has max_wait and a drain", job.code, after)
	}
	if s.ended(chat, s.turn()); chat.code != 0 {
		t.Errorf("the chat got %s", chat.code)
	}
	s.rests()
}

func TestS14TheSameAttemptIsStartedOnce(t *testing.T) {
	for seed := uint64(1); seed <= 50; seed++ {
		o := oneCard(plain("a", 20))
		// Starts whose answer is lost, lost and doubled reports, a coordinator that dies on the way: a second worker is a violation.
		o.Seed, o.Faults = seed, Faults{StartFails: 0.3, LateReport: 0.5, DoubleReport: 0.5, LostAnswer: 0.2, Crash: 0.02, ActorCrash: 0.1}
		s := onStage(t, o)
		s.call("a", time.Second)
		if err := s.Run(t.Context(), 500); err != nil {
			t.Fatal(err)
		}
		if err := s.serveAgain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(s.workers) != 1 {
			t.Fatalf("seed %d: %d workers of one model", seed, len(s.workers))
		}
	}
}

func TestS15AStoppedModelsWorkerIsReapedAtTheStart(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		o := oneCard(plain("a", 20), plain("b", 20))
		o.Seed = seed
		s := onStage(t, o)
		s.ready("a")
		_, _ = s.models[0].ask(&messages.UnloadModel{Reason: "a person wants it gone", Force: true})
		s.fall() // before anything of it was done
		s.until("the coordinator is back, and the worker gone", time.Minute, func() bool { return !s.down && len(s.workers) == 0 })
		s.until("nothing is held", time.Minute, func() bool { return len(s.ledgers[0].state.Leases) == 0 && s.phase("a") == model.Absent })
		if r := s.ended(s.call("b", time.Millisecond), time.Minute); r.code != 0 {
			t.Fatalf("seed %d: the next model got %s", seed, r.code)
		}
		s.rests()
	}
}
