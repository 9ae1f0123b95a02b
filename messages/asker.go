package messages

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Caller is who asks, as a key of the configuration says.
type Caller struct {
	Name        string // empty without a key
	Class       string // priority class; empty = the default one
	Fingerprint string // of the key, never the key; empty without one
}

// Callers finds the caller of a key, which is empty when the request had none. The error is Unauthenticated.
type Callers func(key string) (Caller, error)

// Of is the caller of a key; nobody in particular where no one is asked for keys.
func (c Callers) Of(key string) (Caller, error) {
	if c == nil {
		return Caller{}, nil
	}
	return c(key)
}

// KeyIn takes the key from what requests carry: "Bearer KEY" in an Authorization field, else an x-api-key field. A scheme that
// isn't Bearer makes no key that anybody has.
func KeyIn(authorization, apiKey string) string {
	if authorization == "" {
		return apiKey
	}
	if scheme, key, ok := strings.Cut(authorization, " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(key)
	}
	return authorization
}

// longestStay bounds keep_alive; who wants more wants it for good.
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
		text = quoted
	}
	d, err := time.ParseDuration(text)
	if seconds, numeric := strconv.ParseFloat(text, 64); numeric == nil && quoted == "" {
		if !(seconds <= longestStay.Seconds()) {
			return wrong("it is too long")
		}
		d, err = time.Duration(max(seconds, -1)*float64(time.Second)), nil
	}
	switch {
	case err != nil:
		return wrong("it is neither a number of seconds nor a duration")
	case d > longestStay:
		return wrong("it is too long")
	case d < 0:
		d = -1
	}
	return &d, nil
}

// Arrival remembers where a request stood when it began to wait. Its Told is an Asker's.
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
