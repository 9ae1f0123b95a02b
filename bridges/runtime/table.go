package runtime

import (
	"regexp"
	"slices"
	"strings"

	"modelops/messages"
)

// kind is how one engine is started, asked and recognised. Engines differ by these values only. All of them cancel a
// request when its connection is closed.
type kind struct {
	name string
	// command is the program and its arguments, with macros. A group whose macro is empty is left out.
	command [][]string
	// check is the path that answers 200 when ready; checkOld is asked where releases don't know check (404).
	check, checkOld string
	// models is the path that lists the models the engine serves, "" when it has none or its list proves nothing.
	models string
	// props is the path that tells the number of slots, "" when there is none.
	props string
	// needsFile: the model's path must be a readable file or folder.
	needsFile bool
	// byArguments: without a path, the model's arguments say what it runs (-hf, -m).
	byArguments bool
	// cache is the type of the cached numbers, for the estimate.
	cache string
	// context is how many tokens a sequence gets at most where the model doesn't say; 0 is all that it was trained for.
	context uint32
	// slots is how many requests it takes at once where the model does not say; 0 is what the options say.
	slots uint32
	// remote: nothing is started here, a URL is attached.
	remote bool
	// forwarders: the port may be held by a container engine's proxy in the worker's place.
	forwarders bool
	// warm are requests of which one is sent before the worker counts as ready: the first that it understands.
	warm []request
	// progress finds the percentage of loading in its log.
	progress *regexp.Regexp
	// sleep is how it sleeps, nil when it doesn't.
	sleep *sleeping
	// attached is how one model is loaded and unloaded in a server that serves many, nil for others.
	attached *attached
	// oom is what it logs when memory runs out, in small letters, beyond outOfMemoryWords.
	oom []string
}

// request is one POST; %s in body is the model's name as JSON.
type request struct{ path, body string }

// sleeping is how an engine sleeps: it keeps its process and gives most of its device memory back.
type sleeping struct {
	// flag is the argument that allows it; a model that declares sleep is started with it.
	flag string
	// env is set for the worker along with the flag.
	env string
	// down and up are POSTs. Without down it falls asleep by itself; without up any request wakes it.
	down, up string
	// asks answers {"is_sleeping": bool} and doesn't wake it.
	asks string
}

// attached are the requests about one model to a server that runs already.
type attached struct {
	has    request // 200 when it has the model, 404 when not
	unload request
	loaded string // lists the models in memory with their sizes
	all    string // lists all models with the sizes of their files
}

var (
	chat     = request{"/v1/chat/completions", `{"model":%s,"messages":[{"role":"user","content":"Hi"}],"max_tokens":1,"temperature":0,"stream":false}`}
	complete = request{"/v1/completions", `{"model":%s,"prompt":"Hi","max_tokens":1,"temperature":0}`}
	embed    = request{"/v1/embeddings", `{"model":%s,"input":"Hi"}`}
	speaks   = []request{chat, complete, embed}
)

var kinds = []kind{
	{
		name: "embedded",
		command: [][]string{
			{"${SELF}", "worker", "--model", "${MODEL_PATH}", "--alias", "${UPSTREAM}", "--host", "127.0.0.1", "--port", "${PORT}"},
			{"--slots", "${SLOTS}"}, {"--threads", "${THREADS}"}, {"--ctx", "${CTX}"},
		},
		check: "/health", models: "/v1/models", props: "/props", needsFile: true, cache: "f32", warm: speaks[:1],
	},
	{
		name: "llama.cpp",
		command: [][]string{
			{"${LLAMA_SERVER}"}, {"--model", "${MODEL_PATH}"}, {"--alias", "${UPSTREAM}", "--host", "127.0.0.1", "--port", "${PORT}"},
			// With -np the context is shared out among the slots, so it is given for all of them together.
			{"--parallel", "${SLOTS}"}, {"--threads", "${THREADS}"}, {"--ctx-size", "${CTX_ALL}"},
			{"--batch-size", "${LOGICAL_BATCH}", "--ubatch-size", "${BATCH}"},
			{"--tensor-split", "${TENSOR_SPLIT}"}, {"--sleep-idle-seconds", "${SLEEP_SECONDS}"},
		},
		check: "/health", models: "/v1/models", props: "/props", needsFile: true, byArguments: true, cache: "f16",
		context: 4096, warm: speaks,
		sleep: &sleeping{flag: "--sleep-idle-seconds", asks: "/props"},
		oom:   []string{"cudamalloc failed", "failed to allocate", "unable to allocate", "erroroutofdevicememory"},
	},
	{
		name: "vllm",
		command: [][]string{
			{"${VLLM}", "serve", "${MODEL_PATH}", "--served-model-name", "${UPSTREAM}", "--host", "127.0.0.1", "--port", "${PORT}"},
			{"--tensor-parallel-size", "${TENSOR_PARALLEL}"}, {"--max-model-len", "${CTX}"}, {"--max-num-seqs", "${PARALLEL}"},
			{"${SLEEP_FLAG}"},
		},
		check: "/health", models: "/v1/models", needsFile: true, slots: 256, warm: speaks,
		progress: regexp.MustCompile(`(\d{1,3})% Completed`),
		sleep: &sleeping{
			flag: "--enable-sleep-mode", env: "VLLM_SERVER_DEV_MODE=1",
			down: "/sleep?level=1", up: "/wake_up", asks: "/is_sleeping",
		},
		oom: []string{"no available memory for the cache blocks", "less than desired gpu memory utilization"},
	},
	{
		// It lists what lies in Hugging Face's cache, not what it serves, so its list proves nothing.
		name: "transformers",
		command: [][]string{
			{"${TRANSFORMERS}", "serve", "${MODEL_PATH}", "--host", "127.0.0.1", "--port", "${PORT}"},
		},
		check: "/health", checkOld: "/v1/models", needsFile: true, slots: 1, warm: speaks[:2],
		progress: regexp.MustCompile(`Loading (?:checkpoint shards|weights):\s+(\d{1,3})%`),
	},
	{
		// It takes no JSON, and a sound to warm it up with costs more than the first request loses.
		name: "whisper.cpp",
		command: [][]string{
			{"${WHISPER_SERVER}", "--model", "${MODEL_PATH}", "--host", "127.0.0.1", "--port", "${PORT}"},
			{"--inference-path", "/v1/audio/transcriptions"}, {"--threads", "${THREADS}"},
		},
		check: "/health", checkOld: "/", needsFile: true, slots: 1,
		oom: []string{"cudamalloc failed", "failed to allocate", "unable to allocate"},
	},
	{
		name: "ollama", remote: true, check: "/api/version", slots: 1,
		// An empty prompt only loads; models that don't generate refuse it and embed.
		warm: []request{
			{"/api/generate", `{"model":%s,"keep_alive":-1,"stream":false}`},
			{"/api/embed", `{"model":%s,"input":"Hi","keep_alive":-1}`},
		},
		attached: &attached{
			has:    request{"/api/show", `{"model":%s}`},
			unload: request{"/api/generate", `{"model":%s,"keep_alive":0,"stream":false}`},
			loaded: "/api/ps", all: "/api/tags",
		},
		oom: []string{"requires more system memory", "cudamalloc failed"},
	},
	{name: "command", check: "/health", cache: "f16", context: 4096, forwarders: true},
	{name: "openai", check: "/v1/models", remote: true},
}

// kindOf is the model's engine: the one it names, else the one that is chosen for it.
func (r *Runtime) kindOf(spec *messages.ModelSpec) (kind, error) {
	name, err := r.Choose(spec)
	if err != nil {
		return kind{}, err
	}
	if i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name }); i >= 0 {
		k := kinds[i]
		k.needsFile = k.needsFile && !(k.byArguments && spec.Path == "" && len(spec.Args) > 0)
		return k, nil
	}
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return kind{}, messages.Errorf(messages.ModelLoadError, subject(spec), "unknown runtime %q", name).
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
