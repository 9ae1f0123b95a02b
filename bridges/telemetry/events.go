package telemetry

import (
	"time"

	"modelops/messages"
)

// Count turns the events of a decision into metrics. Loads of replicas count as their model's: replicas come and go, and counters stay.
func (m *Metrics) Count(r messages.Recorded) {
	m.EventsAppended(len(r.Events))
	name := r.Actor.Name()
	if r.Actor.Kind == messages.KindModel {
		name = messages.BaseOf(name)
	}
	for _, e := range r.Events {
		if r.Actor.Kind == messages.KindJob {
			m.countJob(r.Actor, e)
		}
		switch e := e.(type) {
		case *messages.ModelReady:
			m.ObserveLoad(name, "success", time.Duration(e.LoadMs)*time.Millisecond)
		case *messages.LoadFailed:
			m.ObserveLoad(name, e.Error.GetCode(), 0)
		case *messages.ModelDrained:
			m.ObserveUnload(name, "success")
		case *messages.PlacementDecided:
			for _, moved := range e.Moves {
				if id, err := messages.ParseActorID(moved.Holder); err == nil {
					m.ModelMoved(id.Name())
				}
			}
		case *messages.InversionFound:
			m.PriorityInverted()
		case *messages.VramReserved:
			m.LeaseGranted()
		case *messages.LeaseExpired:
			m.LeaseExpired()
		case *messages.LeaseReclaimed:
			m.LeaseReclaimed()
		case *messages.ModelLeaseLost:
			m.LeaseFenced()
		}
	}
}

// Requests counts the requests that the gateway runs itself. What the HTTP pass-through serves, it counts itself.
type Requests struct{ *Metrics }

// RequestDone tells how a request ended, 0 for well, and the time since it came in.
func (r Requests) RequestDone(model string, code messages.Code, took time.Duration) {
	name := "OK"
	if code != 0 {
		name = code.String()
	}
	r.ObserveRequest(model, name, "", took)
}

// FirstByte tells when the first byte of an answer came, measured from the request's arrival.
func (r Requests) FirstByte(model string, after time.Duration) { r.ObserveFirstByte(model, after) }

// QueueWait tells how long a granted request had waited for its place.
func (r Requests) QueueWait(model string, waited time.Duration) { r.ObserveQueueWait(model, waited) }

// Tokens counts the tokens of an answer.
func (r Requests) Tokens(model string, n int) { r.ObserveTokens(model, n) }

// Told counts the errors that a door told its callers, by their names.
func (m *Metrics) Told(door string) func(call, code string, took time.Duration) {
	return func(_, code string, _ time.Duration) {
		if code != "OK" {
			m.ErrorTold(code, door)
		}
	}
}

// ToldHTTP counts a request, and as an error what the HTTP door answered with one: there the name is the status.
func (m *Metrics) ToldHTTP(method, route, status string) {
	m.HTTPRequest(method, route, status)
	if status >= "400" {
		m.ErrorTold("HTTP_"+status, "http")
	}
}
