//go:build e2e

package e2e_test

import (
	"fmt"
	"testing"
	"time"
)

// TestBudgetsOfBatching measures what micro-batching gives to many callers, and what it costs a lone one, and writes it to docs/benchmarks.md.
func TestBudgetsOfBatching(t *testing.T) {
	f := newFindings()
	const declared = `
resilience: {bulkhead: {max_concurrent: 64, max_queue_size: 1024}}
models:
  declare:
    embedded: {runtime: embedded, path: TINY}
`
	on, off := start(t, declared), start(t, declared+"batch: {max_size: 1}\n")
	targets := []target{{"on", on.at.HTTP}, {"off", off.at.HTTP}}
	const note = "two daemons, each with a worker of its own; in turns, medians of 3 rounds; "
	for _, model := range []string{"embedded"} {
		task := timing{Targets: targets, Model: model, Callers: 64, Rounds: 3, For: 2 * time.Second, Requests: 200,
			Path: "/v1/embeddings", Body: fmt.Sprintf(`{"model":%q,"input":"she was not sorry to see him"}`, model)}
		var rate rounds
		perform(t, "throughput", task, &rate)
		r := rate.compare("on", "off", ratio)
		f.add(finding{"embeddings, c=64, " + model, "not slower than without", fmt.Sprintf("%.2f times (%.0f against %.0f requests/s)", r, median(rate["on"]), median(rate["off"])), r >= 1, note + "2 s a round"})
		var took quantiles
		perform(t, "sequential", task, &took)
		more := seconds(took.P50.compare("on", "off", difference))
		f.add(finding{"embeddings, one caller, " + model, "p50 adds <= 0.05 ms", fmt.Sprintf("%s (p50 %s against %s)", added(more), ms(seconds(median(took.P50["on"]))), ms(seconds(median(took.P50["off"])))), more <= 50*time.Microsecond, note + "200 requests a round, 50 to each in turn"})
	}
	table := f.table("make bench")
	fmt.Print(table)
	publish(t, "batch", table)
}
