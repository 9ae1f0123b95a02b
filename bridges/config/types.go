package config

import "time"

// Config is the effective configuration of one host. Durations are written as seconds (5) or as Go durations ("5s");
// sizes are MiB; paths are absolute after Load.
type Config struct {
	Title      string     `yaml:"title" jsonschema_description:"A name for people."`
	Version    string     `yaml:"version" jsonschema:"oneof_type=string;number" jsonschema_description:"Version of this file, for people."`
	Host       string     `yaml:"host" jsonschema:"pattern=^[A-Za-z0-9][A-Za-z0-9_-]{0\\,62}$" jsonschema_description:"Name of this host; --host and MOC_HOST override it."`
	DataDir    string     `yaml:"data_dir" jsonschema:"minLength=1" jsonschema_description:"Where this host keeps its journal, logs and jobs. Relative to this file."`
	Server     Server     `yaml:"server"`
	Cluster    Cluster    `yaml:"cluster"`
	NATS       NATS       `yaml:"nats"`
	Keys       []Key      `yaml:"keys" jsonschema_description:"Callers by API key. With any, an unknown key is refused."`
	Auth       Auth       `yaml:"auth"`
	Journal    Journal    `yaml:"journal"`
	Resources  Resources  `yaml:"resources"`
	Models     Models     `yaml:"models"`
	Runtimes   Runtimes   `yaml:"runtimes"`
	Load       Loading    `yaml:"load"`
	Scheduler  Scheduler  `yaml:"scheduler"`
	Queue      Queue      `yaml:"queue"`
	Learning   Learning   `yaml:"learning"`
	Goals      Goals      `yaml:"goals"`
	Resilience Resilience `yaml:"resilience"`
	Batch      Batch      `yaml:"batch"`
	Log        Log        `yaml:"log"`

	origins   map[string]origin // by key path; a path that is missing has its default
	notices   []string
	guessable []string            // hashes of short keys
	secrets   []string            // texts that came from variables and must not be shown
	around    []string            // secrets of our environment that the file may not name
	callers   []string            // variables of callers' keys
	named     []substitute        // variables that its declarations name
	inherited map[string][]string // variables that models get from our environment, NAME=value
	written   map[string]words    // how the declarations of models were written, by name
	sealed    map[string][]string // secrets that stand in them, by name
	recipes   recipesWritten
}

// Server says where the host listens. Port 0 picks a free port.
type Server struct {
	Bind           string        `yaml:"bind" jsonschema_description:"Address or name to listen on. Any other than loopback needs a key and TLS."`
	Names          []string      `yaml:"names" jsonschema_description:"Further names by which clients reach this host, for Host headers and its own certificate."`
	Insecure       bool          `yaml:"insecure" jsonschema_description:"Whether an address that other machines reach may do without TLS: keys, prompts and answers then travel in plain text."`
	TLS            TLS           `yaml:"tls"`
	CORS           CORS          `yaml:"cors"`
	Limits         Limits        `yaml:"limits"`
	ZMQPort        int           `yaml:"zmq_port" jsonschema:"minimum=0,maximum=65535" jsonschema_description:"Legacy ZeroMQ requests. 0 picks a free port."`
	GRPCPort       int           `yaml:"grpc_port" jsonschema:"minimum=0,maximum=65535" jsonschema_description:"gRPC. 0 picks a free port."`
	RESTPort       int           `yaml:"rest_port" jsonschema:"minimum=0,maximum=65535" jsonschema_description:"REST, the OpenAI API and metrics. 0 picks a free port."`
	NATSPort       int           `yaml:"nats_port" jsonschema:"minimum=0,maximum=65535" jsonschema_description:"Embedded NATS server. 0 picks a free port."`
	MaxWorkers     int           `yaml:"max_workers" jsonschema:"minimum=1,maximum=4096" jsonschema_description:"Legacy requests that are answered at the same time."`
	MaxBodyMB      int           `yaml:"max_body_mb" jsonschema:"minimum=1,maximum=4096" jsonschema_description:"Largest request body, MiB."`
	BodyBudgetMB   int           `yaml:"body_budget_mb" jsonschema:"minimum=1,maximum=1048576" jsonschema_description:"Memory for the bodies of all requests together, at every door, MiB. Who doesn't fit waits up to 10 s."`
	DrainTimeout   time.Duration `yaml:"drain_timeout" min:"0s" max:"24h" jsonschema_description:"How long running requests may take to end when the server stops."`
	MaxConnections int           `yaml:"max_connections" jsonschema:"minimum=0,maximum=1048576" jsonschema_description:"Connections of callers at each of the doors HTTP, gRPC and NATS. 0 is as many as the limit on open files lets through."`
	RequireKey     bool          `yaml:"require_key" jsonschema_description:"Whether every request needs an API key. True makes anonymous none."`
	Anonymous      string        `yaml:"anonymous" jsonschema:"enum=none,enum=infer,enum=read,enum=operate,enum=admin" jsonschema_description:"Role of a request without a key, over HTTP or gRPC from this machine."`
}

// Journal says where decisions are kept and how often a state is saved beside them.
type Journal struct {
	Dir           string `yaml:"dir" jsonschema:"minLength=1" jsonschema_description:"Folder of the journal. Relative to data_dir."`
	SnapshotEvery int    `yaml:"snapshot_every" jsonschema:"minimum=1,maximum=1000000" jsonschema_description:"Events of one actor between two snapshots."`
	MinFreeMB     int    `yaml:"min_free_mb" jsonschema:"minimum=1,maximum=1048576" jsonschema_description:"Decisions are refused when less disk than this is free, MiB."`
	Archive       string `yaml:"archive" jsonschema:"enum=none,enum=hub" jsonschema_description:"Where a copy of the journal is kept beside those of other hosts: hub is nats.hub, in three copies."`
}

// Resources are the limits of this host's devices.
type Resources struct {
	GPUPollInterval      time.Duration `yaml:"gpu_poll_interval" min:"100ms" max:"1h" jsonschema_description:"How often the devices are read."`
	VRAMSoftLimitMB      int           `yaml:"vram_soft_limit_mb" jsonschema:"minimum=1,maximum=16777216" jsonschema_description:"Memory per GPU that we use at most, MiB."`
	EvictionThresholdPct int           `yaml:"eviction_threshold_pct" jsonschema:"minimum=1,maximum=100" jsonschema_description:"Use above which idle models are evicted, percent of the soft limit."`
	MarginMB             int           `yaml:"margin_mb" jsonschema:"minimum=0,maximum=1048576" jsonschema_description:"Memory per GPU that is never granted, MiB."`
	CPUBudgetMB          int           `yaml:"cpu_budget_mb" jsonschema:"minimum=0,maximum=16777216" jsonschema_description:"RAM for models on a host without GPU, MiB. 0 is half of the RAM."`
	UnknownVRAMMB        int           `yaml:"unknown_vram_mb" jsonschema:"minimum=0,maximum=16777216" jsonschema_description:"Memory that is planned for a model of which nothing is known: no vram_mb, no file, never measured, MiB."`
	Devices              []Device      `yaml:"devices" jsonschema_description:"Simulated devices; they replace the real ones."`
}

// Device is a simulated device. It is shown as such everywhere.
type Device struct {
	ID         string `yaml:"id" jsonschema:"required,pattern=^[A-Za-z0-9][A-Za-z0-9_-]{0\\,62}$" jsonschema_description:"Name of the device, unique on the host."`
	Kind       string `yaml:"kind" jsonschema:"enum=simulated" jsonschema_description:"Only simulated devices are configured; real ones are found."`
	CapacityMB int    `yaml:"capacity_mb" jsonschema:"required,minimum=1,maximum=16777216" jsonschema_description:"Its memory, MiB."`
}

// Models names the models of this host. After Load, Declare holds every model, those of Preload too.
type Models struct {
	Preload      []Preload         `yaml:"preload" jsonschema_description:"Models that are loaded at the start, the first ones first as far as load.max_concurrent and the memory let them."`
	DefaultDtype string            `yaml:"default_dtype" jsonschema:"enum=float16,enum=bfloat16,enum=float32,enum=int8,enum=int4,enum=auto" jsonschema_description:"Number format for models that do not say theirs."`
	Quantization bool              `yaml:"quantization" jsonschema_description:"Whether quantized files may be used."`
	GlobalTTL    time.Duration     `yaml:"globalTTL" min:"0s" max:"8760h" jsonschema_description:"Idle time after which a model is unloaded, for models without ttl. 0 is never."`
	Macros       map[string]string `yaml:"macros" jsonschema_description:"Texts that models use as ${NAME}."`
	Declare      map[string]Model  `yaml:"declare" jsonschema_description:"Models by name."`
}

// Preload is a model to load at the start. Path may be empty when the model is declared.
type Preload struct {
	Name   string `yaml:"name" jsonschema:"required,minLength=1,maxLength=256" jsonschema_description:"Name of the model."`
	Path   string `yaml:"path" jsonschema_description:"Its file. Relative to this file."`
	Shards int    `yaml:"shards" jsonschema:"minimum=1,maximum=1024" jsonschema_description:"Devices that the model is split over."`
}

// Model is one declared model. ${PORT}, ${MODEL_ID}, ${PID} and ${env.X} stay as written: the runtime knows them.
type Model struct {
	Runtime string `yaml:"runtime" words:"runtimes" jsonschema_description:"What runs it. Empty: command with cmd, openai with url, else chosen by the file."`
	Path    string `yaml:"path" jsonschema_description:"Its file or folder. Relative to this file."`
	Shards  int    `yaml:"shards" jsonschema:"minimum=1,maximum=1024" jsonschema_description:"Devices that the model is split over."`
	Cmd     string `yaml:"cmd" jsonschema_description:"Command that starts the server; may span lines and hold comments."`
	CmdStop string `yaml:"cmdStop" alias:"cmd_stop" jsonschema_description:"Command that stops it, instead of a signal."`
	Proxy   string `yaml:"proxy" jsonschema_description:"Address of the command's server."`
	URL     string `yaml:"url" jsonschema_description:"Address of a remote OpenAI-compatible server, or of this model's ollama."`
	// APIKeyEnv names a variable; the key itself never stands in a configuration.
	APIKeyEnv string   `yaml:"api_key_env" jsonschema_description:"Name of the variable that holds the key that the server of url or cmd asks for."`
	Env       []string `yaml:"env" jsonschema_description:"NAME=value for the process; NAME alone passes on the value that modelops was started with."`
	Args      []string `yaml:"args" jsonschema_description:"Further arguments for the engine."`
	// CheckEndpoint is a path such as /health, or "none": ready as soon as the process runs.
	CheckEndpoint      string        `yaml:"checkEndpoint" jsonschema_description:"Path that answers 200 when the model is ready, or none."`
	HealthCheckTimeout time.Duration `yaml:"healthCheckTimeout" min:"0s" max:"24h" jsonschema_description:"llama-swap's word for load_timeout."`
	// LoadTimeout after Load: this model's limit, never 0.
	LoadTimeout time.Duration `yaml:"load_timeout" min:"0s" max:"24h" jsonschema_description:"How long a load may take. 0 is load.timeout."`
	// TTL after Load: the effective one; 0 is never. IdleLimit also weighs KeepAlive and Pinned.
	TTL time.Duration `yaml:"ttl" min:"-1s" max:"8760h" jsonschema_description:"Idle time after which it is unloaded. 0 is never, -1 is globalTTL."`
	// KeepAlive is nil when not given.
	KeepAlive        *time.Duration `yaml:"keep_alive" min:"-1s" max:"8760h" jsonschema_description:"Ollama's word for ttl: -1 is for ever, 0 unloads after each request."`
	MinResidency     time.Duration  `yaml:"min_residency" min:"0s" max:"24h" jsonschema_description:"Time after a load during which it is not evicted."`
	Aliases          []string       `yaml:"aliases" jsonschema_description:"Other names of the model."`
	ConcurrencyLimit int            `yaml:"concurrencyLimit" jsonschema:"minimum=0,maximum=65536" jsonschema_description:"Requests at the same time. 0 is resilience.bulkhead.max_concurrent."`
	Unlisted         bool           `yaml:"unlisted" jsonschema_description:"Serve it, but do not list it."`
	UseModelName     string         `yaml:"useModelName" jsonschema_description:"Name that the engine is given in requests."`
	VRAMMB           int            `yaml:"vram_mb" jsonschema:"minimum=0,maximum=16777216" jsonschema_description:"Memory it needs, MiB. 0 is measured or estimated."`
	ContextLength    int            `yaml:"context_length" jsonschema:"minimum=0,maximum=16777216" jsonschema_description:"Context of one sequence, in tokens. 0 is the model's own; llama.cpp then takes 4096 of it at most."`
	Parallel         int            `yaml:"parallel" jsonschema:"minimum=0,maximum=1024" jsonschema_description:"Sequences the engine runs at once. 0 is the runtime's own."`
	Pinned           bool           `yaml:"pinned" jsonschema_description:"Never evict it and never unload it when idle."`
	// Groups is no part of what a worker depends on, so it must not change the revision of a model without groups.
	Groups []string `yaml:"groups" json:"Groups,omitempty" jsonschema_description:"Models that share a group are never resident together."`
	// Hosts and Prefer say where it is placed, and no more: they are no part of the model's revision.
	Hosts  []string `yaml:"hosts" json:"Hosts,omitempty" jsonschema_description:"Hosts of the cluster on which it runs, the first that can first. Empty is every host that declares it."`
	Prefer string   `yaml:"prefer" json:"Prefer,omitempty" jsonschema:"enum=first,enum=idle,enum=fastest" jsonschema_description:"Choice between hosts that can: the first of hosts, the one where least waits, or the one where it loads soonest. Empty is the cheapest."`
	// Replicas and Sleep need no new process either: they are no part of the model's revision.
	Replicas Replicas      `yaml:"replicas" json:"Replicas,omitzero"`
	Sleep    time.Duration `yaml:"sleep" json:"Sleep,omitzero" min:"0s" max:"8760h" jsonschema_description:"Idle time after which the engine is put to sleep, where the runtime can. 0 is never."`
	// Resilience is nil without an override; what the override leaves out has the value of the top-level section.
	Resilience *ModelResilience `yaml:"resilience" jsonschema_description:"Limits of this model that differ from the resilience section."`
	// Batch is nil without an override; what the override leaves out has the value of the top-level section.
	Batch *ModelBatch `yaml:"batch" json:"Batch,omitempty" jsonschema_description:"Micro-batching of this model where it differs from the batch section."`
}

// Replicas say how many workers serve a model. Max is Min where only Min is given.
type Replicas struct {
	Min int `yaml:"min" jsonschema:"minimum=1,maximum=64" jsonschema_description:"Workers while the model is resident, at least."`
	Max int `yaml:"max" jsonschema:"minimum=1,maximum=64" jsonschema_description:"Workers at most, when requests wait."`
}

// Runtimes are the engines of this host.
type Runtimes struct {
	PassEnv      []string     `yaml:"pass_env" json:"PassEnv,omitempty" jsonschema_description:"Further variables of modelops' own environment that every model's process gets. A name that ends in * is a prefix."`
	LlamaCpp     LlamaCpp     `yaml:"llama_cpp"`
	Embedded     Embedded     `yaml:"embedded"`
	VLLM         VLLM         `yaml:"vllm"`
	Transformers Transformers `yaml:"transformers"`
	WhisperCpp   WhisperCpp   `yaml:"whisper_cpp"`
	Ollama       Ollama       `yaml:"ollama"`
}

// LlamaCpp is llama.cpp's server.
type LlamaCpp struct {
	Binary string `yaml:"binary" jsonschema:"minLength=1" jsonschema_description:"llama-server: a name in PATH or a path."`
}

// Embedded is our own small engine.
type Embedded struct {
	Threads int `yaml:"threads" jsonschema:"minimum=0,maximum=1024" jsonschema_description:"Threads. 0 is one per core."`
	Slots   int `yaml:"slots" jsonschema:"minimum=1,maximum=1024" jsonschema_description:"Sequences that are generated at once."`
}

// VLLM is vLLM's server.
type VLLM struct {
	Binary string `yaml:"binary" jsonschema:"minLength=1" jsonschema_description:"vllm: a name in PATH or a path."`
}

// Transformers is the server of Hugging Face's transformers, version 5 or later.
type Transformers struct {
	Binary string `yaml:"binary" jsonschema:"minLength=1" jsonschema_description:"transformers: a name in PATH or a path."`
}

// WhisperCpp is whisper.cpp's server.
type WhisperCpp struct {
	Binary string `yaml:"binary" jsonschema:"minLength=1" jsonschema_description:"whisper-server: a name in PATH or a path."`
}

// Ollama is one that runs already: it is attached, never started.
type Ollama struct {
	URL string `yaml:"url" jsonschema:"minLength=1" jsonschema_description:"Where ollama answers."`
}

// Scheduler says which models are evicted when memory is short.
type Scheduler struct {
	Policy          string        `yaml:"policy" jsonschema:"enum=cost_aware,enum=lru,enum=first_fit" jsonschema_description:"Who is evicted first: cost_aware weighs idle time against the cost of loading again, lru takes the longest idle, first_fit the longest resident."`
	ForeignPressure bool          `yaml:"foreign_pressure" jsonschema_description:"Whether idle models are evicted when other programs need the device's memory."`
	Defrag          string        `yaml:"defrag" jsonschema:"enum=off,enum=propose,enum=auto" jsonschema_description:"What happens when a model would fit if another one moved: off, propose says so, auto moves an idle one."`
	KeepWarm        time.Duration `yaml:"keep_warm" min:"0s" max:"24h" jsonschema_description:"Within which time an idle model must have answered to move to another host's free memory when it has to leave this one. 0 is never: it is evicted, and loaded again where it is asked for next."`
}

// Queue says how requests wait for a model.
type Queue struct {
	Classes      []string      `yaml:"classes" jsonschema_description:"Priority classes, the first one served first."`
	DefaultClass string        `yaml:"default_class" jsonschema:"minLength=1" jsonschema_description:"Class of requests without an API key, and of keys without class."`
	MaxWait      time.Duration `yaml:"max_wait" min:"100ms" max:"24h" jsonschema_description:"Time after which a waiting request goes before all classes, and a model that waits for memory makes busy ones end their turn, so that no request starves. Callers that loop on one model keep another's request waiting for this long and one turn: drain, stop, load. A longer time spares changes of model, a shorter one lets a person wait less."`
	Collation    time.Duration `yaml:"collation" min:"0s" max:"10s" jsonschema_description:"How long a model counts as busy after its last answer, so that callers who ask again at once don't lose it to others. 0 is not at all."`
	DrainTimeout time.Duration `yaml:"drain_timeout" min:"0s" max:"24h" jsonschema_description:"How long requests that run may keep their place when their model has to leave; then they are ended."`
}

// Loading bounds how models are loaded.
type Loading struct {
	MaxConcurrent int           `yaml:"max_concurrent" jsonschema:"minimum=1,maximum=256" jsonschema_description:"Loads at the same time on this host."`
	Retries       int           `yaml:"retries" jsonschema:"minimum=0,maximum=100" jsonschema_description:"Further tries after a failed load."`
	Timeout       time.Duration `yaml:"timeout" min:"1s" max:"24h" jsonschema_description:"How long a load may take, for models without load_timeout."`
}

// Goals says in which order goals get their turn.
type Goals struct {
	Policy         string `yaml:"policy" jsonschema:"enum=priority_queue,enum=round_robin" jsonschema_description:"Order in which goals run."`
	MaxActiveGoals int    `yaml:"max_active_goals" jsonschema:"minimum=1,maximum=10000" jsonschema_description:"Goals that run at the same time."`
}

// Resilience bounds failure and load, per model and for the host.
type Resilience struct {
	CircuitBreaker CircuitBreaker `yaml:"circuit_breaker"`
	Bulkhead       Bulkhead       `yaml:"bulkhead"`
	Host           HostBulkhead   `yaml:"host"`
}

// ModelResilience bounds failure and load of one model.
type ModelResilience struct {
	CircuitBreaker CircuitBreaker `yaml:"circuit_breaker"`
	Bulkhead       Bulkhead       `yaml:"bulkhead"`
}

// CircuitBreaker opens after FailureThreshold failures in a row and tries again after ResetTimeout.
type CircuitBreaker struct {
	FailureThreshold int           `yaml:"failure_threshold" jsonschema:"minimum=1,maximum=10000" jsonschema_description:"Failures in a row that open the breaker."`
	ResetTimeout     time.Duration `yaml:"reset_timeout" min:"10ms" max:"24h" jsonschema_description:"Time until an open breaker lets a request through again."`
	HangTimeout      time.Duration `yaml:"hang_timeout" min:"1s" max:"24h" jsonschema_description:"How long a worker may give no sign of life, not even to the smallest request, before it is replaced. One that computes gets 20 minutes at least."`
}

// Bulkhead bounds the requests of one model. A queue of 0 refuses at once.
type Bulkhead struct {
	MaxConcurrent int           `yaml:"max_concurrent" jsonschema:"minimum=1,maximum=65536" jsonschema_description:"Requests of a model that run at the same time."`
	MaxQueueSize  int           `yaml:"max_queue_size" jsonschema:"minimum=0,maximum=1048576" jsonschema_description:"Requests of a model that wait. 0 is none."`
	QueueTimeout  time.Duration `yaml:"queue_timeout" min:"1ms" max:"24h" jsonschema_description:"How long a request waits at most, whatever for: a placement, a load, or a place at a busy model. Give it at least the longest load."`
}

// HostBulkhead bounds the requests of all models of the host together.
type HostBulkhead struct {
	MaxConcurrent int `yaml:"max_concurrent" jsonschema:"minimum=1,maximum=65536" jsonschema_description:"Requests of all models together that run at the same time."`
	MaxQueueSize  int `yaml:"max_queue_size" jsonschema:"minimum=0,maximum=1048576" jsonschema_description:"Requests of all models together that wait. 0 is none."`
}

// Batch says how small requests of many callers are put together for the engine: embeddings, rerank, and completions where a
// model allows it.
type Batch struct {
	Window  time.Duration `yaml:"window" min:"0s" max:"1s" jsonschema_description:"How long a request waits for others while one of its kind is under way. 0s switches batching off."`
	MaxSize int           `yaml:"max_size" jsonschema:"minimum=1,maximum=4096" jsonschema_description:"Inputs in a batch at most: texts, documents or prompts. 1 switches batching off."`
}

// ModelBatch is the batching of one model.
type ModelBatch struct {
	Window      time.Duration `yaml:"window" min:"0s" max:"1s" jsonschema_description:"How long a request waits for others while one of its kind is under way. 0s switches batching off."`
	MaxSize     int           `yaml:"max_size" jsonschema:"minimum=1,maximum=4096" jsonschema_description:"Inputs in a batch at most: texts, documents or prompts. 1 switches batching off."`
	Completions bool          `yaml:"completions" jsonschema_description:"Whether completions without streaming are batched too, for engines that take a list of prompts."`
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level" jsonschema:"enum=debug,enum=info,enum=warn,enum=error" jsonschema_description:"Least level that is logged."`
	Format string `yaml:"format" jsonschema:"enum=text,enum=json" jsonschema_description:"Form of a log line."`
}
