package messages

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
)

// Door reaches actors by name. An answer is a fact that was journaled, or a typed error; a lost actor is an error too.
type Door interface {
	// Ask sends a command and waits for its answer within ctx's deadline (5 s when it has none).
	Ask(ctx context.Context, to ActorID, command proto.Message) (Reply, error)
	// Tell sends a command whose loss needs no repair.
	Tell(ctx context.Context, to ActorID, command proto.Message)
}

// Reply is the result of a command.
type Reply struct {
	Answer proto.Message
	// Events the command caused, in order; empty when it changed nothing.
	Events []proto.Message
	// Sequence of the actor's last decision after the command.
	Sequence uint64
}

// Meta travels with a command into the journal's headers.
type Meta struct {
	ID          string // the decision's id, unique; the command's when it has one
	Correlation string // what all that follows from one request share
	Causation   string // the id of the decision or request that led here
	Caller      string // fingerprint of the caller's key, never the key
}

type metaKey struct{}

// WithMeta puts meta into ctx.
func WithMeta(ctx context.Context, m Meta) context.Context {
	return context.WithValue(ctx, metaKey{}, m)
}

// MetaFrom takes meta out of ctx; zero when there is none.
func MetaFrom(ctx context.Context) Meta {
	m, _ := ctx.Value(metaKey{}).(Meta)
	return m
}

// Recorded is a decision as the journal holds it.
type Recorded struct {
	Actor    ActorID
	Sequence uint64 // in the host's journal, from 1, without gaps
	Expected uint64 // sequence of the actor's decision before this one: the chain
	ID       string
	Meta     Meta
	BootID   string
	At       time.Time
	Events   []proto.Message
	Decision *Decision
}

// Gateway is where requests enter. The context is the request's life: when it ends, the request ends in every state.
type Gateway interface {
	// Infer answers a request, loading its model first when it must. emit may be nil; it is called for each piece of text in
	// order and from one goroutine, and its error ends the request.
	Infer(ctx context.Context, r *InferenceRequest, emit func(*InferenceChunk) error) (*InferenceResponse, error)
	// Admit waits until the model may take one more request and says where it runs. Release must be called once.
	Admit(ctx context.Context, model string) (*Grant, error)
	// Models lists what can be asked for, as now known.
	Models() []*ModelView
	// Health says whether decisions make progress.
	Health() Health
}

// Grant is a place at a ready worker.
type Grant struct {
	Actor    ActorID // the model actor whose worker it is: model/main_pc/chat or model/main_pc/chat~2
	Host     string  // the other host that rules over the worker; empty = this one
	Attempt  uint64  // the load that made the worker
	Model    string  // the model's name here, aliases resolved
	Replica  string  // its name: chat or chat~2
	Upstream string  // what the engine calls it
	URL      string  // base URL of the worker, without a trailing slash
	APIKey   string  // for remote URLs; empty for local workers
	Queued   time.Duration
	Position int           // place in the queue at arrival; 0 = none waited
	Expected time.Duration // how long the wait was expected to be at arrival; 0 = it wasn't known
	// Began is when the place was granted.
	Began time.Time
	// lastByte is how long after Began a byte of the answer last came, by the monotonic clock: a wall clock that jumps makes no worker look
	// silent. 0 = none came.
	lastByte int64
	// Ended is done when the place is taken away (the model is unloaded by force) or was released; its cause says why.
	Ended context.Context
	// Alive asks the worker of the grant for a proof that it is the same and lives; nil = nobody can. Sending asks it.
	Alive func(context.Context, *Grant) error
	// Release gives the place back and tells how it went, which feeds the breaker. Calls after the first do nothing.
	Release func(Outcome)
}

// Heard notes that a byte of the answer came: a worker that answers isn't stuck.
func (g *Grant) Heard(now time.Time) { atomic.StoreInt64(&g.lastByte, max(int64(now.Sub(g.Began)), 1)) }

// LastHeard is when Heard was last called.
func (g *Grant) LastHeard() (at time.Time, ok bool) {
	after := atomic.LoadInt64(&g.lastByte)
	return g.Began.Add(time.Duration(after)), after > 0
}

// Outcome is how a granted request ended.
type Outcome struct {
	// Failed is true when the worker may be to blame: no connection, 5xx, a broken answer. What the engine refuses (4xx, 501), a caller that left
	// and a grant that was taken back are no failures.
	Failed bool
	// Unreachable tells that no connection came about: no input can have caused it.
	Unreachable bool
	// Again tells that the same request has failed at this worker before: it counts once.
	Again bool
	// Path is where the engine was asked (/v1/embeddings): a trial request asks there too. Empty for a chat.
	Path string
	// Caller is the fingerprint of the caller's key; the gateway sets it.
	Caller string
	// Bytes is the size of the request and its answer: larger ones take longer. 0 = not known.
	Bytes int64
	Err   error
}

// Health is the gateway's opinion on progress.
type Health struct {
	OK bool `json:"-"`
	// OldestUndecided is the age of the request that has waited longest without a decision on it.
	OldestUndecided time.Duration `json:"oldest_undecided"`
	JournalLag      uint64        `json:"journal_lag"`
	Reasons         []string      `json:"reasons,omitempty"`
}
