package config

import (
	"path/filepath"
	"reflect"
	"strings"
)

// whole decodes the tree. A file that is no section is one problem, not one a key.
func (d *decoder) whole(root *node, c *Config) {
	d.value(root, reflect.ValueOf(c).Elem(), "", rule{})
}

// settle checks what concerns several keys, then fills in what follows from others: absolute paths, runtimes, limits.
func (c *Config) settle(d *decoder, root *node, folder string) {
	ck := checker{Config: c, decoder: d, root: root}
	ck.server()
	ck.cluster()
	ck.hub()
	ck.resources()
	ck.engines()
	ck.queue()
	ck.keys()
	ck.auth()
	ck.recipesCheck()
	ck.quotas()
	c.keepWords(d, root, folder)
	c.rooted(folder)
	ck.models()
	if len(d.problems) > 0 {
		return
	}
	c.modelLimits(d, root)
}

// rooted makes paths absolute: those of models beside the file, those of state inside the data folder.
func (c *Config) rooted(folder string) {
	c.DataDir = under(folder, c.DataDir)
	c.Journal.Dir = under(c.DataDir, c.Journal.Dir)
	c.Learning.JobStore = under(c.DataDir, c.Learning.JobStore)
	for _, file := range []*string{&c.Server.TLS.Cert, &c.Server.TLS.Key, &c.Server.TLS.ClientCA, &c.Cluster.CA, &c.Cluster.Cert, &c.Cluster.Key,
		&c.NATS.Credentials, &c.NATS.PasswordFile, &c.NATS.CA} {
		if *file != ownCA {
			*file = under(folder, *file)
		}
	}
	c.recipesRooted(folder)
	r := &c.Runtimes
	for _, binary := range []*string{&r.LlamaCpp.Binary, &r.VLLM.Binary, &r.Transformers.Binary, &r.WhisperCpp.Binary} {
		if strings.ContainsRune(*binary, filepath.Separator) { // a bare name is looked for in PATH
			*binary = under(folder, *binary)
		}
	}
	for i := range c.Models.Preload {
		c.Models.Preload[i].Path = under(folder, c.Models.Preload[i].Path)
	}
	for name, m := range c.Models.Declare {
		m.Path = under(folder, m.Path)
		c.Models.Declare[name] = m
	}
}

// derive notes that a value follows from another one.
func (c *Config) derive(path, from string) { c.origins[path] = origin{file: from} }

func under(folder, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(folder, path)
}

// modelLimits gives each model the values that it inherits.
func (c *Config) modelLimits(d *decoder, root *node) {
	for name, m := range c.Models.Declare {
		at := join("models.declare", name)
		if m.Cmd != "" && m.Proxy == "" {
			m.Proxy = defaultProxy
		}
		if m.TTL < 0 {
			m.TTL = c.Models.GlobalTTL
			c.derive(at+".ttl", "from models.globalTTL")
		}
		if m.LoadTimeout == 0 {
			m.LoadTimeout = m.HealthCheckTimeout
			c.derive(at+".load_timeout", "from healthCheckTimeout")
		}
		if m.LoadTimeout == 0 {
			m.LoadTimeout = c.Load.Timeout
			c.derive(at+".load_timeout", "from load.timeout")
		}
		section := root.walk("models", "declare", name)
		limits := ModelResilience{CircuitBreaker: c.Resilience.CircuitBreaker, Bulkhead: c.Resilience.Bulkhead}
		if m.Resilience != nil {
			d.again(section.get("resilience"), &limits)
			m.Resilience = &limits
		}
		if m.Batch != nil {
			batch := ModelBatch{Window: c.Batch.Window, MaxSize: c.Batch.MaxSize}
			d.again(section.get("batch"), &batch)
			m.Batch = &batch
		}
		if m.ConcurrencyLimit == 0 {
			m.ConcurrencyLimit = limits.Bulkhead.MaxConcurrent
			c.derive(at+".concurrencyLimit", "from resilience.bulkhead.max_concurrent")
		}
		c.Models.Declare[name] = m
	}
}

// again decodes an override over the values that it inherits. It was checked before.
func (d *decoder) again(n *node, into any) {
	own := decoder{vars: d.vars, lenient: true, origins: map[string]origin{}}
	own.value(n, reflect.ValueOf(into).Elem(), "", rule{})
}
