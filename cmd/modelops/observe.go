package main

import (
	"time"

	"modelops/bridges/telemetry"
	"modelops/messages"
)

// gatewayMetrics fits the metrics to the gateway's observer. What the HTTP pass-through serves, it counts itself.
type gatewayMetrics struct{ m *telemetry.Metrics }

func (g gatewayMetrics) RequestDone(model string, code messages.Code, took time.Duration) {
	name := "OK"
	if code != 0 {
		name = code.String()
	}
	g.m.ObserveRequest(model, name, "", took)
}

func (g gatewayMetrics) FirstByte(model string, after time.Duration) {
	g.m.ObserveFirstByte(model, after)
}
func (g gatewayMetrics) QueueWait(model string, waited time.Duration) {
	g.m.ObserveQueueWait(model, waited)
}
func (g gatewayMetrics) Tokens(model string, n int) { g.m.ObserveTokens(model, n) }

// count turns what happened into metrics. Loads of replicas count as their model's: replicas come and go, and counters stay.
func count(m *telemetry.Metrics, r messages.Recorded) {
	m.EventsAppended(len(r.Events))
	name := r.Actor.Name()
	if r.Actor.Kind == messages.KindModel {
		name = messages.BaseOf(name)
	}
	for _, e := range r.Events {
		switch e := e.(type) {
		case *messages.ModelReady:
			m.ObserveLoad(name, "success", time.Duration(e.LoadMs)*time.Millisecond)
		case *messages.LoadFailed:
			m.ObserveLoad(name, e.Error.GetCode(), 0)
		case *messages.ModelDrained:
			m.ObserveUnload(name, "success")
		case *messages.VramReserved:
			m.LeaseGranted()
		case *messages.LeaseExpired:
			m.LeaseExpired()
		}
	}
}

// refresh hands in what is only known by asking, before each scrape.
func (d *daemon) refresh() {
	d.metrics.SetModelStates(d.ledgers().Models())
	d.metrics.SetGPUs(d.view.ReadGPUs())
	d.metrics.SetJournalLag(d.feed.lag())
}

// told counts the errors that a door told its callers, by their names.
func (d *daemon) told(door string) func(call, code string, took time.Duration) {
	return func(_, code string, _ time.Duration) {
		if code != "OK" {
			d.metrics.ErrorTold(code, door)
		}
	}
}

// toldHTTP counts a request, and as an error what the HTTP door answered with one: there the name is the status.
func (d *daemon) toldHTTP(method, route, status string) {
	d.metrics.HTTPRequest(method, route, status)
	if status >= "400" {
		d.metrics.ErrorTold("HTTP_"+status, "http")
	}
}
