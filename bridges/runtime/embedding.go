package runtime

import (
	"context"
	"strings"

	gguf "github.com/gpustack/gguf-parser-go"

	"modelops/messages"
)

// llama.cpp works on an embedding's or a ranking's whole input at once, and refuses one that is longer than its batch, which is 512 tokens
// where nobody says otherwise.

// embedding are llama.cpp's arguments for models that make embeddings or rank.
var embedding = []string{"--embedding", "--embeddings", "--rerank", "--reranking", "--pooling"}

const ownBatch, ownLogicalBatch = 512, 2048

// embeds tells whether a model's file says that it makes embeddings.
func embeds(a gguf.GGUFArchitecture) bool {
	return a.PoolingType > 0 || strings.Contains(a.Architecture, "bert")
}

// wholeBatch is a batch that takes an input as long as the context; 0 where the engine's own does.
func (u run) wholeBatch(trained uint64) uint64 {
	slots := u.slots
	u.slots = 1
	n := u.tokens(trained)
	if trained > 0 { // a longer input means nothing to the model
		n = min(n, trained)
	}
	if u.slots = slots; n <= ownBatch {
		return 0
	}
	return n
}

// batchFor is the batch that an engine is started with; 0 leaves it to the engine, or to the model's arguments.
func (r *Runtime) batchFor(ctx context.Context, k kind, spec *messages.ModelSpec) uint32 {
	f := flagsOf(spec)
	if k.name != "llama.cpp" || f.has("-ub", "--ubatch-size") {
		return 0
	}
	a, err := guarded(ctx, func() (gguf.GGUFArchitecture, error) { return architectureOf(spec.Path) })
	if err != nil || !f.has(embedding...) && !embeds(a) {
		return 0
	}
	return uint32(r.runOf(k, spec).wholeBatch(a.MaximumContextLength))
}
