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

// count turns what happened into metrics.
func count(m *telemetry.Metrics, r messages.Recorded) {
	m.EventsAppended(len(r.Events))
	for _, e := range r.Events {
		switch e := e.(type) {
		case *messages.ModelReady:
			m.ObserveLoad(r.Actor.Name(), "success", time.Duration(e.LoadMs)*time.Millisecond)
		case *messages.LoadFailed:
			m.ObserveLoad(r.Actor.Name(), e.Error.GetCode(), 0)
		case *messages.ModelDrained:
			m.ObserveUnload(r.Actor.Name(), "success")
		case *messages.VramReserved:
			m.LeaseGranted()
		case *messages.LeaseExpired:
			m.LeaseExpired()
		}
	}
}

// refresh hands in what is only known by asking, before each scrape.
func (d *daemon) refresh() {
	d.metrics.SetModelStates(d.gateway.Models())
	d.metrics.SetGPUs(d.board.gpuViews(true))
	d.metrics.SetJournalLag(d.feed.lag())
}
