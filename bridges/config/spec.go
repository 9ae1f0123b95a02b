package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"modelops/messages"
)

// Specs are the declarations of the configuration as messages, by name.
func (c *Config) Specs() []*messages.ModelSpec {
	var out []*messages.ModelSpec
	for _, name := range slices.Sorted(maps.Keys(c.Models.Declare)) {
		out = append(out, c.declared(name, c.Models.Declare[name]))
	}
	return out
}

// declared is a declaration as it is journaled: without the values of variables and without secrets.
func (c *Config) declared(name string, m Model) *messages.ModelSpec {
	m = c.asWritten(name, m)
	url := m.URL
	if m.Proxy != "" {
		url = m.Proxy
	}
	threads := 0
	if m.Runtime == RuntimeEmbedded {
		threads = c.Runtimes.Embedded.Threads
	}
	return &messages.ModelSpec{
		Name: name, Runtime: m.Runtime, Path: m.Path, Shards: uint32(max(m.Shards, 1)), Args: m.Args, Env: m.Env, Cmd: m.Cmd, CmdStop: m.CmdStop,
		Url: url, ApiKeyEnv: m.APIKeyEnv, CheckEndpoint: m.CheckEndpoint, LoadTimeoutSeconds: uint32(m.LoadTimeout.Seconds()),
		VramBytes: uint64(m.VRAMMB) * messages.MiB, ContextLength: uint32(m.ContextLength), Parallel: uint32(m.Parallel), Aliases: m.Aliases,
		ConcurrencyLimit: uint32(m.ConcurrencyLimit), TtlSeconds: uint32(max(m.TTL, 0).Seconds()), Pinned: m.Pinned,
		UseModelName: m.UseModelName, Unlisted: m.Unlisted, MinResidencySeconds: uint32(m.MinResidency.Seconds()),
		Threads: uint32(threads), Revision: c.ModelRevision(name), IdleMs: idleMs(m), DeclaredBy: messages.DeclaredByConfig, Groups: m.Groups, Hosts: m.Hosts, Prefer: m.Prefer,
		MinReplicas: uint32(m.Replicas.Min), MaxReplicas: uint32(m.Replicas.Max), SleepMs: sleepMs(m),
	}
}

// idleMs is nil when the model is never unloaded for being idle.
func idleMs(m Model) *int64 {
	limit, ends := m.IdleLimit()
	if !ends {
		return nil
	}
	return new(limit.Milliseconds())
}

// sleepMs is nil when the engine is never put to sleep.
func sleepMs(m Model) *int64 {
	if m.Sleep == 0 {
		return nil
	}
	return new(m.Sleep.Milliseconds())
}

// SpecOf declares a file under a name that the configuration may not know.
func (c *Config) SpecOf(name, path string, shards int) (*messages.ModelSpec, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, messages.Errorf(messages.InvalidArgument, path, "the path can't be resolved: %w", err)
	}
	var m Model // the runtime is chosen by the file
	if _, known, ok := c.ModelNamed(name); ok {
		if source := sourceOf(known.Runtime); source == "cmd" || source == "url" {
			return nil, messages.Errorf(messages.InvalidArgument, "model_path", "the configuration declares %s with a %s, which reads no file of ours", name, source).
				WithHint("load the file under a name of its own, or change the model's " + source)
		}
		m = known
	}
	m.Path, m.Shards = abs, max(shards, 1)
	spec := c.declared(name, m)
	spec.Path = abs
	spec.DeclaredBy = messages.DeclaredByAPI
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s|%d", spec.Revision, m.Runtime, abs, m.Shards))
	spec.Revision = hex.EncodeToString(sum[:8])
	return spec, nil
}
