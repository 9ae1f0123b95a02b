package runtime

import (
	"slices"
	"strings"
	"testing"

	"modelops/messages"
)

// TestSecretsInArguments: engines that read a secret from a variable get it there, and other declarations are told of.
func TestSecretsInArguments(t *testing.T) {
	for name, c := range map[string]struct {
		kind, argv, shown, variables string
		bare                         bool
	}{
		"llama-server":     {"command", "/opt/llama-server --api-key k --port 1", "/opt/llama-server --port 1", "LLAMA_API_KEY=k", false},
		"joined":           {"command", "llama-server --hf-token=k", "llama-server", "HF_TOKEN=k", false},
		"another's binary": {"llama.cpp", "llama-cuda -hft k", "llama-cuda", "HF_TOKEN=k", false},
		"vllm":             {"vllm", "vllm serve m --api-key k", "vllm serve m", "VLLM_API_KEY=k", false},
		"no value":         {"command", "llama-server --api-key", "llama-server --api-key", "", false},
		"a file":           {"command", "llama-server --api-key-file f", "llama-server --api-key-file f", "", false},
		"a program":        {"command", "prog --api-key k", "prog --api-key k", "", true},
		"a header":         {"command", "prog -H x-api-key:k", "prog -H x-api-key:k", "", true},
		"nothing":          {"command", "prog --port 1 --max-tokens 3", "prog --port 1 --max-tokens 3", "", false},
	} {
		k := kind{name: c.kind}
		shown, variables := k.concealed(strings.Fields(c.argv))
		if !slices.Equal(shown, strings.Fields(c.shown)) || strings.Join(variables, " ") != c.variables {
			t.Errorf("%s: %q %q", name, shown, variables)
		}
		if got := k.barely(&messages.ModelSpec{Cmd: c.argv}); got != c.bare {
			t.Errorf("%s: a secret is an argument: %v", name, got)
		}
	}
}
