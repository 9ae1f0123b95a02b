package main

import "modelops/bridges/openai"

// batching is how a model's small requests share: by its own words, else everybody's.
func (d *daemon) batching(model string) openai.Batching {
	b := d.config().BatchOf(model)
	return openai.Batching{Window: b.Window, MaxSize: b.MaxSize, Completions: b.Completions}
}
