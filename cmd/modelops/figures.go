package main

import (
	"modelops/actors/gateway"
	"modelops/bridges/openai"
)

// figures are a model's limits: its own where the configuration has some, else the general ones.
func (d *daemon) figures(model string) gateway.Figures {
	r := d.config().ResilienceOf(model)
	return gateway.Figures{
		Limits:           gateway.Limits{MaxConcurrent: r.Bulkhead.MaxConcurrent, MaxQueue: r.Bulkhead.MaxQueueSize},
		FailureThreshold: r.CircuitBreaker.FailureThreshold, ResetTimeout: r.CircuitBreaker.ResetTimeout, HangTimeout: r.CircuitBreaker.HangTimeout, QueueTimeout: r.Bulkhead.QueueTimeout,
	}
}

// hostFigures are what bounds all models together, and how their callers are ordered.
func (d *daemon) hostFigures() gateway.HostFigures {
	cfg := d.config()
	host := cfg.Resilience.Host
	return gateway.HostFigures{
		Limits:  gateway.Limits{MaxConcurrent: host.MaxConcurrent, MaxQueue: host.MaxQueueSize},
		Classes: cfg.Queue.Classes, DefaultClass: cfg.Queue.DefaultClass, MaxWait: cfg.Queue.MaxWait,
		DrainTimeout: cfg.Queue.DrainTimeout,
	}
}

// batching is how a model's small requests share: as it declares, else as the configuration says for all.
func (d *daemon) batching(model string) openai.Batching {
	b := d.config().BatchOf(model)
	return openai.Batching{Window: b.Window, MaxSize: b.MaxSize, Completions: b.Completions}
}
