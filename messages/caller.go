package messages

import (
	"context"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Caller travels in a request's context: the principal that sends it, and its options.
type Caller struct {
	Principal
	RequestID string
	// Asked is when the request first asked for a place: all its waits end a queue timeout later, also when it is sent again; zero = now.
	Asked time.Time
	// KeepAlive is how long the model stays after this request, in Ollama's meaning: 0 unloads it, negative keeps it loaded;
	// nil = as declared. The latest request's value counts.
	KeepAlive *time.Duration
	// OnQueued is called with the request's position when it begins to wait and about once a second from then on, from the goroutine that
	// waits. May be nil.
	OnQueued func(QueuePlace)
	// Only is where it may run.
	Only Only
	// Reads tells whether somebody still waits for the answer; nil = the end of the request's context says so.
	Reads func() bool
}

// IsHere tells whether the caller of a request still waits for the answer, as far as is known.
func (c Caller) IsHere() bool { return c.Reads == nil || c.Reads() }

type callerKey struct{}

// WithCaller puts the caller into ctx.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom takes the caller out of ctx; zero when there is none.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// QueuePlace is where a request stands while it waits.
type QueuePlace struct {
	Position int // from 1
	Waited   time.Duration
	Expected time.Duration // how long it will still wait, estimated from recent requests and loads; 0 = it isn't known
	WaitsFor string        // "a place", or the model's phase: placing, loading, ...
}

// KeyIn takes the key from what requests carry: "Bearer KEY" in an Authorization field, else an x-api-key field. A scheme other
// than Bearer gives a text that is no known key.
func KeyIn(authorization, apiKey string) string {
	if authorization == "" {
		return apiKey
	}
	if scheme, key, ok := strings.Cut(authorization, " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(key)
	}
	return authorization
}

// longestStay is a year; a longer keep_alive is for good.
const longestStay = 8760 * time.Hour

// ParseKeepAlive reads keep_alive as Ollama does: a number of seconds or a duration such as "5m", as JSON or bare; 0 is not at all
// after the request, negative for good. null is nil, as declared. The error is InvalidArgument.
func ParseKeepAlive(text string) (*time.Duration, error) {
	text = strings.TrimSpace(text)
	wrong := func(what string) (*time.Duration, error) {
		return nil, NewError(InvalidArgument, "keep_alive", what).WithHint(`send seconds such as 300, a duration such as "5m", 0 to unload after the request, or -1 to stay`)
	}
	if text == "null" {
		return nil, nil
	}
	var quoted string
	if json.Unmarshal([]byte(text), &quoted) == nil {
		text = strings.TrimSpace(quoted)
	}
	if text == "" {
		return nil, nil // as if it were not given
	}
	d, err := time.ParseDuration(text)
	if days, is := strings.CutSuffix(text, "d"); is && err != nil {
		if n, numeric := strconv.ParseFloat(days, 64); numeric == nil && !math.IsNaN(n) {
			d, err = time.Duration(min(max(n, -1), 2*longestStay.Hours()/24)*float64(24*time.Hour)), nil
		}
	}
	if seconds, numeric := strconv.ParseFloat(text, 64); numeric == nil {
		if math.IsNaN(seconds) || math.IsInf(seconds, 0) {
			return wrong("it is no number of seconds")
		}
		d, err = time.Duration(min(max(seconds, -1), 2*longestStay.Seconds())*float64(time.Second)), nil
	}
	switch {
	case err != nil:
		return wrong("it is neither a number of seconds nor a duration")
	case d < 0 || d > longestStay:
		d = -1
	}
	return &d, nil
}

// Arrival remembers where a request stood when it began to wait. Its Told is a Caller's OnQueued.
type Arrival struct {
	place atomic.Pointer[QueuePlace]
}

// Told keeps the first place.
func (a *Arrival) Told(p QueuePlace) { a.place.CompareAndSwap(nil, &p) }

// Place is where it stood; zero when it never waited.
func (a *Arrival) Place() QueuePlace {
	if p := a.place.Load(); p != nil {
		return *p
	}
	return QueuePlace{}
}

// Note writes into an answer how its request waited; nil stays nil.
func (a *Arrival) Note(r *InferenceResponse) {
	if r == nil {
		return
	}
	at := a.Place()
	r.QueuePosition, r.QueueExpectedMs = int32(at.Position), float32(at.Expected.Seconds()*1000)
}

// TakeKeepAlive reads the parameter keep_alive of a request and takes it out: it is for us, not for the engine. nil = none was
// given. The error is InvalidArgument.
func TakeKeepAlive(r *InferenceRequest) (*time.Duration, error) {
	text, ok := r.GetParameters()["keep_alive"]
	if !ok {
		return nil, nil
	}
	delete(r.Parameters, "keep_alive")
	return ParseKeepAlive(text)
}
