package runtime

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

// fit are figures of an engine that follow from its model's file; 0 leaves them to the engine.
type fit struct{ context, batch uint32 }

// launch is a worker that is about to be started.
type launch struct {
	spec process.Spec
	url  string // where it will answer
}

func (r *Runtime) plan(k kind, spec *messages.ModelSpec, placement *messages.Placement, nonce string, fit fit) (*launch, error) {
	if k.needsFile {
		if _, err := fileBytes(spec); err != nil {
			return nil, err
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	m := r.macros(k, spec, port, fit.context)
	if fit.batch > 0 {
		m.Values["BATCH"], m.Values["LOGICAL_BATCH"] = strconv.FormatUint(uint64(fit.batch), 10), strconv.FormatUint(uint64(max(fit.batch, ownLogicalBatch)), 10)
	}
	argv, err := k.argv(spec, m)
	if err != nil {
		return nil, err
	}
	wish, err := r.wishOf(spec)
	if err != nil {
		return nil, err
	}
	argv = append(wish.renumber(argv, placement), r.extra(k)...)
	argv, concealed := k.concealed(argv)
	where, err := m.Expand(orDefault(spec.Url, defaultURL))
	if err != nil {
		return nil, err
	}
	env, err := r.workerEnv(k, spec, placement, m)
	if err != nil {
		return nil, err
	}
	where = baseURL(where)
	for _, variable := range concealed {
		name, _, _ := strings.Cut(variable, "=")
		env = append(slices.DeleteFunc(env, func(other string) bool { return strings.HasPrefix(other, name+"=") }), variable)
	}
	env = append(env, modelVar+"="+spec.Name, portVar+"="+strconv.FormatUint(uint64(portOf(where)), 10), urlVar+"="+where)
	return &launch{url: where, spec: process.Spec{Argv: argv, Env: env, Nonce: nonce, LogPath: r.logs.Path(spec.Name, nonce, time.Now())}}, nil
}

func (r *Runtime) extra(k kind) []string {
	if k.name == "embedded" {
		return r.o.WorkerArgs
	}
	return nil
}

// macros are the macros of this model with their values; one without a value is empty. context is of one sequence.
func (r *Runtime) macros(k kind, spec *messages.ModelSpec, port, context uint32) process.Macros {
	number := func(n uint32) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(uint64(n), 10)
	}
	threads := spec.Threads
	if threads == 0 {
		threads = r.o.Threads
	}
	slots := r.slots(k, spec)
	shards := spec.Shards
	if shards == 1 {
		shards = 0
	}
	return process.Macros{Env: r.env, Known: knownMacros, Values: map[string]string{
		"PORT": number(port), "MODEL_ID": publicName(spec), "UPSTREAM": upstreamName(spec), "MODEL_PATH": spec.Path,
		"SLOTS": number(slots), "THREADS": number(threads), "CTX": number(spec.ContextLength),
		"CTX_ALL": number(context * slots), "SHARDS": number(shards), "PARALLEL": number(spec.Parallel),
		"SELF": r.o.Self, "LLAMA_SERVER": r.o.LlamaServer, "VLLM": r.o.VLLM, "TRANSFORMERS": r.o.Transformers,
		"WHISPER_SERVER": r.o.WhisperServer, "TENSOR_SPLIT": tensorSplit(spec), "TENSOR_PARALLEL": tensorParallel(spec),
		"BATCH": "", "LOGICAL_BATCH": "", "SLEEP_SECONDS": sleepSeconds(k, spec), "SLEEP_FLAG": sleepFlag(k, spec),
	}}
}

// tensorSplit are llama.cpp's proportions for a split model: its shares are equal. What the model's arguments say stays.
func tensorSplit(spec *messages.ModelSpec) string {
	if spec.Shards < 2 || flagsOf(spec).has("-ts", "--tensor-split") {
		return ""
	}
	return strings.Repeat("1,", int(spec.Shards)-1) + "1"
}

// tensorParallel is how many devices vLLM splits each tensor over, unless the model's arguments divide it otherwise.
func tensorParallel(spec *messages.ModelSpec) string {
	if spec.Shards < 2 || flagsOf(spec).has("-tp", "--tensor-parallel-size", "-pp", "--pipeline-parallel-size") {
		return ""
	}
	return strconv.FormatUint(uint64(spec.Shards), 10)
}

// sleepSeconds is the idle time after which an engine that has no sleep command falls asleep, unless the model's arguments say it.
func sleepSeconds(k kind, spec *messages.ModelSpec) string {
	if sleepFlag(k, spec) == "" {
		return ""
	}
	return strconv.FormatInt(max((spec.GetSleepMs()+999)/1000, 1), 10)
}

// sleepFlag is the argument that lets an engine sleep, for a model that declares sleep and doesn't have it among its own.
func sleepFlag(k kind, spec *messages.ModelSpec) string {
	if k.sleep == nil || spec.GetSleepMs() <= 0 || flagsOf(spec).has(k.sleep.flag) {
		return ""
	}
	return k.sleep.flag
}

// knownMacros names what declarations may use.
const knownMacros = "${PORT}, ${MODEL_ID}, ${MODEL_PATH}, ${SLOTS}, ${THREADS}, ${CTX}, ${env.NAME}, and in cmdStop ${PID}"

// argv is the program with its arguments: the kind's own or the spec's command, then the spec's further arguments, which
// therefore win.
func (k kind) argv(spec *messages.ModelSpec, m process.Macros) ([]string, error) {
	var argv []string
	for _, group := range k.command {
		words, err := m.ExpandAll(group)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(words, "") {
			argv = append(argv, words...)
		}
	}
	if k.command == nil {
		words, err := process.SplitWords(spec.Cmd)
		if err != nil {
			return nil, err
		}
		if argv, err = m.ExpandAll(words); err != nil {
			return nil, err
		}
	}
	if len(argv) == 0 || argv[0] == "" {
		return nil, messages.NewError(messages.ModelLoadError, subject(spec), "there is no command to run").
			WithHint("set cmd to a program and its arguments")
	}
	more, err := m.ExpandAll(spec.Args)
	return append(argv, more...), err
}

// workerEnv is what a worker inherits of our environment, then the device's, the engine's and the model's. Later ones win.
func (r *Runtime) workerEnv(k kind, spec *messages.ModelSpec, placement *messages.Placement, m process.Macros) ([]string, error) {
	env := r.env.Inherited(r.o.PassEnv, r.o.Withheld)
	if r.o.DeviceEnv != nil && placement.Gpu() != "" {
		maps.Copy(env, process.NewEnvironment(r.o.DeviceEnv(placement)))
	}
	if k.canSleep(spec) && k.sleep.env != "" {
		maps.Copy(env, process.NewEnvironment([]string{k.sleep.env}))
	}
	pairs, err := m.ExpandAll(spec.Env)
	if err != nil {
		return nil, err
	}
	for _, name := range pairs {
		if value, set := r.env[name]; set && !strings.Contains(name, "=") {
			env[name] = value
		}
	}
	maps.Copy(env, process.NewEnvironment(pairs))
	if err := r.bind(env, spec, placement); err != nil {
		return nil, err
	}
	out := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out, nil
}

// freePort asks the kernel for a port and gives it back. Another program may take it before the worker does: then the worker
// ends, and the next start asks for another.
func freePort() (uint32, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("no free port on 127.0.0.1: %w", err)
	}
	defer l.Close()
	return uint32(l.Addr().(*net.TCPAddr).Port), nil
}

func portOf(where string) uint32 {
	u, err := url.Parse(where)
	if err != nil {
		return 0
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		return uint32(n)
	}
	if u.Scheme == "https" {
		return 443
	}
	return 80
}

func orDefault(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// apiKey is the key for a remote URL, read from the environment each time and never stored.
func (r *Runtime) apiKey(spec *messages.ModelSpec) (string, error) {
	if spec.ApiKeyEnv == "" {
		return "", nil
	}
	if key := r.env[spec.ApiKeyEnv]; key != "" {
		return key, nil
	}
	return "", messages.Errorf(messages.ModelLoadError, subject(spec), "the variable %s, which holds the key for %s, is not set", spec.ApiKeyEnv, spec.Url).
		WithHint("set it in the environment of modelops")
}
