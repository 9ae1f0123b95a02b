package runtime

import (
	"os"
	"path/filepath"
	"strings"

	"modelops/bridges/process"
	"modelops/messages"
)

// fileOf is the file or folder that a model's memory is estimated from: its path, else the one that its command names, when it is here. A
// command may name files of a container, which nobody can read from outside; "" then.
func (r *Runtime) fileOf(k kind, spec *messages.ModelSpec) string {
	if spec.Path != "" || k.remote || k.needsFile {
		return spec.Path
	}
	m := process.Macros{Env: r.env, Known: knownMacros, Values: map[string]string{"MODEL_ID": publicName(spec), "UPSTREAM": upstreamName(spec)}}
	f := flagsOf(spec)
	if named, ok := f.value("-m", "--model", "--model-path", "--model_path"); ok {
		if path := existing(m, named); path != "" {
			return path
		}
	}
	for _, word := range f {
		_, value, joined := strings.Cut(word, "=")
		if !joined || !strings.HasPrefix(word, "-") {
			value = word
		}
		if path := existing(m, value); path != "" && (filepath.Ext(path) == ".gguf" || isTransformer(path)) {
			return path
		}
	}
	return ""
}

// existing is a word with its macros replaced, when it is the path of something that is here.
func existing(m process.Macros, word string) string {
	path, err := m.Expand(word)
	if err != nil || !strings.ContainsAny(path, "/.") {
		return ""
	}
	st, err := os.Stat(path)
	if err != nil || st.IsDir() && !isTransformer(path) {
		return ""
	}
	return path
}

// withPath is what an estimate depends on of a declaration, with another path.
func withPath(spec *messages.ModelSpec, path string) *messages.ModelSpec {
	if spec.Path == path {
		return spec
	}
	return &messages.ModelSpec{Name: spec.Name, Runtime: spec.Runtime, Path: path, Cmd: spec.Cmd, Args: spec.Args, Env: spec.Env, Shards: spec.Shards,
		VramBytes: spec.VramBytes, ContextLength: spec.ContextLength, Parallel: spec.Parallel}
}
