package config

import "time"

// ModelNamed finds a model by its name or an alias. ok is false when there is none; then the name is the one asked for.
func (c *Config) ModelNamed(name string) (_ string, _ Model, ok bool) {
	if m, ok := c.Models.Declare[name]; ok {
		return name, m, true
	}
	for n, m := range c.Models.Declare {
		for _, alias := range m.Aliases {
			if alias == name {
				return n, m, true
			}
		}
	}
	return name, Model{}, false
}

// ResilienceOf are the limits of a model: its own, else the common ones.
func (c *Config) ResilienceOf(name string) ModelResilience {
	if _, m, ok := c.ModelNamed(name); ok && m.Resilience != nil {
		return *m.Resilience
	}
	return ModelResilience{CircuitBreaker: c.Resilience.CircuitBreaker, Bulkhead: c.Resilience.Bulkhead}
}

// BatchOf is the batching of a model: its own, else the common one.
func (c *Config) BatchOf(name string) ModelBatch {
	if _, m, ok := c.ModelNamed(name); ok && m.Batch != nil {
		return *m.Batch
	}
	return ModelBatch{Window: c.Batch.Window, MaxSize: c.Batch.MaxSize}
}

// IdleLimit is the time without requests after which the model is unloaded; 0 is at once. ok is false when it stays.
func (m Model) IdleLimit() (limit time.Duration, ok bool) {
	switch {
	case m.Pinned:
		return 0, false
	case m.KeepAlive != nil:
		return max(0, *m.KeepAlive), *m.KeepAlive >= 0
	}
	return m.TTL, m.TTL > 0
}

// Notices is what is worth telling though nothing is wrong: variables without effect, an empty file.
func (c *Config) Notices() []string { return c.notices }

// Guessable are the hashes of the configured keys that are short enough to be guessed.
func (c *Config) Guessable() []string { return c.guessable }
