package runtime

import (
	"cmp"
	"log/slog"
	"net/http"
	"os"
	"time"

	"modelops/bridges/process"
	"modelops/messages"
)

// Options of a Runtime. Zero values mean the defaults in brackets.
type Options struct {
	Self          string // path of the modelops binary, for the embedded engine [this executable]
	LlamaServer   string // path or name of llama-server [llama-server, from PATH]
	VLLM          string // path or name of vllm [vllm, from PATH]
	Transformers  string // path or name of transformers, version 5 or later [transformers, from PATH]
	WhisperServer string // path or name of whisper-server [whisper-server, from PATH]
	OllamaURL     string // where ollama answers, for models that don't say [http://127.0.0.1:11434]
	LogDir        string // one folder a model below it [a folder in the temporary directory]
	// Env is our environment, NAME=value: workers inherit an allow-list of it and what their declarations name. [os.Environ()]
	Env []string
	// PassEnv are further names that every worker inherits; one that ends in * is a prefix. [none]
	PassEnv []string
	// Withheld are variables that a worker gets only when its declaration names them, whatever PassEnv says: those of callers' keys. [none]
	Withheld []string
	Log      *slog.Logger // [discard]
	Threads  uint32       // threads a worker where the model doesn't say [the engine's own default]
	// UnknownBytes is planned for a model of which nothing is known. [0]
	UnknownBytes uint64
	Slots        uint32        // parallel requests a worker where the model doesn't say [4]
	StopGrace    time.Duration // how long a worker may take to end after SIGTERM where Stop isn't told [10 s]
	// Measure tells the memory that the process and its children hold on their devices. [resident memory]
	Measure func(pid int64) (uint64, error)
	// MeasureAsleep is Measure for a worker whose engine sleeps; known is false where Measure tells it. [Measure]
	MeasureAsleep func(pid int64) (bytes uint64, known bool, err error)
	// DeviceEnv tells the environment that binds a worker to the devices of its placement: for CUDA
	// CUDA_VISIBLE_DEVICES=UUID,UUID in the order of the shares. [nothing]
	DeviceEnv func(p *messages.Placement) []string
	// Secret is the N-th secret that stands in a model's declaration in force, "" when there is none; may be nil.
	Secret func(model string, n int) string
	// WorkerArgs are added to the embedded engine's command, for tests that want it slow.
	WorkerArgs []string
	// Processes starts and stops the workers. [one of its own]
	Processes *process.Supervisor
}

// Runtime starts and ends workers. Its methods may be called at the same time.
type Runtime struct {
	o         Options
	env       process.Environment
	log       *slog.Logger
	probes    *http.Client
	processes *process.Supervisor
	logs      process.Logs
	ram       bool // it is resident memory that is measured
}

// New makes a Runtime. It touches nothing until it is asked to.
func New(o Options) *Runtime {
	if o.Self == "" {
		o.Self, _ = os.Executable()
	}
	o.LlamaServer = cmp.Or(o.LlamaServer, "llama-server")
	o.VLLM = cmp.Or(o.VLLM, "vllm")
	o.Transformers = cmp.Or(o.Transformers, "transformers")
	o.WhisperServer = cmp.Or(o.WhisperServer, "whisper-server")
	o.OllamaURL = cmp.Or(o.OllamaURL, "http://127.0.0.1:11434")
	if o.LogDir == "" {
		o.LogDir = os.TempDir() + "/modelops-logs"
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Slots == 0 {
		o.Slots = 4
	}
	if o.StopGrace == 0 {
		o.StopGrace = 10 * time.Second
	}
	if o.Processes == nil {
		o.Processes = process.New(process.Options{Log: o.Log, Logs: process.Logs{Root: o.LogDir}})
	}
	ram := o.Measure == nil
	if ram {
		o.Measure = process.ResidentBytes
	}
	return &Runtime{
		o: o, ram: ram, env: process.NewEnvironment(o.Env), log: o.Log, processes: o.Processes, logs: process.Logs{Root: o.LogDir},
		// A probe opens its own connection and closes it: nothing is left behind when the worker goes. It never follows a
		// redirect, which would lead to another server.
		probes: &http.Client{
			Transport:     &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment, DialContext: dialEither},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// LogPath is the newest log of a model, "" when it has none.
func (r *Runtime) LogPath(model string) string { return r.logs.Newest(model) }

// subject names a model in errors.
func subject(spec *messages.ModelSpec) string { return "model/" + spec.GetName() }

// upstreamName is what the engine calls the model.
func upstreamName(spec *messages.ModelSpec) string {
	return cmp.Or(spec.UseModelName, publicName(spec))
}

// publicName is the name that callers use: of a replica the model's.
func publicName(spec *messages.ModelSpec) string { return cmp.Or(spec.ReplicaOf, spec.Name) }
