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

// Need is the device memory a model will take: what its spec declares, else an estimate from its file (weights with a
// tenth on top and the cache for its context; for other formats half as much again as the file, shared by the shards, at
// least 1000 MiB). It is 0 for remote models and for commands whose file isn't known. ModelLoadError when the file can't
// be read or nobody knows the runtime.
func (r *Runtime) Need(ctx context.Context, spec *messages.ModelSpec) (uint64, error) {
	k, err := kindOf(spec)
	if err != nil {
		return 0, err
	}
	if k.remote {
		return 0, nil
	}
	if spec.Path == "" && !k.needsFile {
		return spec.VramBytes, nil
	}
	size, err := fileBytes(spec)
	if err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if spec.VramBytes > 0 {
		return spec.VramBytes, nil
	}
	return r.estimate(k, spec, size), nil
}

func (r *Runtime) estimate(k kind, spec *messages.ModelSpec, size uint64) uint64 {
	if filepath.Ext(spec.Path) == ".gguf" {
		if shape, err := readShape(spec.Path); err == nil {
			return size + size/10 + shape.cacheBytes(spec.ContextLength, r.slots(spec), k.kvBytes)
		}
	}
	const least = 1000 * messages.MiB
	return max(size*3/2/uint64(max(spec.Shards, 1)), least)
}

func (r *Runtime) slots(spec *messages.ModelSpec) uint32 {
	if spec.Parallel > 0 {
		return spec.Parallel
	}
	return r.o.Slots
}

var shardName = regexp.MustCompile(`^(.*-)\d{5}(-of-\d{5}\.gguf)$`)

// fileBytes is the size of the model's file, of all parts when it is split, or of the files in its folder.
func fileBytes(spec *messages.ModelSpec) (uint64, error) {
	f, err := os.Open(spec.Path)
	if err != nil {
		return 0, notReadable(spec, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, notReadable(spec, err)
	}
	parts := []string{spec.Path}
	if st.IsDir() {
		parts, _ = filepath.Glob(filepath.Join(escapeGlob(spec.Path), "*"))
	} else if m := shardName.FindStringSubmatch(spec.Path); m != nil {
		parts, _ = filepath.Glob(escapeGlob(m[1]) + "?????" + m[2])
	}
	var sum uint64
	for _, p := range parts {
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
			sum += uint64(st.Size())
		}
	}
	if sum == 0 {
		return 0, messages.NewError(messages.ModelLoadError, subject(spec), "Model file is empty: "+spec.Path).
			WithHint("copy or download it again")
	}
	return sum, nil
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
