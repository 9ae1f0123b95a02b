package runtime

import (
	"context"
	"fmt"
	"slices"
	"strings"

	gguf "github.com/gpustack/gguf-parser-go"

	"modelops/messages"
)

// Advise looks at a declaration without starting anything. The error is a contradiction that would be refused at each placement; warnings say
// what isn't known of the model's memory, what its engine will refuse, and which secret others can read.
func (r *Runtime) Advise(ctx context.Context, spec *messages.ModelSpec) (warnings []string, _ error) {
	if _, err := r.wishOf(spec); err != nil {
		return nil, err
	}
	k, err := r.kindOf(spec)
	if err != nil || k.remote {
		return nil, nil
	}
	if k.barely(spec) {
		warnings = append(warnings, "it gives a secret as an argument, which every user of this machine can read in the list of processes: give it in env, or in a file, if the program takes it from there")
	}
	if w := r.shortBatch(ctx, k, r.resolved(spec)); w != "" {
		warnings = append(warnings, w)
	}
	if k.needsFile || spec.VramBytes > 0 {
		return warnings, nil // what is wrong with a file is said when it is loaded: it may be mounted later
	}
	if e, err := r.Estimate(ctx, spec); err == nil && e.From == Unknown {
		warnings = append(warnings, fmt.Sprintf("its memory is unknown: cmd or args name no model file that is here; it is planned for with %s (resources.unknown_vram_mb): declare vram_mb", messages.FormatBytes(r.o.UnknownBytes)))
	}
	return warnings, nil
}

// shortBatch says that llama.cpp is told to make embeddings with a batch that is shorter than the context; "" when it isn't. Where the batch is
// ours to choose (batchFor), it is long enough.
func (r *Runtime) shortBatch(ctx context.Context, k kind, spec *messages.ModelSpec) string {
	f := flagsOf(spec)
	llama := k.name == "llama.cpp" && f.has("-ub", "--ubatch-size") || k.name == "command" && slices.ContainsFunc(f, func(word string) bool { return strings.Contains(strings.ToLower(word), "llama") })
	if !llama {
		return ""
	}
	var a gguf.GGUFArchitecture
	if path := r.fileOf(k, spec); path != "" {
		a, _ = guarded(ctx, func() (gguf.GGUFArchitecture, error) { return architectureOf(path) }) // a file that can't be read says nothing
	}
	if !f.has(embedding...) && !embeds(a) {
		return ""
	}
	u := r.runOf(k, spec)
	most := u.wholeBatch(a.MaximumContextLength)
	if n, ok := f.number("-np", "--parallel"); ok && n > 1 && u.total > 0 {
		most /= n
	}
	batch, logical := uint64(ownBatch), uint64(ownLogicalBatch)
	if u.batch > 0 {
		batch = u.batch
	}
	if n, ok := f.number("-b", "--batch-size"); ok && n > 0 {
		logical = n
	}
	if batch = min(batch, logical); most <= batch {
		return ""
	}
	return fmt.Sprintf("an input of an embedding or a ranking has at most %d tokens, which is the engine's batch, and the context has %d: add --batch-size %d --ubatch-size %d", batch, most, most, most)
}
