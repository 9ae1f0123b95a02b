package runtime

import (
	"slices"
	"strings"

	"modelops/messages"
)

// kind is how one engine is started, asked and recognised. Engines differ by these values only.
type kind struct {
	name string
	// command is the program and its arguments, with macros. A group whose macro is empty is left out.
	command [][]string
	// check is the path that answers 200 when ready.
	check string
	// models is the path that lists the models the engine answers for, "" when it has none to be trusted.
	models string
	// props is the path that tells the number of slots, "" when there is none.
	props string
	// needsFile: the model's path must be a readable file or folder.
	needsFile bool
	// kvBytes is the width of one cached number, for the estimate.
	kvBytes uint64
	// remote: nothing is started here, a URL is attached.
	remote bool
	// forwarders: the port may be held by a container engine's proxy in the worker's place.
	forwarders bool
}

var kinds = []kind{
	{
		name: "embedded",
		command: [][]string{
			{"${SELF}", "worker", "--model", "${MODEL_PATH}", "--alias", "${UPSTREAM}", "--host", "127.0.0.1", "--port", "${PORT}"},
			{"--slots", "${SLOTS}"}, {"--threads", "${THREADS}"}, {"--ctx", "${CTX}"},
		},
		check: "/health", models: "/v1/models", props: "/props", needsFile: true, kvBytes: 4,
	},
	{
		name: "llama.cpp",
		command: [][]string{
			{"${LLAMA_SERVER}", "--model", "${MODEL_PATH}", "--alias", "${UPSTREAM}", "--host", "127.0.0.1", "--port", "${PORT}"},
			// With -np the context is shared out among the slots, so it is given for all of them together.
			{"--parallel", "${SLOTS}"}, {"--threads", "${THREADS}"}, {"--ctx-size", "${CTX_ALL}"},
		},
		check: "/health", models: "/v1/models", props: "/props", needsFile: true, kvBytes: 2,
	},
	{name: "command", check: "/health", kvBytes: 2, forwarders: true},
	{name: "openai", check: "/v1/models", remote: true},
}

func kindOf(spec *messages.ModelSpec) (kind, error) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == spec.Runtime })
	if i >= 0 {
		return kinds[i], nil
	}
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return kind{}, messages.Errorf(messages.ModelLoadError, subject(spec), "unknown runtime %q", spec.Runtime).
		WithHint("the runtimes are " + strings.Join(names, ", "))
}

// checkPath is the path that answers 200 when the worker is ready; "" means that running is enough.
func (k kind) checkPath(spec *messages.ModelSpec) string {
	switch {
	case spec.CheckEndpoint == "none":
		return ""
	case spec.CheckEndpoint == "" || k.remote:
		return k.check
	}
	return "/" + strings.TrimPrefix(spec.CheckEndpoint, "/")
}

// baseURL brings a URL to the form that paths such as /v1/models are added to.
func baseURL(url string) string {
	return strings.TrimSuffix(strings.TrimRight(url, "/"), "/v1")
}
