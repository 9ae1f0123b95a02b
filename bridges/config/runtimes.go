package config

// The runtimes that more than one place here speaks of.
const (
	RuntimeEmbedded     = "embedded"
	RuntimeLlamaCpp     = "llama.cpp"
	RuntimeVLLM         = "vllm"
	RuntimeTransformers = "transformers"
	RuntimeWhisperCpp   = "whisper.cpp"
	RuntimeOllama       = "ollama"
	RuntimeCommand      = "command"
	RuntimeOpenAI       = "openai"
)

// runtimes are the words that Model.Runtime may hold, each with the key that says what it runs.
var runtimes = []struct{ name, source string }{
	{RuntimeEmbedded, "path"},
	{RuntimeLlamaCpp, "path"},
	{RuntimeVLLM, "path"},
	{RuntimeTransformers, "path"},
	{RuntimeWhisperCpp, "path"},
	{RuntimeOllama, "url"},
	{RuntimeCommand, "cmd"},
	{RuntimeOpenAI, "url"},
}

// sourceOf is the key that says what a runtime runs; empty for an unknown one.
func sourceOf(runtime string) string {
	for _, r := range runtimes {
		if r.name == runtime {
			return r.source
		}
	}
	return ""
}

// wordsOf lists the words of a field whose tag names a table of them instead of the words; nil for all others. Empty means "not said".
func wordsOf(table string) []string {
	if table != "runtimes" {
		return nil
	}
	out := []string{""}
	for _, r := range runtimes {
		out = append(out, r.name)
	}
	return out
}
