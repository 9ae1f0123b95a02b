package config

import "time"

const (
	defaultProxy         = "http://127.0.0.1:${PORT}"
	defaultCheckEndpoint = "/health"
	inheritTTL           = -time.Second
)

// defaults holds the value of every key that a file leaves out.
func defaults() Config {
	return Config{
		Title:   "ModelOpsCoordinatorConfig",
		Version: "1.0",
		Host:    "main_pc",
		DataDir: ".modelops",
		Server:  defaultServer(),
		Cluster: Cluster{Port: 7422, ActorsPort: 7423},
		Auth:    Auth{OIDC: OIDC{NameClaim: "sub", RoleClaim: "roles"}, Proxy: Proxy{UserHeader: "X-Forwarded-User", RoleHeader: "X-Forwarded-Groups"}},
		Journal: Journal{Dir: "journal", SnapshotEvery: 256, MinFreeMB: 64, Archive: "none"},
		Resources: Resources{
			GPUPollInterval: 5 * time.Second, VRAMSoftLimitMB: 22000, EvictionThresholdPct: 90, MarginMB: 512, UnknownVRAMMB: 1000,
		},
		Models: Models{DefaultDtype: "float16", Quantization: true},
		Runtimes: Runtimes{
			LlamaCpp: LlamaCpp{Binary: "llama-server"}, Embedded: Embedded{Slots: 4},
			VLLM: VLLM{Binary: "vllm"}, Transformers: Transformers{Binary: "transformers"},
			WhisperCpp: WhisperCpp{Binary: "whisper-server"}, Ollama: Ollama{URL: "http://127.0.0.1:11434"},
		},
		Load: Loading{
			MaxConcurrent: 2, Retries: 3,
			Timeout: 5 * time.Minute,
		},
		Scheduler: Scheduler{Policy: "cost_aware", Defrag: "propose", KeepWarm: 10 * time.Minute},
		Queue: Queue{
			Classes: []string{"interactive", "normal", "batch"}, DefaultClass: "normal",
			MaxWait: 5 * time.Second, Collation: 100 * time.Millisecond, DrainTimeout: 30 * time.Minute,
		},
		Learning: Learning{EnableAutoTune: true, MaxParallelJobs: 2, JobStore: "learning_jobs.db", KeepVersions: 3, Recipes: builtinRecipes(), Quotas: JobQuotas{Default: JobQuota{Per: "week"}}, EvictIdleModels: true, Inversion: "report"},
		Goals:    Goals{Policy: "priority_queue", MaxActiveGoals: 10},
		Resilience: Resilience{
			CircuitBreaker: CircuitBreaker{FailureThreshold: 4, ResetTimeout: 20 * time.Second, HangTimeout: 3 * time.Minute},
			Bulkhead:       Bulkhead{MaxConcurrent: 64, MaxQueueSize: 256, QueueTimeout: 5 * time.Minute},
			Host:           HostBulkhead{MaxConcurrent: 512, MaxQueueSize: 2048},
		},
		Batch: Batch{Window: 5 * time.Millisecond, MaxSize: 16},
		Log:   Log{Level: "info", Format: "text"},
	}
}

// shipped is the configuration without a file: the defaults and the small model that comes with the source. It says
// the same as cluster.yaml, and a test compares the two.
const shipped = `
models:
  preload:
    - {name: tiny, path: testdata/model/tiny.gguf, shards: 1}
  declare:
    tiny: {runtime: embedded, path: testdata/model/tiny.gguf}
`

// A defaulter is a part that appears any number of times, so its defaults belong to the type.
type defaulter interface{ setDefaults() }

func (m *Model) setDefaults() {
	*m = Model{Shards: 1, Proxy: "", CheckEndpoint: defaultCheckEndpoint, TTL: inheritTTL, MinResidency: 5 * time.Second, Replicas: Replicas{Min: 1, Max: 1}}
}

func (p *Preload) setDefaults() { *p = Preload{Shards: 1} }

func (d *Device) setDefaults() { *d = Device{Kind: "simulated"} }
