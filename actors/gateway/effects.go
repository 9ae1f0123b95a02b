package gateway

import (
	"context"
	"time"

	"modelops/actors/gateway/pool"
	"modelops/messages"
)

// Runner runs one request at a worker.
type Runner interface {
	// Run returns messages.Unanswered before the first byte of an answer and messages.Refused for what the engine refuses: the first may be sent
	// again, the second says nothing against the worker.
	Run(ctx context.Context, g *messages.Grant, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error)
}

// Prober asks workers about themselves.
type Prober interface {
	// Alive is nil when the worker proves that it is the same, runs and answers.
	Alive(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker) error
	// Works sends the smallest request of the kind that path takes.
	Works(ctx context.Context, spec *messages.ModelSpec, w *messages.Worker, path string) messages.Verdict
}

// Placer finds a place for a model name, on whatever host.
type Placer interface {
	// Place asks for a placement; it may be asked again for the same name, and once at a time for each. An error refuses all requests that wait, except when it says that there is no answer now (Unavailable with a time to try again,
	// DeadlineExceeded, JournalUnavailable): then Place is asked again, as after pool.Waits. The decisions that follow carry the Meta of ctx; ctx ends when no request waits any more.
	Place(ctx context.Context, s pool.Seek) (pool.PlaceAnswer, error)
}

// Observer is told what happens to requests, for metrics. Its methods must not block.
type Observer interface {
	RequestDone(model string, code messages.Code, took time.Duration)
	FirstByte(model string, after time.Duration)
	QueueWait(model string, waited time.Duration)
	Tokens(model string, n int)
}

// Recorder remembers requests, for questions such as `why`: they are not journaled. Its methods must not block.
type Recorder interface {
	// Begin notes a request for a model, under the id that ctx carries.
	Begin(ctx context.Context, model string) Record
}

// Record is what is remembered of one request.
type Record interface {
	// Granted notes the place that the request got. It is called again when the request is sent again.
	Granted(*messages.Grant)
	// Ended notes how the request ended. Only the first call counts.
	Ended(error)
}

// Limits of one model's requests, or of those of all models.
type Limits = pool.Limits

// Figures bound the requests of one model.
type Figures struct {
	Limits Limits
	// FailureThreshold failures in a row open the breaker for ResetTimeout.
	FailureThreshold int
	ResetTimeout     time.Duration
	// HangTimeout is how long a worker may give no sign of life, not even to trials; 0 = the pool's default.
	HangTimeout time.Duration
	// QueueTimeout bounds a request's wait, whatever it waits for: a placement, a load, or a place at a ready model.
	QueueTimeout time.Duration
}

// HostFigures bound the requests of all models together.
type HostFigures struct {
	// Limits bound what runs and waits on the host; 0 = no bound.
	Limits Limits
	// Classes are the priority classes, the first one goes first. A request without a known one has DefaultClass.
	Classes      []string
	DefaultClass string
	// MaxWait is after how much waiting a request goes before all classes; 0 = never.
	MaxWait time.Duration
	// DrainTimeout bounds how long running requests may hold up the unloading of their model; then they are ended. 0 = Options.DrainTimeout.
	DrainTimeout time.Duration
}

// Options are the gateway's ports and figures.
type Options struct {
	Host     string
	Door     messages.Door
	Runner   Runner
	Placer   Placer
	Observer Observer
	// Prober asks workers; nil = a worker that failed can't prove anything.
	Prober Prober
	// Recorder is told of every request from its arrival to its end; may be nil.
	Recorder Recorder
	Figures  Figures
	// FiguresOf gives a model figures of its own; may be nil.
	FiguresOf func(model string) Figures
	// HostFigures gives the host's figures, at the start and at each Refigure; nil = no bounds and one class.
	HostFigures func() HostFigures
	// DrainTimeout bounds how long running requests may hold up the end of a worker that does its work badly.
	DrainTimeout time.Duration
	// StallAfter is how long a request may wait without a decision before health fails; 0 = 15 s.
	StallAfter time.Duration
	// JournalLag is how many events the read models are behind; may be nil.
	JournalLag func() uint64
	// JournalError tells what is wrong with the journal; may be nil.
	JournalError func() error
	// Devices tells which devices can't be used and why, and whether enough of them can; may be nil.
	Devices func() (reasons []string, usable bool)
	// Cluster says what is wrong with the cluster; nil = this host is alone.
	Cluster func() []string
	// Apart says why another host's workers may not serve a model's requests of this one; nil = they may.
	Apart func(model, host string) *messages.Error
	// Member tells whether a host is one of the cluster, reached or not; nil = whatever is named is.
	Member func(host string) bool
	// Emptied tells whether a host is being emptied, so that no model is loaded on it; nil = none is.
	Emptied func(host string) bool
	// Ill lists the actors that answer no commands, and why; may be nil.
	Ill    func() []string
	APIKey func(spec *messages.ModelSpec) string
	// Address fills in the variables of a worker's journaled address, for a request that is about to connect; may be nil.
	Address func(model, url string) string
}
