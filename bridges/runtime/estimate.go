package runtime

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	gguf "github.com/gpustack/gguf-parser-go"

	"modelops/messages"
)

// parseTime is how long reading a header may take; a file on a disk that hangs must not hold a decision up.
const parseTime = 2 * time.Second

// Figures beyond these are no model's: they are taken for damage, or would make sums overflow.
const (
	mostLayers = 1 << 12
	mostWidth  = 1 << 18
	mostTokens = 1 << 26
)

// errMalformed is what every malformedError is: the cause of a refusal of a file that can't be what it says.
var errMalformed = errors.New("malformed model file")

// malformedError tells what is wrong with a file.
type malformedError struct{ why string }

func (e malformedError) Error() string        { return e.why }
func (e malformedError) Is(target error) bool { return target == errMalformed }

func malformed(format string, args ...any) error { return malformedError{fmt.Sprintf(format, args...)} }

// run is how a model will be run, as far as its memory depends on it.
type run struct {
	context       uint64 // tokens of one sequence, 0 = the model's own, at most cap of it
	cap           uint64 // 0 = no such limit
	trims         bool   // the engine trims a context to what the model was trained for; llama.cpp holds it nevertheless
	total         uint64 // tokens of all sequences when the arguments say so, else 0
	slots         uint64
	keys, values  string
	layers        uint64    // how many go to the device
	split         []float64 // ends of the devices' shares, the last is 1
	noFlash, part bool      // part: not all layers go to the device
	embeds        bool      // it makes embeddings, or ranks
	raises        bool      // then its batch is raised to the context
	own           bool      // the engine takes the context that the model was trained for, of all sequences together
	batch         uint64    // tokens that are worked on at once; 0 = the engine's own
}

// runOf reads the declaration and, of engines that take llama.cpp's arguments, those.
func (r *Runtime) runOf(k kind, spec *messages.ModelSpec) run {
	u := run{
		context: uint64(spec.ContextLength), cap: uint64(k.context), slots: uint64(r.slots(k, spec)),
		keys: k.cache, values: k.cache, layers: 999,
	}
	if k.name == "embedded" {
		u.trims = true
		return u
	}
	f := flagsOf(spec)
	u.total, _ = f.number("-c", "--ctx-size")
	u.own = f.own("-c", "--ctx-size")
	u.raises = k.name == "llama.cpp"
	u.embeds = f.has(embedding...)
	u.batch, _ = f.number("-ub", "--ubatch-size")
	if f.own("-np", "--parallel") { // the engine's own, which shares one cache
		u.slots = ownSlots
	}
	if n, ok := f.number("-np", "--parallel"); ok && n > 0 {
		u.slots = min(n, 1<<12)
	}
	if t, ok := f.value("-ctk", "--cache-type-k"); ok {
		u.keys = t
	}
	if t, ok := f.value("-ctv", "--cache-type-v"); ok {
		u.values = t
	}
	if n, ok := f.number("-ngl", "--gpu-layers", "--n-gpu-layers"); ok {
		u.layers, u.part = n, true
	}
	flash, _ := f.value("-fa", "--flash-attn")
	u.noFlash = flash == "off" || flash == "0" || flash == "false"
	shares, _ := f.value("-ts", "--tensor-split")
	u.split = splitOf(shares, spec.Shards)
	return u
}

// ownSlots is how many requests llama.cpp takes at once when it may choose.
const ownSlots = 4

// splitOf turns llama.cpp's proportions 3,1 into ends 0.75,1; without any, shards get equal parts.
func splitOf(shares string, shards uint32) []float64 {
	var parts []float64
	var sum float64
	for text := range strings.FieldsFuncSeq(shares, func(c rune) bool { return c == ',' || c == '/' }) {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n >= 0 && n < 1e9) {
			return nil
		}
		parts, sum = append(parts, n), sum+n
	}
	if len(parts) == 0 && shards > 1 {
		for range min(shards, 64) {
			parts, sum = append(parts, 1), sum+1
		}
	}
	if len(parts) < 2 || sum <= 0 {
		return nil
	}
	ends := make([]float64, len(parts))
	var at float64
	for i, p := range parts {
		at += p
		ends[i] = min(at/sum, 1)
	}
	ends[len(ends)-1] = 1
	return ends
}

// tokens is how many the cache holds for all sequences together, of a model that was trained for so many.
func (u run) tokens(trained uint64) uint64 {
	one := u.context
	if one == 0 {
		one = trained
		if u.cap > 0 && (one == 0 || one > u.cap) {
			one = u.cap
		}
	}
	if u.trims && trained > 0 {
		one = min(one, trained)
	}
	all := one * u.slots
	switch {
	case u.total > 0:
		all = u.total
	case u.own && trained > 0:
		all = trained
	}
	return min(max(all, 1), mostTokens)
}

// guarded runs what reads a model file in a goroutine of its own: the parser might hang on some damaged files, and disks
// do. A read that hangs keeps that goroutine until it returns.
func guarded[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	limit := time.NewTimer(parseTime)
	defer limit.Stop()
	var none T
	select {
	case <-ctx.Done():
		return none, ctx.Err()
	case <-limit.C:
		return none, fmt.Errorf("can't be read within %s", parseTime)
	case got := <-done:
		return got.value, got.err
	}
}

func (r *Runtime) estimateGGUF(ctx context.Context, k kind, spec *messages.ModelSpec, size uint64) (Estimate, error) {
	u := r.runOf(k, spec)
	e, err := guarded(ctx, func() (Estimate, error) { return readGGUF(spec.Path, size, u) })
	switch {
	case ctx.Err() != nil:
		return Estimate{}, ctx.Err()
	case errors.Is(err, errMalformed):
		return Estimate{}, messages.Errorf(messages.ModelLoadError, subject(spec), "Model file is malformed: %s: %w", spec.Path, err).
			WithHint("copy or download it again")
	case err != nil:
		r.log.Warn("a model's memory is guessed by its size", "model", spec.Name, "path", spec.Path, "err", err)
		e = bySize(size)
	}
	return addCompanions(spec, e)
}

// contextFor is how many tokens a sequence is given by an engine whose row limits undeclared contexts: with more than the
// model was trained for it would only waste memory. 0 leaves it to the engine.
func (r *Runtime) contextFor(ctx context.Context, k kind, spec *messages.ModelSpec) uint32 {
	if spec.ContextLength > 0 || k.context == 0 || k.command == nil {
		return spec.ContextLength
	}
	trained, err := guarded(ctx, func() (uint64, error) { return trainedTokens(r.fileOf(k, spec)) })
	if err != nil || trained == 0 {
		return k.context
	}
	return uint32(min(trained, uint64(k.context)))
}

func trainedTokens(path string) (uint64, error) {
	a, err := architectureOf(path)
	return a.MaximumContextLength, err
}

func architectureOf(path string) (a gguf.GGUFArchitecture, err error) {
	f, err := parseGGUF(path)
	if err != nil {
		return a, err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return f.Architecture(), nil
}

func bySize(size uint64) Estimate {
	return Estimate{Bytes: max(size+size/2, leastOther), From: FromSize, Weights: size}
}

// readGGUF estimates from the file. An error that isn't errMalformed means that only its size can be used.
func readGGUF(path string, size uint64, u run) (Estimate, error) {
	f, err := parseGGUF(path)
	if err != nil {
		return Estimate{}, err
	}
	return sumGGUF(f, size, u)
}

// parseGGUF reads the header, not through mmap: a file that shrinks meanwhile would end us by SIGBUS.
func parseGGUF(path string) (f *gguf.GGUFFile, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, err = nil, malformed("%v", p)
			if strings.Contains(fmt.Sprint(p), "GGMLType(") { // a number format that is newer than the parser
				err = fmt.Errorf("can't be estimated: %v", p)
			}
		}
	}()
	f, err = gguf.ParseGGUFFile(path, gguf.SkipLargeMetadata())
	if err != nil {
		return nil, malformed("%v", err)
	}
	return f, whole(path, f)
}

// whole tells whether all weights that the header names are in the file.
func whole(path string, f *gguf.GGUFFile) error {
	if len(f.TensorInfos) == 0 {
		return malformed("it holds no weights")
	}
	if len(f.SplitSizes) > 1 {
		return wholeParts(path, f)
	}
	return holds(f.TensorInfos, uint64(f.TensorDataStartOffset), uint64(f.Size), "it")
}

// holds tells whether the weights that a file names are in it.
func holds(weights []gguf.GGUFTensorInfo, start, size uint64, name string) error {
	for _, t := range weights {
		if bytes := t.Bytes(); t.Offset > size || bytes > size || start+t.Offset+bytes > size {
			return malformed("%s ends before the weights %.64q do", name, t.Name)
		}
	}
	return nil
}

// wholeParts tells the same of a split model: each part has to hold the weights that its own header names.
func wholeParts(path string, f *gguf.GGUFFile) error {
	rest := f.TensorInfos
	for i, part := range gguf.CompleteShardGGUFFilename(path) {
		n, err := weightsIn(part)
		if err != nil {
			return err
		}
		if n > uint64(len(rest)) || i >= len(f.SplitSizes) || i >= len(f.SplitTensorDataStartOffsets) {
			return malformed("%s names %d weights, and %d are left", filepath.Base(part), n, len(rest))
		}
		if err := holds(rest[:n], uint64(f.SplitTensorDataStartOffsets[i]), uint64(f.SplitSizes[i]), filepath.Base(part)); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if named, ok := f.Header.MetadataKV.Get("split.tensors.count"); ok && fmt.Sprint(named.Value) != strconv.Itoa(len(f.TensorInfos)) {
		return malformed("%v weights are named, the parts have %d", named.Value, len(f.TensorInfos))
	}
	return nil
}

// weightsIn is the number of weights that a file's header names: magic, version, number, in 4, 4 and 8 bytes.
func weightsIn(path string) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, malformed("%v", err)
	}
	defer f.Close()
	var b [16]byte
	if _, err := io.ReadFull(f, b[:]); err != nil || string(b[:4]) != "GGUF" {
		return 0, malformed("%s is no GGUF file", filepath.Base(path))
	}
	return binary.LittleEndian.Uint64(b[8:]), nil
}

func sumGGUF(f *gguf.GGUFFile, size uint64, u run) (e Estimate, err error) {
	defer func() {
		if p := recover(); p != nil {
			e, err = Estimate{}, fmt.Errorf("can't be estimated: %v", p)
		}
	}()
	a := f.Architecture()
	layers, width, trained := a.BlockCount, a.EmbeddingLength, a.MaximumContextLength
	if layers > mostLayers || width > mostWidth || trained > mostTokens {
		return Estimate{}, malformed("%d layers of width %d for %d tokens", layers, width, trained)
	}
	tokens := u.tokens(trained)
	if u.embeds = u.embeds || embeds(a); u.embeds && u.raises && u.batch == 0 {
		u.batch = u.wholeBatch(trained)
	}
	est := f.EstimateLLaMACppRun(u.options(tokens)...)
	e = Estimate{From: Estimated, Weights: size}
	var weights uint64
	for i, d := range est.Devices {
		if i > 0 {
			weights += uint64(d.Weight.Sum())
			e.KV += uint64(d.KVCache.Sum())
			e.Compute += uint64(d.Computation.Sum())
		}
	}
	if u.part && !est.FullOffloaded {
		e.Weights = weights
	}
	// A tenth for what the allocator rounds up and what the engine keeps besides.
	e.Bytes = e.Weights + e.Weights/10 + e.KV + e.Compute
	mostKV := layers * width * 2 * 4 * tokens // 32 bits a number, no heads shared
	if !u.part && e.Bytes < size/2 || e.Bytes > 4*size+2*mostKV+messages.GiB {
		return Estimate{}, fmt.Errorf("can't be estimated: %d bytes for a file of %d", e.Bytes, size)
	}
	return e, nil
}

// cacheTypes are llama.cpp's names.
var cacheTypes = map[string]gguf.GGMLType{
	"f32": gguf.GGMLTypeF32, "f16": gguf.GGMLTypeF16, "bf16": gguf.GGMLTypeBF16, "q8_0": gguf.GGMLTypeQ8_0,
	"q5_1": gguf.GGMLTypeQ5_1, "q5_0": gguf.GGMLTypeQ5_0, "q4_1": gguf.GGMLTypeQ4_1, "q4_0": gguf.GGMLTypeQ4_0,
	"iq4_nl": gguf.GGMLTypeIQ4_NL,
}

func (u run) options(tokens uint64) []gguf.GGUFRunEstimateOption {
	o := []gguf.GGUFRunEstimateOption{
		gguf.WithLLaMACppContextSize(int32(tokens)), gguf.WithParallelSize(int32(u.slots)), gguf.WithLLaMACppOffloadLayers(u.layers),
	}
	if t, ok := cacheTypes[u.keys]; ok {
		o = append(o, gguf.WithLLaMACppCacheKeyType(t))
	}
	if t, ok := cacheTypes[u.values]; ok {
		o = append(o, gguf.WithLLaMACppCacheValueType(t))
	}
	if !u.noFlash { // llama.cpp takes it wherever the device can
		o = append(o, gguf.WithFlashAttention())
	}
	if u.batch > 0 {
		o = append(o, gguf.WithLLaMACppPhysicalBatchSize(int32(min(u.batch, mostTokens))), gguf.WithLLaMACppLogicalBatchSize(int32(min(max(u.batch, 2048), mostTokens))))
	}
	if u.split != nil {
		o = append(o, gguf.WithTensorSplitFraction(u.split))
	}
	return o
}

// addCompanions adds the files that the arguments load beside the model: projector, draft model, adapters.
func addCompanions(spec *messages.ModelSpec, e Estimate) (Estimate, error) {
	f := flagsOf(spec)
	for _, names := range [][]string{{"--mmproj", "-mm"}, {"--model-draft", "-md"}, {"--lora"}} {
		path, ok := f.value(names...)
		if !ok || strings.Contains(path, "${") {
			continue
		}
		st, err := os.Stat(path)
		if err != nil {
			return Estimate{}, notReadable(&messages.ModelSpec{Name: spec.Name, Path: path}, err)
		}
		size := uint64(st.Size())
		e.Weights += size
		e.Bytes += size + size/10
	}
	return e, nil
}
