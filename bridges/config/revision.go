package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Revision tells configurations apart that make the coordinator behave differently: 16 hex digits that do not depend on
// the order of keys, on comments, on where a value came from, or on title, version and log.
func (c *Config) Revision() string {
	d := *c
	d.Title, d.Version, d.Log = "", "", Log{}
	return fingerprint(d)
}

// ModelRevision changes when a running worker of the model would no longer be what the configuration says. It is empty
// for a name that is not declared. Times, limits, pins and aliases are no part of it: they need no new process.
func (c *Config) ModelRevision(name string) string {
	_, m, ok := c.ModelNamed(name)
	if !ok {
		return ""
	}
	engine := any(nil)
	switch m.Runtime {
	case RuntimeEmbedded:
		engine = c.Runtimes.Embedded
	case RuntimeLlamaCpp:
		engine = c.Runtimes.LlamaCpp
	case RuntimeVLLM:
		engine = c.Runtimes.VLLM
	case RuntimeTransformers:
		engine = c.Runtimes.Transformers
	case RuntimeWhisperCpp:
		engine = c.Runtimes.WhisperCpp
	case RuntimeOllama:
		engine = c.Runtimes.Ollama
	case "": // chosen by the file, so any of them
		engine = c.Runtimes
	}
	return fingerprint(struct {
		Process      Model
		Engine       any
		Dtype        string
		Quantization bool
		Sleeps       bool     `json:",omitempty"` // the engine is started ready for it
		Inherited    []string `json:",omitempty"`
	}{m.process(), engine, c.Models.DefaultDtype, c.Models.Quantization, m.Sleep > 0, c.inherited[name]})
}

// process is what of a model its worker is started with.
func (m Model) process() Model {
	return Model{
		Runtime: m.Runtime, Path: m.Path, Shards: m.Shards,
		Cmd: m.Cmd, CmdStop: m.CmdStop, Proxy: m.Proxy, URL: m.URL, APIKeyEnv: m.APIKeyEnv,
		Env: m.Env, Args: m.Args, CheckEndpoint: m.CheckEndpoint,
		ContextLength: m.ContextLength, Parallel: m.Parallel,
	}
}

// fingerprint hashes the exported fields; JSON sorts the keys of maps.
func fingerprint(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("config: a configuration always has a JSON form: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
