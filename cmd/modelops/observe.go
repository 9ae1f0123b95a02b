package main

import (
	"strconv"
	"time"

	"modelops/bridges/telemetry"
	"modelops/messages"
)

// gatewayMetrics fits the metrics to the gateway's observer.
type gatewayMetrics struct{ m *telemetry.Metrics }

func (g gatewayMetrics) RequestDone(model string, code messages.Code, took time.Duration) {
	status := 200
	if code != 0 {
		status = code.Wire().HTTP
	}
	g.m.ObserveRequest(model, strconv.Itoa(status), "", took)
}

func (g gatewayMetrics) FirstByte(model string, after time.Duration) {
	g.m.ObserveFirstByte(model, after)
}
func (g gatewayMetrics) QueueWait(model string, waited time.Duration) {
	g.m.ObserveQueueWait(model, waited)
}
func (g gatewayMetrics) QueueDepth(model string, waiting, running int) {
	g.m.SetQueueDepth(model, waiting, running)
}
func (g gatewayMetrics) Breaker(model, state string) { g.m.SetBreaker(model, state) }
func (g gatewayMetrics) Tokens(model string, n int)  { g.m.AddTokens(model, n) }
