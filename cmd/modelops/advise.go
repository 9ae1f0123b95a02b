package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"modelops/bridges/config"
	"modelops/bridges/runtime"
	"modelops/messages"
)

// advise looks at the declared models as the runtimes will: a declaration that contradicts itself about devices is refused at each placement, and
// one of which no memory is known is planned for as resources.unknown_vram_mb says.
func advise(ctx context.Context, cfg *config.Config) (wrong config.Problems, doubtful []string) {
	r := runtime.New(runtime.Options{LlamaServer: cfg.Runtimes.LlamaCpp.Binary, VLLM: cfg.Runtimes.VLLM.Binary, Transformers: cfg.Runtimes.Transformers.Binary,
		WhisperServer: cfg.Runtimes.WhisperCpp.Binary, OllamaURL: cfg.Runtimes.Ollama.URL, LogDir: filepath.Join(os.TempDir(), "modelops-logs")})
	for _, spec := range cfg.Specs() {
		warnings, err := r.Advise(ctx, spec)
		at := "models.declare." + spec.Name
		if e := messages.AsError(err); e != nil {
			wrong = append(wrong, config.Problem{Path: at, What: e.Message, Expected: e.Hint})
		}
		for _, w := range warnings {
			doubtful = append(doubtful, fmt.Sprintf("%s: %s; it is planned for with %d MiB (resources.unknown_vram_mb): declare vram_mb", at, w, cfg.Resources.UnknownVRAMMB))
		}
	}
	return wrong, doubtful
}
