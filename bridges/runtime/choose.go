package runtime

import (
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"modelops/messages"
)

// embeddedLimit is the largest file that is given to the embedded engine unasked: it is right for small models, and far
// too slow for others.
const embeddedLimit = 64 * messages.MiB

// Choose is the runtime of a model: what it declares, else by what it has. A cmd is a command, a url is openai. A .gguf
// file goes to llama.cpp where llama-server is installed, else to the embedded engine when it is small; a folder with
// config.json and *.safetensors to vllm, else to transformers; a ggml-*.bin file to whisper.cpp. ModelLoadError names what
// was tried.
func (r *Runtime) Choose(spec *messages.ModelSpec) (string, error) {
	spec = r.resolved(spec)
	switch {
	case spec.Runtime != "":
		return spec.Runtime, nil
	case spec.Cmd != "":
		return "command", nil
	case spec.Url != "":
		return "openai", nil
	case filepath.Ext(spec.Path) == ".gguf":
		return r.chooseGGUF(spec)
	}
	st, err := os.Stat(spec.Path)
	switch {
	case err != nil:
		return "", notReadable(spec, err)
	case st.IsDir() && isTransformer(spec.Path):
		return r.installed(spec, "a folder of safetensors", []string{"vllm", r.o.VLLM}, []string{"transformers", r.o.Transformers})
	case isWhisper(spec.Path):
		return r.installed(spec, "a Whisper model", []string{"whisper.cpp", r.o.WhisperServer})
	}
	return "", messages.Errorf(messages.ModelLoadError, subject(spec),
		"no runtime is known for %s: it is no .gguf file, no folder with config.json and *.safetensors, and no ggml-*.bin file", spec.Path).
		WithHint("set runtime, or cmd to the program that runs it")
}

func (r *Runtime) chooseGGUF(spec *messages.ModelSpec) (string, error) {
	if _, err := exec.LookPath(r.o.LlamaServer); err == nil {
		return "llama.cpp", nil
	}
	size, err := fileBytes(spec)
	switch {
	case err != nil:
		return "", err
	case size <= embeddedLimit:
		return "embedded", nil
	}
	return "", messages.Errorf(messages.ModelLoadError, subject(spec),
		"no runtime for %s: llama.cpp: %s is not installed; embedded: the file has %d MiB, it is chosen up to %d MiB",
		spec.Path, r.o.LlamaServer, size/messages.MiB, embeddedLimit/messages.MiB).
		WithHint("install llama-server or name it in runtimes.llama_cpp.binary; runtime: embedded takes the small engine all the same")
}

// installed is the first of the engines {name, program} whose program is found.
func (r *Runtime) installed(spec *messages.ModelSpec, what string, engines ...[]string) (string, error) {
	var tried []string
	for _, e := range engines {
		if _, err := exec.LookPath(e[1]); err == nil {
			return e[0], nil
		}
		tried = append(tried, e[0]+": "+e[1]+" is not installed")
	}
	return "", messages.Errorf(messages.ModelLoadError, subject(spec), "no runtime for %s (%s): %s", spec.Path, what, strings.Join(tried, "; ")).
		WithHint("install one of them, or write its path under runtimes in the configuration")
}

func isTransformer(folder string) bool {
	if _, err := os.Stat(filepath.Join(folder, "config.json")); err != nil {
		return false
	}
	found, _ := filepath.Glob(filepath.Join(escapeGlob(folder), "*.safetensors"))
	return len(found) > 0
}

// ggmlMagic begins the files of whisper.cpp, which are older than GGUF.
const ggmlMagic = 0x67676d6c

// isWhisper looks at name and magic: other programs had files with that magic too.
func isWhisper(path string) bool {
	name := filepath.Base(path)
	if !strings.HasSuffix(name, ".bin") || !strings.HasPrefix(name, "ggml") && !strings.Contains(name, "whisper") {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var b [4]byte
	_, err = io.ReadFull(f, b[:])
	return err == nil && binary.LittleEndian.Uint32(b[:]) == ggmlMagic
}
