package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"modelops/bridges/config"
	"modelops/bridges/runtime"
	"modelops/messages"
)

// advise looks at the declared models as the runtimes will: what will be refused at each placement is wrong, and what isn't known or what an engine
// will refuse is doubtful.
func advise(ctx context.Context, cfg *config.Config) (wrong config.Problems, doubtful []string) {
	r := runtime.New(runtime.Options{LlamaServer: cfg.Runtimes.LlamaCpp.Binary, VLLM: cfg.Runtimes.VLLM.Binary, Transformers: cfg.Runtimes.Transformers.Binary,
		WhisperServer: cfg.Runtimes.WhisperCpp.Binary, OllamaURL: cfg.Runtimes.Ollama.URL, LogDir: filepath.Join(os.TempDir(), "modelops-logs"), UnknownBytes: uint64(cfg.Resources.UnknownVRAMMB) * messages.MiB})
	for _, spec := range cfg.Specs() {
		warnings, err := r.Advise(ctx, spec)
		at := "models.declare." + spec.Name
		if e := messages.AsError(err); e != nil {
			wrong = append(wrong, config.Problem{Path: at, What: e.Message, Expected: e.Hint})
		}
		if spec.Shards > 1 && len(cfg.Resources.Devices) == 0 && (spec.Runtime == config.RuntimeEmbedded || spec.Runtime == config.RuntimeWhisperCpp) {
			wrong = append(wrong, config.Problem{Path: at + ".shards", What: fmt.Sprintf("%d, and %s runs on one device, so it can never be loaded", spec.Shards, spec.Runtime), Expected: "no shards, or another runtime"})
		}
		for _, w := range warnings {
			doubtful = append(doubtful, at+": "+w)
		}
	}
	return wrong, doubtful
}

// advises hands a configuration that rules from now on to advising, in place of one that it hasn't looked at yet.
func (d *daemon) advises(cfg *config.Config) {
	select {
	case <-d.advised:
	default:
	}
	select {
	case d.advised <- cfg:
	default: // another one came in between
	}
}

// advising logs what `config check` says of the configurations that rule, each sentence once for as long as it is true. It reads the models' files, so
// neither the start nor an apply waits for it.
func (d *daemon) advising(ctx context.Context) {
	told := map[string]bool{}
	for _, notice := range d.cfg.Notices() { // serve has told these
		told[notice] = true
	}
	for {
		select {
		case <-ctx.Done():
			return
		case cfg := <-d.advised:
			now := map[string]bool{}
			for _, text := range advice(ctx, cfg) {
				if now[text] = true; !told[text] {
					d.log.Warn(text)
				}
			}
			told = now
		}
	}
}

// advice is all that is wrong or doubtful about a configuration that can be read.
func advice(ctx context.Context, cfg *config.Config) []string {
	wrong, doubtful := advise(ctx, cfg)
	out := slices.Clone(cfg.Notices())
	for _, p := range wrong {
		out = append(out, strings.TrimPrefix(p.String(), ": "))
	}
	return append(out, doubtful...)
}
