package explain

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"modelops/messages"
)

// Request is what memory knows of one request. It holds no word of its prompt.
type Request struct {
	ID    string
	Asked string           // the model's name as the caller wrote it
	Model messages.ActorID // zero when there is no such model
	Began time.Time
	// Granted is when it got its place at a worker; zero while it waits, or when it never did.
	Granted  time.Time
	Position int // in the queue at its arrival; 0 = it didn't wait, or it isn't known
	URL      string
	Pid      int64
	Ended    time.Time     // zero while it runs
	Code     messages.Code // 0 = well
	Refusal  string        // why it got no place
	// Sent counts how often this id was seen, retries and other requests of the same id included.
	Sent int
}

// Waited is how long the request waited for its place, up to now.
func (q *Request) Waited(now time.Time) time.Duration {
	switch {
	case !q.Granted.IsZero():
		return q.Granted.Sub(q.Began)
	case !q.Ended.IsZero():
		return q.Ended.Sub(q.Began)
	}
	return now.Sub(q.Began)
}

// over is when it stopped waiting; zero while it waits.
func (q *Request) over() time.Time { return cmp.Or(q.Granted, q.Ended) }

// waitedAt tells whether the request waited for its place at a time.
func (q *Request) waitedAt(at time.Time) bool {
	until := q.over()
	return !at.Before(q.Began) && (until.IsZero() || !at.After(until))
}

// explainRequest says what a request went through, and what it waited for.
func (r *reading) explainRequest(p Present) *messages.Explanation {
	q := r.question.Request
	out := &messages.Explanation{Subject: r.question.Subject, Kind: "request"}
	out.Summary = fmt.Sprintf("The request for %s came at %s and %s.", cmp.Or(q.Asked, "a model"), moment(q.Began), q.fate(p.Now))
	if r.asked != nil {
		out.Summary += fmt.Sprintf(" It caused decision %s: %s was not wanted before.", r.number(r.asked), short(r.model))
	}
	if waited := r.waitedFor(); waited != nil {
		out.Summary += fmt.Sprintf(" It waited for decision %s: %s %s.", r.number(waited), short(r.model), modelText(*waited))
	}
	if q.Sent > 1 {
		out.Summary += fmt.Sprintf(" This id was seen %d times; this is the last.", q.Sent)
	}
	stands := q.Granted.IsZero() && r.model != "" && (q.Ended.IsZero() || q.Code != 0)
	if stands { // where its model stands is why it has no place
		out.Summary += " " + r.modelSummary(p)
		if e := r.heldByPins(p); e != nil && q.Ended.IsZero() {
			out.Summary += " It waits: " + e.Message + "."
		}
		out.Weighed, out.WouldChange = r.weighed(), r.requestChanges(q, p)
	}
	out.Reasons = r.during(q)
	return out
}

func (r *reading) requestChanges(q *Request, p Present) []string {
	switch q.Code {
	case messages.BulkheadRejection:
		return []string{"fewer requests at the same time, or a later try", "a higher resilience.bulkhead.max_concurrent, max_queue_size or queue_timeout for " + short(r.model)}
	case messages.ModelNotFound:
		return nil
	}
	return r.modelChanges(p)
}

// fate is the request's story in half a sentence.
func (q *Request) fate(now time.Time) string {
	place := ""
	if q.Position > 0 {
		place = fmt.Sprintf(", at place %d of the queue", q.Position)
	}
	waited := span(q.Waited(now).Milliseconds())
	end := "with " + outcomeName(q.Code)
	if q.Refusal != "" {
		end += ": " + q.Refusal
	}
	switch {
	case q.Granted.IsZero() && q.Ended.IsZero():
		return "has waited for " + waited + place
	case q.Granted.IsZero():
		return fmt.Sprintf("ended after %s without a place at a worker, %s", waited, end)
	}
	at := q.URL
	if q.Pid > 0 {
		at += fmt.Sprintf(" (pid %d)", q.Pid)
	}
	if q.Ended.IsZero() {
		return fmt.Sprintf("waited for %s%s; it has run for %s at %s", waited, place, span(now.Sub(q.Granted).Milliseconds()), at)
	}
	return fmt.Sprintf("waited for %s%s; it ran for %s at %s and ended %s", waited, place, span(q.Ended.Sub(q.Granted).Milliseconds()), at, end)
}

func outcomeName(c messages.Code) string {
	if c == 0 {
		return "OK"
	}
	return c.String()
}

// waitedFor is the decision that made its model ready while it waited; nil when it waited for a place only, or not at all.
func (r *reading) waitedFor() *fact {
	q := r.question.Request
	if q.Granted.IsZero() || !q.Granted.After(q.Began) {
		return nil
	}
	for i := len(r.window) - 1; i >= 0; i-- {
		f := &r.window[i]
		if _, ok := f.event.(*messages.ModelReady); ok {
			return f
		}
	}
	return nil
}

// during lists what happened to the model while the request waited, between what memory knows of the request itself.
func (r *reading) during(q *Request) []*messages.Reason {
	said := func(at time.Time, event, text string) *messages.Reason {
		return &messages.Reason{At: moment(at), Actor: messages.KindGateway, Event: event, Text: text}
	}
	out := slices.Concat([]*messages.Reason{said(q.Began, "request.came", "asked for "+q.Asked)}, r.reasons(r.model))
	if !q.Granted.IsZero() {
		text := "got its place at " + q.URL
		if q.Pid > 0 {
			text += fmt.Sprintf(", pid %d", q.Pid)
		}
		out = append(out, said(q.Granted, "request.granted", text))
	}
	if !q.Ended.IsZero() {
		out = append(out, said(q.Ended, "request.ended", outcomeName(q.Code)))
	}
	return out
}

// explainAsked says it of a request that memory has forgotten, from the decision that it caused.
func (r *reading) explainAsked(p Present) *messages.Explanation {
	out := &messages.Explanation{Subject: r.question.Subject, Kind: "request", Reasons: r.reasons(r.model), Weighed: r.weighed(), WouldChange: r.modelChanges(p)}
	out.Summary = fmt.Sprintf("The request came before %s and is no longer in memory; it caused decision %s: %s. %s", moment(r.asked.at), r.number(r.asked),
		reason(*r.asked, r.model).Text, r.modelSummary(p))
	return out
}
