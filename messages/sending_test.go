package messages

import (
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// One rule says what is sent again, and one request counts once against a worker.
func TestWhatIsSentAgain(t *testing.T) {
	alive := func(context.Context, *Grant) error { return nil }
	dead := func(context.Context, *Grant) error { return errors.New("gone") }
	for name, c := range map[string]struct {
		err    error
		alive  func(context.Context, *Grant) error
		again  bool
		failed bool
	}{
		"no connection":                   {NotAnswered("m", false, syscall.ECONNREFUSED), dead, true, true},
		"closed, worker lives":            {NotAnswered("m", true, io.EOF), alive, true, false},
		"reset, worker lives":             {NotAnswered("m", true, syscall.ECONNRESET), alive, true, false},
		"closed, worker died":             {NotAnswered("m", true, io.EOF), dead, false, true},
		"closed, nobody knows":            {NotAnswered("m", true, io.EOF), nil, false, true},
		"nonsense instead of an answer":   {NotAnswered("m", true, errors.New("malformed HTTP response")), alive, false, true},
		"refused input":                   {&Refused{NewError(InferenceError, "m", "the worker answered 404")}, alive, false, false},
		"a worker's own error":            {NewError(InferenceError, "m", "the worker answered 500"), alive, false, true},
		"busy, by the worker's own words": {NewError(BulkheadRejection, "m", "the worker answered 429"), alive, false, false},
	} {
		var s Sending
		g := &Grant{Actor: ModelActor("h", "m"), Alive: c.alive}
		o, again := s.Failed(t.Context(), g, c.err)
		if again != c.again || o.Failed != c.failed || o.Again {
			t.Errorf("%s: again %v, %+v", name, again, o)
		}
		if o, _ := s.Failed(t.Context(), g, c.err); o.Again != c.failed {
			t.Errorf("%s: the same request counts again: %+v", name, o)
		}
		if _, again := s.Failed(t.Context(), g, c.err); again {
			t.Errorf("%s: sent a fourth time", name)
		}
		left, leave := context.WithCancel(t.Context())
		leave()
		if o, again := new(Sending).Failed(left, g, c.err); again || o.Failed {
			t.Errorf("%s: a caller that left is nobody's fault: %v, %+v", name, again, o)
		}
	}
	// So is one that leaves during the proof.
	proving, leave := context.WithCancel(t.Context())
	during := &Grant{Actor: ModelActor("h", "m"), Alive: func(context.Context, *Grant) error { leave(); return context.Canceled }}
	if o, again := new(Sending).Failed(proving, during, NotAnswered("m", true, io.EOF)); again || o.Failed {
		t.Errorf("it left during the proof: %v, %+v", again, o)
	}
	synctest.Test(t, func(t *testing.T) {
		var s Sending
		began := time.Now()
		for range 2 {
			s.Failed(t.Context(), &Grant{}, NotAnswered("m", false, io.EOF))
			if err := s.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 150*time.Millisecond {
			t.Errorf("paused for %s", took)
		}
	})
}
