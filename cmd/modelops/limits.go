package main

import (
	"context"

	"modelops/actors/gateway"
	"modelops/messages"
)

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

// Queue lists the requests that run and wait on this host.
func (c operations) Queue(context.Context) (*messages.QueueView, error) {
	return c.d.gateway.Queue(), nil
}
