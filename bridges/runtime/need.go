package runtime

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"modelops/messages"
)

// Where an Estimate comes from.
const (
	Declared  = "declared"
	Estimated = "estimated" // from the content of the file
	FromSize  = "file size" // only from how large the file is
	Unknown   = "unknown"   // no file is known, and nothing is declared
)

// Estimate is the memory that a model will take on all its devices together, in bytes. The parts are 0 where they aren't
// known. It is advice: what is measured afterwards counts more.
type Estimate struct {
	Bytes uint64
	From  string

	Weights, KV, Compute uint64
}

// leastOther is the least that is reserved for a file of which only the size is known: it covers what an engine takes for
// itself.
const leastOther = 1000 * messages.MiB

// Need is the memory a model will take, by its Estimate, and where it may take it, as its declaration says. What is unknown is planned for as
// the options say.
func (r *Runtime) Need(ctx context.Context, spec *messages.ModelSpec) (*messages.Need, error) {
	e, err := r.Estimate(ctx, spec)
	if err != nil {
		return nil, err
	}
	need := &messages.Need{Bytes: e.Bytes, Source: messages.Need_estimated}
	switch e.From {
	case Declared:
		need.Source = messages.Need_declared
	case Unknown:
		need.Source, need.Bytes = messages.Need_assumed, r.o.UnknownBytes
	}
	w, err := r.wishOf(spec)
	if err != nil {
		return nil, err
	}
	need.Kinds, need.Devices, need.Shards = w.kinds, w.devices, w.shards
	return need, nil
}

// Estimate is what the spec declares, else what the model's files say: of a .gguf file its weights, its cache for the
// context and the slots, and its work space; of a folder its safetensors and a fifth; of others half as much again as
// their size. A command's file is the one that it names. It is 0 for remote models, and 0 and unknown where no file is known. ModelLoadError when the file can't be
// read or is malformed, or the runtime is unknown.
func (r *Runtime) Estimate(ctx context.Context, spec *messages.ModelSpec) (Estimate, error) {
	spec = r.resolved(spec)
	k, err := r.kindOf(spec)
	if err != nil {
		return Estimate{}, err
	}
	declared := Estimate{Bytes: spec.VramBytes, From: Declared}
	switch {
	case k.attached != nil && spec.VramBytes == 0:
		return r.attachedSize(ctx, k, spec)
	case k.attached != nil:
		return declared, nil
	case k.remote:
		return Estimate{From: Declared}, nil
	case r.fileOf(k, spec) == "" && !k.needsFile && spec.VramBytes > 0:
		return declared, nil
	case r.fileOf(k, spec) == "" && !k.needsFile:
		return Estimate{From: Unknown}, nil
	}
	spec = withPath(spec, r.fileOf(k, spec))
	size, err := fileBytes(spec)
	switch {
	case err != nil:
		return Estimate{}, err
	case ctx.Err() != nil:
		return Estimate{}, ctx.Err()
	case spec.VramBytes > 0:
		return declared, nil
	case filepath.Ext(spec.Path) == ".gguf":
		return r.estimateGGUF(ctx, k, spec, size)
	}
	return estimateFiles(spec, size)
}

// attachedSize asks the server that holds the model how large its files are.
func (r *Runtime) attachedSize(ctx context.Context, k kind, spec *messages.ModelSpec) (Estimate, error) {
	w, err := r.attach(k, spec, spec, "")
	if err != nil {
		return Estimate{}, err
	}
	a := r.ask(ctx, spec, w, k.attached.all)
	m, found := a.listed(upstreamName(spec))
	switch {
	case ctx.Err() != nil:
		return Estimate{}, ctx.Err()
	case a.status == 0:
		return Estimate{}, messages.Errorf(messages.ModelLoadError, subject(spec), "%s does not answer at %s: %w", k.name, w.Url, a.err).
			WithHint("start it: " + k.name + " serve; or correct runtimes." + k.name + ".url")
	case a.status == 200 && !found:
		a.status = 404
		return Estimate{}, k.lacking(spec, w, a)
	case a.status != 200:
		return Estimate{}, k.lacking(spec, w, a)
	}
	return Estimate{Bytes: m.Size + m.Size/5, From: FromSize, Weights: m.Size}, nil
}

// slots is how many requests the model takes at once: as its declaration, its engine or the options say.
func (r *Runtime) slots(k kind, spec *messages.ModelSpec) uint32 {
	switch {
	case spec.Parallel > 0:
		return spec.Parallel
	case k.slots > 0:
		return k.slots
	}
	return r.o.Slots
}

var shardName = regexp.MustCompile(`^(.*-)\d{5}(-of-\d{5}\.gguf)$`)

// fileBytes is the size of the model's file, of all parts when it is split, or of the files in its folder.
func fileBytes(spec *messages.ModelSpec) (uint64, error) {
	parts, err := partsOf(spec.Path)
	if err != nil {
		return 0, notReadable(spec, err)
	}
	var sum uint64
	for _, p := range parts {
		sum += uint64(p.info.Size())
	}
	if sum == 0 {
		return 0, messages.NewError(messages.ModelLoadError, subject(spec), "Model file is empty: "+spec.Path).
			WithHint("copy or download it again")
	}
	return sum, nil
}

// filePart is one file of a model.
type filePart struct {
	path string
	info os.FileInfo
}

// partsOf are the files of a model by name: the file, all parts when it is split, or the files in the folder.
func partsOf(path string) (out []filePart, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	names := []string{path}
	if st.IsDir() {
		names, _ = filepath.Glob(filepath.Join(escapeGlob(path), "*"))
	} else if m := shardName.FindStringSubmatch(path); m != nil {
		names, _ = filepath.Glob(escapeGlob(m[1]) + "?????" + m[2])
	}
	for _, name := range names {
		if st, err := os.Stat(name); err == nil && st.Mode().IsRegular() {
			out = append(out, filePart{name, st})
		}
	}
	return out, nil
}

func notReadable(spec *messages.ModelSpec, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return messages.NewError(messages.ModelLoadError, subject(spec), "Model file not found: "+spec.Path).
			WithHint("put the file there or correct path in the configuration").WithCause(err)
	}
	return messages.Errorf(messages.ModelLoadError, subject(spec), "Model file can't be read: %w", err).
		WithHint("let the user that runs modelops read it")
}

var globSpecial = regexp.MustCompile(`[*?\[\\]`)

func escapeGlob(s string) string { return globSpecial.ReplaceAllString(s, `\$0`) }
