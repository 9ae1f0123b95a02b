package gateway

import (
	"context"
	"time"

	"modelops/messages"
)

// Runner runs one request at a worker.
type Runner interface {
	Run(ctx context.Context, g *messages.Grant, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error)
	// BeforeFirstByte tells whether err came before the worker answered anything, so that the request may go elsewhere.
	BeforeFirstByte(err error) bool
}

// Observer hears what happens to requests, for metrics. Its methods must not block.
type Observer interface {
	RequestDone(model string, code messages.Code, took time.Duration)
	FirstByte(model string, after time.Duration)
	QueueWait(model string, waited time.Duration)
	Tokens(model string, n int)
}

// Figures bound the requests of one model.
type Figures struct {
	Limits Limits
	// FailureThreshold failures in a row open the breaker for ResetTimeout.
	FailureThreshold int
	ResetTimeout     time.Duration
	// QueueTimeout bounds the wait for a place at a ready model.
	QueueTimeout time.Duration
}

// Options are the gateway's ports and figures.
type Options struct {
	Host     string
	Door     messages.Door
	Runner   Runner
	Observer Observer
	Figures  Figures
	// FiguresOf gives a model figures of its own; may be nil.
	FiguresOf func(model string) Figures
	// DrainTimeout bounds how long running requests may hold up an unload; then they are ended.
	DrainTimeout time.Duration
	// StallAfter is how long a request may wait without a decision before health fails.
	StallAfter time.Duration
	// JournalLag is how many events the read models are behind; may be nil.
	JournalLag func() uint64
	// JournalError tells what is wrong with the journal; may be nil.
	JournalError func() error
	APIKey       func(spec *messages.ModelSpec) string
}
