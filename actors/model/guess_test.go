package model

import (
	"testing"

	"modelops/actors/entity/entitytest"
	"modelops/messages"
)

// A worker that ran out of memory makes the next try ask for more. In the simulator, foreign memory kept a model from ever being placed again:
// the guesses grew past every device and were remembered as if they had been measured.
func TestOutOfMemoryIsAGuessNotAFootprint(t *testing.T) {
	m := entitytest.Drive(Kind(Rules{Retry: Retry{Limit: 4, First: 1, Longest: 1}}, World{}), messages.ModelActor("h", "m"))
	m.Happen(&messages.ModelDeclared{Spec: &messages.ModelSpec{Name: "m", Revision: "r"}})
	load := func(attempt, bytes uint64) {
		m.Happen(&messages.ModelWanted{Attempt: attempt})
		m.Happen(&messages.ModelLoadStarted{Attempt: attempt, Placement: &messages.Placement{DeviceKind: "cuda", Shares: []*messages.Share{{Bytes: bytes}}}})
	}
	load(1, 100)
	m.Happen(&messages.LoadFailed{Attempt: 1, OutOfMemory: true, RetryMs: 1})
	if got := m.State.remembered(); got != 125 {
		t.Errorf("asks for %d after 100 were too few, want a quarter more", got)
	}
	load(2, 125)
	m.Happen(&messages.LoadFailed{Attempt: 2, OutOfMemory: true, RetryMs: 1})
	m.Happen(&messages.ModelWanted{Attempt: 3})
	m.Happen(&messages.LoadFailed{Attempt: 3}) // no device can hold 156
	if got := m.State.remembered(); got != 0 {
		t.Errorf("still asks for %d, which no device can hold", got)
	}
	load(4, 100)
	m.Happen(&messages.LoadFailed{Attempt: 4, OutOfMemory: true, RetryMs: 1})
	load(5, 125)
	m.Happen(&messages.ModelReady{Attempt: 5, MeasuredBytes: 90})
	if got := m.State.remembered(); got != 90 {
		t.Errorf("remembers %d, measured were 90", got)
	}
}
