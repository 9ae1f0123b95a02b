package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"time"

	"modelops/messages"
)

// answerBytes bounds what is kept of an engine's answer until it is divided.
const answerBytes = 64 << 20

// fly sends a batch to the engine: an exchange as any other, with one place and one outcome, whose client is a recorder.
func (a *API) fly(b *batch) (turns []turn) {
	lead := b.members[0].x
	defer func() {
		// Outside of net/http nothing else recovers a panic, and one request must not end all.
		if p := recover(); p != nil {
			a.log.Error("a batch broke", "model", lead.q.model, "correlation", lead.id, "panic", p, "stack", string(debug.Stack()))
			turns = b.everyone(turn{bad: refusalOf(messages.NewError(messages.Internal, lead.q.model, "the requests that were sent together could not be answered"))})
		}
	}()
	rec := &recorder{header: http.Header{}}
	r := lead.r.Clone(b.ctx)
	r.Header, r.Body = sharedHeader(lead.r.Header), http.NoBody
	x := &exchange{api: a, observe: admissions{a.observe}, w: rec, r: r, rt: lead.rt, id: lead.id, ctx: b.ctx, began: time.Now(), q: b.question(), model: lead.q.model, shared: true}
	x.forward()
	a.observe.ObserveBatch(x.model, lead.rt.path, len(b.members))
	turns, err := b.divide(x, rec)
	if err != nil && !x.lives() {
		turns = b.everyone(turn{bad: refusalOf(messages.NewError(messages.InferenceError, "model/"+x.model, "the model's worker answered and ended").
			WithHint("the worker's log says why: modelops logs " + x.model)), model: x.model})
	}
	for i, m := range b.members {
		a.log.Debug("request was sent with others", "model", x.model, "correlation", m.x.id, "leader", lead.id, "members", len(b.members), "status", x.status, "alone", turns[i].alone, "error", err)
	}
	return turns
}

// lives tells whether the worker that answered proves that it lives, by the rule of messages.Sending: one of the members may have ended it, and would
// end the next one if all were sent again.
func (x *exchange) lives() bool {
	return x.served == nil || x.served.Alive == nil || x.served.Alive(x.ctx, x.served) == nil
}

// admissions passes on what is counted per place; members count their answers themselves.
type admissions struct{ Observer }

func (admissions) ObserveFirstByte(string, time.Duration) {}

// question is the body for all members: their common parts, and every member's inputs in one list.
func (b *batch) question() *question {
	lead := b.members[0]
	name, err := json.Marshal(lead.x.q.model)
	if err != nil {
		panic(err) // strings always marshal
	}
	var body bytes.Buffer
	body.WriteString(`{"model":`)
	at := span{body.Len(), body.Len() + len(name)}
	body.Write(name)
	for _, p := range lead.rest {
		fmt.Fprintf(&body, ",%q:", p.name)
		body.Write(p.value)
	}
	fmt.Fprintf(&body, ",%q:[", lead.shape.field)
	between := ""
	for _, m := range b.members {
		for _, item := range m.items {
			body.WriteString(between)
			body.Write(item)
			between = ","
		}
	}
	body.WriteString("]}")
	return &question{body: body.Bytes(), model: lead.x.q.model, at: at, contentType: jsonType}
}

// divide gives each member's turn. After an error the members are sent alone.
func (b *batch) divide(x *exchange, rec *recorder) ([]turn, error) {
	if rec.full {
		return b.everyone(turn{alone: true}), errors.New("the answer is too large to be divided")
	}
	if rec.header.Get("X-Modelops-Source") != "engine" || x.abort {
		return b.everyone(turn{bad: refusalOf(x.cause), model: x.model}), nil
	}
	if mayBeOnes(rec.status) {
		return b.everyone(turn{alone: true}), fmt.Errorf("the engine answered %d", rec.status)
	}
	h := rec.header
	h.Set("X-Modelops-Batch", fmt.Sprint(len(b.members)))
	common := turn{status: rec.status, header: h, body: rec.body.Bytes(), model: x.model, cause: x.cause}
	if rec.status != http.StatusOK {
		return b.everyone(common), nil
	}
	whole, err := common.body, error(nil)
	if packed, plain := messages.Unpacked(h.Get("Content-Encoding"), &rec.body, answerBytes); !plain {
		if whole, err = io.ReadAll(packed); err != nil {
			return b.everyone(turn{alone: true}), err
		}
		h.Del("Content-Encoding") // no member asked for it
	}
	bodies, err := splitAnswer(b.members, whole)
	if err != nil {
		return b.everyone(turn{alone: true}), err
	}
	turns := b.everyone(common)
	for i := range turns {
		turns[i].body = bodies[i]
	}
	return turns, nil
}

// mayBeOnes says whether a refusal of the batch can be the fault of one member; then each is sent alone. A busy engine, a wrong key or an
// unsupported request applies to every member. llama-server says 500 to an input that is too long.
func mayBeOnes(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		return false
	case http.StatusInternalServerError:
		return true
	}
	return status >= 400 && status < 500
}

// everyone gives each member the same turn, with headers of its own.
func (b *batch) everyone(t turn) []turn {
	turns := make([]turn, len(b.members))
	for i := range turns {
		turns[i] = t
		turns[i].header = t.header.Clone()
	}
	return turns
}

// recorder is the client of a batch: it keeps the answer until it is divided.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	full   bool // the answer is larger than what is kept
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) { r.status = status }

func (r *recorder) Write(piece []byte) (int, error) {
	if r.body.Len()+len(piece) > answerBytes {
		r.full = true
		return 0, errors.New("the answer is larger than what is kept for dividing it")
	}
	return r.body.Write(piece)
}
