package config

import (
	"maps"
	"time"
)

// Learning bounds training on this host.
type Learning struct {
	EnableAutoTune  bool              `yaml:"enable_auto_tune" jsonschema_description:"Whether goals may start training by themselves."`
	MaxParallelJobs int               `yaml:"max_parallel_jobs" jsonschema:"minimum=1,maximum=256" jsonschema_description:"Jobs that run at the same time."`
	JobStore        string            `yaml:"job_store" jsonschema:"minLength=1" jsonschema_description:"The old coordinator's job file, for import. Relative to data_dir."`
	KeepVersions    int               `yaml:"keep_versions" jsonschema:"minimum=1,maximum=1000" jsonschema_description:"Versions of a model that goals made, that didn't win and whose files stay."`
	Recipes         map[string]Recipe `yaml:"recipes" jsonschema_description:"Trainers by name. full, lora, dpo and evaluate are there without a line; a line for one of them changes it."`
	Quotas          JobQuotas         `yaml:"quotas"`
	EvictIdleModels bool              `yaml:"evict_idle_models" jsonschema_description:"Whether models that have been idle for a minute leave for a job that is within its quota. Pinned ones never do."`
	Inversion       string            `yaml:"inversion" jsonschema:"enum=report,enum=preempt" jsonschema_description:"What happens when something waits longer than queue.max_wait for a job of lower priority that is never asked to leave: it is told, or the job is stopped with a checkpoint and its grace."`
}

// Recipe is a trainer's command with its settings. After Load, Cmd, Watch and Cancel are split into words. ${DATASET}, ${RESUME} and the like,
// its parameters and ${env.X} stay as written: the trainer's start knows them.
type Recipe struct {
	Kind       string            `yaml:"kind" jsonschema:"enum=fine_tune,enum=rlhf,enum=evaluate,enum=custom" jsonschema_description:"What its jobs are."`
	Cmd        []string          `yaml:"cmd" single:"true" jsonschema_description:"Command of the trainer: a text, which is split as a shell does, or a list of words."`
	Env        []string          `yaml:"env" jsonschema_description:"NAME=value for the process; NAME alone passes on the value that modelops was started with."`
	Dir        string            `yaml:"dir" jsonschema_description:"Working directory. Relative to this file; empty is the job's own folder."`
	Parameters map[string]string `yaml:"parameters" jsonschema_description:"Settings that the command names as ${NAME}, and that a job may set. An empty one is left out, with the option before it."`
	Smaller    map[string]string `yaml:"smaller" jsonschema_description:"Parameters of one further try after device memory ran out."`
	VRAMMB     int               `yaml:"vram_mb" jsonschema:"minimum=0,maximum=16777216" jsonschema_description:"Memory of each device that it needs, MiB. 0 is measured in earlier runs, or given by the job."`
	Devices    int               `yaml:"devices" jsonschema:"minimum=1,maximum=64" jsonschema_description:"Devices that it needs at once."`
	Checkpoint string            `yaml:"checkpoint" jsonschema:"enum=signal,enum=stdin,enum=none" jsonschema_description:"How it is asked for a checkpoint: SIGUSR1, a line on its standard input, or not at all."`
	// KeepCheckpoints and what follows bound its runs.
	KeepCheckpoints int           `yaml:"keep_checkpoints" jsonschema:"minimum=1,maximum=1000" jsonschema_description:"Checkpoints that stay."`
	Grace           time.Duration `yaml:"grace" min:"1s" max:"24h" jsonschema_description:"Time for a checkpoint and its end, when it has to leave."`
	WallTime        time.Duration `yaml:"wall_time" min:"0s" max:"8760h" jsonschema_description:"Longest time of all its attempts together. 0 is no bound."`
	CPUs            float64       `yaml:"cpus" jsonschema:"minimum=0,maximum=65536" jsonschema_description:"CPU cores, where cgroups permit; 1.5 is one and a half. 0 is no bound."`
	MemoryMB        int           `yaml:"memory_mb" jsonschema:"minimum=0,maximum=16777216" jsonschema_description:"RAM, where cgroups permit, MiB. 0 is no bound."`
	Retries         int           `yaml:"retries" jsonschema:"minimum=1,maximum=100" jsonschema_description:"Further attempts after failures that may pass, in a row without a new checkpoint."`
	Watch           []string      `yaml:"watch" single:"true" jsonschema_description:"Where cmd submits to an existing engine (ray, slurm, kubernetes) and prints its id: the command that watches ${ATTACHED_ID} and ends with it."`
	Cancel          []string      `yaml:"cancel" single:"true" jsonschema_description:"The command that cancels ${ATTACHED_ID}."`
}

func (r *Recipe) setDefaults() {
	*r = Recipe{Kind: "custom", Devices: 1, Checkpoint: "none", KeepCheckpoints: 2, Grace: 30 * time.Second, Retries: 2}
}

// recipeWords are filled in when a job's process starts.
var recipeWords = []string{"DATASET", "EVAL_DATASET", "BASE", "MODEL", "OUT", "CHECKPOINTS", "RESUME", "JOB_ID", "ATTEMPT", "DEVICES", "SELF", "ATTACHED_ID"}

// builtinRecipes are those of the trainer in the box, which computes on the processor.
func builtinRecipes() map[string]Recipe {
	trainer := func(kind, method string, own map[string]string) Recipe {
		var r Recipe
		r.setDefaults()
		r.Kind, r.VRAMMB, r.Checkpoint = kind, 256, "signal"
		r.Cmd = []string{"${SELF}", "train", "--method", method, "--base", "${BASE}", "--data", "${DATASET}", "--eval", "${EVAL_DATASET}", "--out", "${OUT}/model.gguf",
			"--checkpoints", "${CHECKPOINTS}", "--checkpoint-every", "${checkpoint_every}", "--resume", "${RESUME}", "--steps", "${steps}", "--batch", "${batch}", "--lr", "${lr}",
			"--schedule", "${schedule}", "--warmup", "${warmup}", "--weight-decay", "${weight_decay}", "--clip", "${clip}", "--seed", "${seed}", "--max-length", "${max_length}",
			"--threads", "${threads}"}
		r.Parameters = map[string]string{"steps": "", "batch": "", "lr": "", "schedule": "", "warmup": "", "weight_decay": "", "clip": "", "seed": "", "max_length": "", "threads": "",
			"checkpoint_every": ""}
		maps.Copy(r.Parameters, own)
		return r
	}
	adapters := []string{"--rank", "${rank}", "--alpha", "${alpha}", "--targets", "${targets}"}
	full := trainer("fine_tune", "full", nil)
	lora := trainer("fine_tune", "lora", map[string]string{"rank": "", "alpha": "", "targets": ""})
	lora.Cmd = append(lora.Cmd, adapters...)
	dpo := trainer("rlhf", "dpo", map[string]string{"rank": "", "alpha": "", "targets": "", "beta": ""})
	dpo.Cmd = append(append(dpo.Cmd, adapters...), "--beta", "${beta}")
	var evaluate Recipe
	evaluate.setDefaults()
	evaluate.Kind, evaluate.VRAMMB = "evaluate", 256
	evaluate.Cmd = []string{"${SELF}", "evaluate", "--json", "--model", "${BASE}", "--data", "${DATASET}", "--limit", "${limit}"}
	evaluate.Parameters = map[string]string{"limit": ""}
	return map[string]Recipe{"full": full, "lora": lora, "dpo": dpo, "evaluate": evaluate}
}
