package runtime

import (
	"path/filepath"
	"strings"

	"modelops/bridges/process"
	"modelops/messages"
)

// inVariable are the flags of engines whose values they also read from a variable. Every user of the machine can read the arguments of a process,
// and only its own user the environment.
var inVariable = map[string]map[string]string{
	"llama-server": {"--api-key": "LLAMA_API_KEY", "--hf-token": "HF_TOKEN", "-hft": "HF_TOKEN"},
	"vllm":         {"--api-key": "VLLM_API_KEY", "--hf-token": "HF_TOKEN"},
}

// concealed takes secrets out of the arguments of an engine that reads them from variables too, and returns those, NAME=value.
func (k kind) concealed(argv []string) (shown, variables []string) {
	flags := inVariable[filepath.Base(argv[0])]
	if flags == nil {
		flags = inVariable[map[string]string{"llama.cpp": "llama-server", "vllm": "vllm"}[k.name]] // its binary may have any name
	}
	if flags == nil {
		return argv, nil
	}
	for i := 0; i < len(argv); i++ {
		flag, value, joined := strings.Cut(argv[i], "=")
		name := flags[flag]
		if name == "" || !joined && i+1 == len(argv) {
			shown = append(shown, argv[i])
			continue
		}
		if !joined {
			i++
			value = argv[i]
		}
		variables = append(variables, name+"="+value)
	}
	return shown, variables
}

// barely tells whether a declaration gives a secret as an argument that concealed doesn't take out.
func (k kind) barely(spec *messages.ModelSpec) bool {
	words, err := process.SplitWords(spec.Cmd)
	if err != nil {
		return false // that is said elsewhere
	}
	if len(words) == 0 {
		words = []string{k.name}
	}
	shown, _ := k.concealed(append(words, spec.Args...))
	for i := 1; i < len(shown); i++ {
		if messages.SecretFlag(shown[i-1]) && !strings.HasPrefix(shown[i], "-") && !strings.Contains(shown[i-1], "file") {
			return true
		}
	}
	found := false
	for _, word := range shown {
		messages.ReplaceSecrets(word, func(s string) string { found = true; return s })
	}
	return found
}
