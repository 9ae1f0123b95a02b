package runtime

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"modelops/bridges/process"
	"modelops/messages"
)

// flags are the arguments of a model's engine, as its declaration adds them.
type flags []string

// flagsOf are the declared arguments, behind those of a command, behind what the environment says in llama.cpp's variables. A command that
// can't be taken apart has none: it fails when it is started. Of a shell's command the words that it runs count too.
func flagsOf(spec *messages.ModelSpec) flags {
	var out flags
	for _, pair := range spec.Env {
		name, value, _ := strings.Cut(pair, "=")
		if flag, ok := variables[name]; ok {
			out = append(out, flag, value)
		}
	}
	words, _ := process.SplitWords(spec.Cmd)
	out = append(out, words...)
	if i := slices.Index(words, "-c"); i > 0 && i+1 < len(words) && slices.Contains(shells, filepath.Base(words[0])) {
		inner, _ := process.SplitWords(words[i+1])
		out = append(slices.DeleteFunc(out, func(w string) bool { return w == "-c" || w == words[i+1] }), inner...)
	}
	return append(out, spec.Args...)
}

var shells = []string{"sh", "bash", "dash", "zsh"}

// variables are those that llama.cpp reads in place of arguments, as far as memory and devices depend on them.
var variables = map[string]string{
	"LLAMA_ARG_MODEL": "--model", "LLAMA_ARG_CTX_SIZE": "--ctx-size", "LLAMA_ARG_N_PARALLEL": "--parallel", "LLAMA_ARG_N_GPU_LAYERS": "--n-gpu-layers",
	"LLAMA_ARG_CACHE_TYPE_K": "--cache-type-k", "LLAMA_ARG_CACHE_TYPE_V": "--cache-type-v", "LLAMA_ARG_FLASH_ATTN": "--flash-attn",
	"LLAMA_ARG_UBATCH": "--ubatch-size", "LLAMA_ARG_BATCH": "--batch-size", "LLAMA_ARG_EMBEDDINGS": "--embeddings", "LLAMA_ARG_RERANKING": "--reranking",
	"LLAMA_ARG_DEVICE": "--device", "LLAMA_ARG_MAIN_GPU": "--main-gpu", "LLAMA_ARG_TENSOR_SPLIT": "--tensor-split",
}

// own tells whether a flag is given with a value that leaves the choice to the engine: 0 or less, or a word such as auto.
func (f flags) own(names ...string) bool {
	text, ok := f.value(names...)
	if !ok {
		return false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return err == nil && n <= 0 || text == "auto"
}

// value is the last value of a flag, as the engines read them: "--flag value" or "--flag=value".
func (f flags) value(names ...string) (string, bool) {
	for i := len(f) - 1; i >= 0; i-- {
		name, value, joined := strings.Cut(f[i], "=")
		switch {
		case !slices.Contains(names, name):
		case joined:
			return value, true
		case i+1 < len(f):
			return f[i+1], true
		}
	}
	return "", false
}

// has tells whether a flag is given, with or without a value.
func (f flags) has(names ...string) bool {
	return slices.ContainsFunc(f, func(word string) bool {
		name, _, _ := strings.Cut(word, "=")
		return slices.Contains(names, name)
	})
}

// number is the value of a flag that is a whole number from 0 on.
func (f flags) number(names ...string) (uint64, bool) {
	text, ok := f.value(names...)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 63)
	return n, err == nil
}
