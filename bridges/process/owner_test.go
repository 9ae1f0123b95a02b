package process

import (
	"slices"
	"testing"
)

// A later Supervisor with the same owner finds the living processes of the former ones, without any record of them; others don't.
func TestOwnedProcessesAreFoundWithoutARecord(t *testing.T) {
	s := New(Options{Owner: nonce(t)})
	h := start(t, s, shell(t, waits))
	dead := start(t, s, shell(t, waits))
	end(t, s, dead)
	start(t, New(Options{Owner: "another"}), shell(t, waits))
	got, err := New(Options{Owner: s.owner}).Owned()
	if err != nil || !slices.Equal(got, []Handle{h}) {
		t.Errorf("%v %+v, want %+v", err, got, h)
	}
	if got, err := New(Options{}).Owned(); err != nil || got != nil {
		t.Errorf("without an owner: %v %v", got, err)
	}
}

// Once a Supervisor has ended what it started, it starts nothing more: a start that was on its way would outlive a good stop.
func TestNothingStartsAfterTheStop(t *testing.T) {
	s := New(Options{})
	h := start(t, s, shell(t, waits))
	if err := s.StopStarted(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if live, _ := s.Prove(h); live != Gone {
		t.Error(live)
	}
	if again, started, err := s.Start(t.Context(), shell(t, waits)); started || codeOf(err) != "UNAVAILABLE" {
		t.Error(again, started, err)
	}
}
