package config

import (
	"strings"
	"testing"
	"time"
)

const revisionBase = `
models:
  declare:
    m: {path: m.gguf, aliases: [a], ttl: 5}
    c: {cmd: "x ${PORT}"}
`

// TestRevisions: which edits start a new worker, which only a new configuration, which nothing.
func TestRevisions(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	revisions := func(text string, env ...string) (all, m, c string) {
		path := write(t, text)
		cfg, err := Load(path, append(env, "MOC_DATA_DIR=/d"), "")
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Revision(), cfg.ModelRevision("m"), cfg.ModelRevision("c")
	}
	abs := strings.ReplaceAll(revisionBase, "m.gguf", "/m.gguf")
	all, m, c := revisions(abs)
	if m == "" || m == c || len(m) != 16 {
		t.Fatalf("revisions %q %q", m, c)
	}
	for _, e := range []struct {
		what, old, new string
		all, m, c      bool // changes
	}{
		{"comment", "\nmodels", "\n# hi\nmodels", false, false, false},
		{"title", "\nmodels", "\ntitle: T\nlog: {level: debug}\nmodels", false, false, false},
		{"empty parts", "\nmodels", "\nresources: {devices: []}\nmodels", false, false, false},
		{"alias", "[a]", "[b]", true, false, false},
		{"ttl", "ttl: 5", "ttl: 6", true, false, false},
		{"pinned", "ttl: 5", "pinned: true", true, false, false},
		{"path", "/m.gguf", "/n.gguf", true, true, false},
		{"args", "ttl: 5", "ttl: 5, args: [-x]", true, true, false},
		{"runtime", "ttl: 5", "ttl: 5, runtime: embedded", true, true, false},
		{"cmd", "x ${PORT}", "y ${PORT}", true, false, true},
		{"engine", "\nmodels", "\nruntimes: {embedded: {slots: 9}}\nmodels", true, true, false},
		{"replicas", "ttl: 5", "ttl: 5, replicas: {max: 2}", true, false, false},
		{"sleep", "ttl: 5", "ttl: 5, sleep: 1", true, true, false},
		{"batch", "ttl: 5", "ttl: 5, batch: {completions: true}", true, false, false},
		{"keys", "\nmodels", "\nkeys: [{name: a, key: secret-a}]\nmodels", true, false, false},
		{"port", "\nmodels", "\nserver: {rest_port: 9}\nmodels", true, false, false},
	} {
		all2, m2, c2 := revisions(strings.Replace(abs, e.old, e.new, 1))
		if (all2 != all) != e.all || (m2 != m) != e.m || (c2 != c) != e.c {
			t.Errorf("%s: changed all %v, m %v, c %v", e.what, all2 != all, m2 != m, c2 != c)
		}
	}
	cfg := load(t, abs, "")
	if cfg.ModelRevision("a") != cfg.ModelRevision("m") || cfg.ModelRevision("nobody") != "" {
		t.Error("an alias must have its model's revision, an unknown name none")
	}
}

func TestIdleLimit(t *testing.T) {
	for text, want := range map[string]string{
		"": "never", "ttl: 7": "7s", "ttl: 0": "never", "ttl: -1": "never", "keep_alive: 0": "0s", "keep_alive: -1": "never",
		"keep_alive: 5m": "5m0s", "pinned: true": "never",
	} {
		c := load(t, "models: {declare: {m: {path: x, "+text+"}}}", "")
		got := "never"
		if d, ok := c.Models.Declare["m"].IdleLimit(); ok {
			got = d.String()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	c := load(t, "models: {globalTTL: 9, declare: {m: {path: x}}}", "")
	if d, ok := c.Models.Declare["m"].IdleLimit(); !ok || d != 9*time.Second {
		t.Errorf("globalTTL is not inherited: %v %v", d, ok)
	}
	c = load(t, "models: {globalTTL: 9, declare: {m: {path: x, pinned: true}}}", "")
	if d, ok := c.Models.Declare["m"].IdleLimit(); ok {
		t.Errorf("globalTTL unloads a pinned model after %v", d)
	}
}

func TestResilienceOf(t *testing.T) {
	c := load(t, "resilience: {bulkhead: {max_queue_size: 7}}\nmodels: {declare: {m: {path: x, aliases: [a], resilience: {bulkhead: {max_concurrent: 2}}}, n: {path: y}}}", "")
	for name, want := range map[string]Bulkhead{
		"a": {MaxConcurrent: 2, MaxQueueSize: 7, QueueTimeout: 5 * time.Minute},
		"n": {MaxConcurrent: 64, MaxQueueSize: 7, QueueTimeout: 5 * time.Minute},
	} {
		if got := c.ResilienceOf(name).Bulkhead; got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if c.Models.Declare["m"].ConcurrencyLimit != 2 || c.Models.Declare["n"].ConcurrencyLimit != 64 {
		t.Error("concurrencyLimit does not follow the bulkhead")
	}
}

// TestModelRevisionIsThatOfOlderReleases: workers of the release before this one are adopted only when its revisions are
// computed as they were.
func TestModelRevisionIsThatOfOlderReleases(t *testing.T) {
	c := load(t, "models: {declare: {m: {path: /m.gguf, ttl: 5}}}", "")
	if got := c.ModelRevision("m"); got != "18f1e5e64efa9da5" {
		t.Errorf("the revision became %s: a key that needs no new process takes part in it", got)
	}
}

func TestBatchOf(t *testing.T) {
	c := load(t, "batch: {max_size: 4}\nmodels: {declare: {m: {path: x, aliases: [a], batch: {completions: true}}, n: {path: y}}}", "")
	for name, want := range map[string]ModelBatch{
		"a": {Window: 5 * time.Millisecond, MaxSize: 4, Completions: true},
		"n": {Window: 5 * time.Millisecond, MaxSize: 4},
	} {
		if got := c.BatchOf(name); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}
