package messages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Code is a kind of failure. The numbers are on wires and in journals: the list is append-only.
type Code uint32

const (
	Internal           Code = 1
	InvalidArgument    Code = 2
	ModelNotFound      Code = 3
	ModelLoadError     Code = 4
	ModelUnloadError   Code = 5
	GPUUnavailable     Code = 6
	InferenceError     Code = 7
	CircuitBreakerOpen Code = 8
	BulkheadRejection  Code = 9
	DeadlineExceeded   Code = 10
	Cancelled          Code = 11
	JobError           Code = 12
	NotFound           Code = 13
	Conflict           Code = 14
	JournalUnavailable Code = 15
	JournalFull        Code = 16
	JournalDamaged     Code = 17
	PayloadTooLarge    Code = 18
	Unavailable        Code = 19
	Unsupported        Code = 20
	FailedPrecondition Code = 21
	ContextTooLong     Code = 22
	PermissionDenied   Code = 23
	Unauthenticated    Code = 24
)

// ErrNotStored is the cause of an error of an append of which it is known that nothing was stored, and that nothing will be.
var ErrNotStored = errors.New("nothing was stored")

// Error is the one error that crosses borders.
type Error struct {
	Code    Code
	Subject string        // what it is about: model/main_pc/tiny, a path, a field
	Message string        // what happened and why, for the person
	Hint    string        // what to do, for the operator at night
	Retry   time.Duration // when trying again makes sense; 0 = not by waiting
	Log     []string      // the last lines that the failed worker wrote, oldest first
	LogFile string        // where those lines stand
	Said    string        // what of Message are an engine's own words: they may repeat the request, so they reach its caller and no log
	Cause   error         // for us; never sent
}

// NewError makes an error about a subject.
func NewError(code Code, subject, message string) *Error {
	return &Error{Code: code, Subject: subject, Message: message}
}

// Errorf is NewError with a formatted message. A %w operand becomes the cause.
func Errorf(code Code, subject, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Subject: subject, Message: err.Error(), Cause: errors.Unwrap(err)}
}

// WithHint adds what to do.
func (e *Error) WithHint(hint string) *Error { c := *e; c.Hint = hint; return &c }

// WithRetry adds when trying again makes sense.
func (e *Error) WithRetry(after time.Duration) *Error { c := *e; c.Retry = after; return &c }

// WithLogFile names the log of the failed worker.
func (e *Error) WithLogFile(path string) *Error { c := *e; c.LogFile = path; return &c }

// WithLog adds what the failed worker wrote last.
func (e *Error) WithLog(lines []string) *Error { c := *e; c.Log = lines; return &c }

// WithCause keeps the error underneath for logs and errors.Is.
func (e *Error) WithCause(cause error) *Error { c := *e; c.Cause = cause; return &c }

// Error reads as a sentence: subject, what happened, what to do.
func (e *Error) Error() string {
	s := e.Message
	if e.Subject != "" && !strings.HasPrefix(s, e.Subject+" ") { // a message that begins with its subject is whole
		s = e.Subject + ": " + s
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// WithSaid marks what of the message are an engine's own words.
func (e *Error) WithSaid(words string) *Error { c := *e; c.Said = words; return &c }

// ForLog is the error's message for a log. An engine's own words are left out, because they may repeat a prompt.
func (e *Error) ForLog() string {
	if e.Said == "" {
		return e.Message
	}
	return strings.ReplaceAll(e.Message, e.Said, "[the engine's words]")
}

func (e *Error) Unwrap() error { return e.Cause }

// Is compares by code, so that errors.Is(err, &Error{Code: ModelNotFound}) asks for the kind of failure.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// AsError finds the typed error in err. Ends of contexts become Cancelled and DeadlineExceeded, anything else Internal.
func AsError(err error) *Error {
	var typed *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &typed):
		return typed
	case errors.Is(err, context.DeadlineExceeded):
		return NewError(DeadlineExceeded, "", "the deadline passed before there was an answer").WithCause(err)
	case errors.Is(err, context.Canceled):
		return NewError(Cancelled, "", "the caller went away").WithCause(err)
	}
	return NewError(Internal, "", err.Error()).WithCause(err)
}

// CodeOf is the code of err, 0 for nil.
func CodeOf(err error) Code {
	if e := AsError(err); e != nil {
		return e.Code
	}
	return 0
}

// Body is the error as it travels where a wire has no status of its own. Its texts are UTF-8, whatever an input or a worker's output was that they
// quote: a message with another text can't be written, and the caller would get no reason at all.
func (e *Error) Body() *ErrorBody {
	if e == nil {
		return nil
	}
	log := e.Log
	if slices.ContainsFunc(log, func(line string) bool { return !utf8.ValidString(line) }) {
		log = slices.Clone(log)
		for i := range log {
			log[i] = valid(log[i])
		}
	}
	return &ErrorBody{Code: e.Code.String(), Subject: valid(e.Subject), Message: valid(e.Message), Hint: valid(e.Hint), RetryAfterMs: e.Retry.Milliseconds(), Log: log, LogFile: valid(e.LogFile)}
}

func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// Err brings an error body back to the same code; nil stays nil. A name this build doesn't know becomes Internal.
func (b *ErrorBody) Err() *Error {
	if b == nil {
		return nil
	}
	return &Error{Code: ParseCode(b.Code), Subject: b.Subject, Message: b.Message, Hint: b.Hint, Retry: time.Duration(b.RetryAfterMs) * time.Millisecond, Log: b.Log, LogFile: b.LogFile}
}
