package messages

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// maxTries is how often one request may be sent.
	maxTries = 3
	// firstPause is before the second try; it doubles. It gives the owner of a dead worker the time to see its end.
	firstPause = 50 * time.Millisecond
)

// Unanswered is the error of a request that a worker gave no byte of an answer to.
type Unanswered struct {
	// Sent tells that bytes of the request may have reached the worker: there was a connection.
	Sent bool
	// closed tells that the connection ended, rather than that something else went wrong with it.
	closed bool
	typed  *Error
}

// NotAnswered makes the error of a request to a model's worker that ended with err before a byte of an answer. The caller isn't told addresses.
func NotAnswered(model string, sent bool, err error) *Unanswered {
	if known := (*Unanswered)(nil); errors.As(err, &known) {
		return known
	}
	if !sent {
		return &Unanswered{typed: NewError(Unavailable, "model/"+model, "the model's worker can't be reached").
			WithHint("it may be starting or restarting: try again").WithRetry(time.Second).WithCause(err)}
	}
	return &Unanswered{Sent: true, closed: connectionEnded(err), typed: NewError(InferenceError, "model/"+model, "the model's worker closed the connection before it answered").
		WithHint("the worker's log says why: modelops logs " + model).WithCause(err)}
}

// NotRun is the error of a request that another host was asked to run and gave no byte of an answer to. began tells that a worker may have begun it.
func NotRun(why *Error, began bool) *Unanswered { return &Unanswered{Sent: began, typed: why} }

// connectionEnded tells that the worker's side closed or reset a connection.
func connectionEnded(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.Contains(err.Error(), "server closed idle connection") // net/http doesn't export this one
}

// Error implements error.
func (u *Unanswered) Error() string { return u.typed.Error() }

// Unwrap gives the error for the caller.
func (u *Unanswered) Unwrap() error { return u.typed }

// Sending is one request on its way to an answer: how often it was sent, and to whom in vain. It holds the one rule on sending a request
// again, for every door and for batches:
//
// A request is sent again when none of its bytes reached a worker, or when the worker that closed the connection proves afterwards that it lives.
// Else the request may have ended the worker, and would end the next one: one request ends at most one worker. Once a byte of an answer has come
// nothing is sent again.
//
// The zero value is a request that wasn't sent yet. It isn't for concurrent use.
type Sending struct {
	tries  int
	blamed []ActorID
	// Pause is before the second try; 0 = 50 ms.
	Pause time.Duration
}

// First tells that the request was not sent in vain yet.
func (s *Sending) First() bool { return s.tries == 0 }

// Failed judges a try that ended with err. o is what the worker's record gets; again tells that the request may be sent once more, after Wait. ctx
// is the try's: when it has ended, neither the worker nor the request is at fault.
func (s *Sending) Failed(ctx context.Context, g *Grant, err error) (o Outcome, again bool) {
	s.tries++
	var lost *Unanswered
	switch {
	case ctx.Err() != nil:
		return Outcome{Err: ctx.Err()}, false
	case !errors.As(err, &lost):
		return s.blame(g, Outcome{Failed: workerFailed(err), Err: err}), false
	case !lost.Sent:
		return s.blame(g, Outcome{Failed: true, Unreachable: true, Err: err}), s.tries < maxTries
	case lost.closed && g.Alive != nil && g.Alive(ctx, g) == nil:
		return Outcome{Err: err}, s.tries < maxTries // it closes connections that have been idle, and this one was among them
	case ctx.Err() != nil:
		return Outcome{Err: ctx.Err()}, false
	}
	return s.blame(g, Outcome{Failed: true, Err: err}), false
}

// Outcome counts a try that had an answer. A worker that failed the same request before is not blamed again.
func (s *Sending) Outcome(g *Grant, o Outcome) Outcome { return s.blame(g, o) }

// blame counts one request once against each worker.
func (s *Sending) blame(g *Grant, o Outcome) Outcome {
	if !o.Failed {
		return o
	}
	o.Again = slices.Contains(s.blamed, g.Actor)
	s.blamed = append(s.blamed, g.Actor)
	return o
}

// Wait makes the pause before the next try.
func (s *Sending) Wait(ctx context.Context) error {
	first := s.Pause
	if first <= 0 {
		first = firstPause
	}
	pause := time.NewTimer(first << (s.tries - 1))
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// workerFailed tells whether an error that a worker answered with counts against it. What it refuses, a deadline and a caller that left don't.
func workerFailed(err error) bool {
	var refused *Refused
	if errors.As(err, &refused) {
		return false
	}
	switch CodeOf(err) {
	case InferenceError, Internal, Unavailable:
		return true
	}
	return false
}

// Refused is a worker's refusal of a request: a status of 4xx, or 501. It says nothing against the worker, whatever code the caller gets.
type Refused struct{ Err *Error }

// Error implements error.
func (r *Refused) Error() string { return r.Err.Error() }

// Unwrap gives the typed error.
func (r *Refused) Unwrap() error { return r.Err }
