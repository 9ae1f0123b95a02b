package config

import (
	"path/filepath"
	"strings"
	"testing"

	"modelops/messages"
)

func TestSpecsAreTheDeclarations(t *testing.T) {
	c := load(t, `
runtimes: {embedded: {threads: 3}}
models: {declare: {b: {path: /b.gguf, runtime: embedded, vram_mb: 7, sleep: 30s, ttl: 90s, replicas: {min: 2, max: 4}}, a: {url: "http://127.0.0.1:2", runtime: openai, ttl: -1s}}}
`, "")
	specs := c.Specs()
	if len(specs) != 2 || specs[0].Name != "a" || specs[1].Name != "b" {
		t.Fatalf("specs %v", specs)
	}
	a, b := specs[0], specs[1]
	if a.Url != "http://127.0.0.1:2" || a.IdleMs != nil || a.SleepMs != nil || a.Threads != 0 || a.MinReplicas != 1 || a.Shards != 1 {
		t.Errorf("a is %v", a)
	}
	if b.VramBytes != 7*messages.MiB || b.GetSleepMs() != 30_000 || b.GetIdleMs() != 90_000 || b.Threads != 3 || b.MinReplicas != 2 || b.MaxReplicas != 4 || b.DeclaredBy != messages.DeclaredByConfig {
		t.Errorf("b is %v", b)
	}
}

// Replicas and sleep change the declaration and not its revision. Only the first sleep does: the engine is started ready for it.
func TestReplicasAndSleepKeepTheRevision(t *testing.T) {
	revision := func(model string) string {
		return load(t, "models: {declare: {m: {path: /m.gguf"+model+"}}}", "").Specs()[0].Revision
	}
	if was := revision(", sleep: 30s"); was != revision(", sleep: 90s, replicas: {min: 2, max: 4}") || was == revision("") {
		t.Error("another revision, or the first sleep keeps it")
	}
}

// A file that a caller names goes under its name with the words of the configuration where there are some, and has a revision of its own.
func TestSpecOfAFile(t *testing.T) {
	c := load(t, "models: {declare: {m: {path: /m.gguf, ttl: 90s}, own: {cmd: \"engine ${PORT}\", vram_mb: 1}, far: {url: \"http://127.0.0.1:2\"}}}", "")
	t.Chdir(t.TempDir())
	known, err := c.SpecOf("m", "other.gguf", 2)
	if err != nil || known.GetIdleMs() != 90_000 || known.Shards != 2 || known.DeclaredBy != messages.DeclaredByAPI || !filepath.IsAbs(known.Path) {
		t.Errorf("%v, %v", known, err)
	}
	for name, source := range map[string]string{"own": "cmd", "far": "url"} {
		if spec, err := c.SpecOf(name, "other.gguf", 0); messages.CodeOf(err) != messages.InvalidArgument || !strings.Contains(err.Error(), "with a "+source) {
			t.Errorf("%s: the path is ignored: %v, %v", name, spec, err)
		}
	}
	unknown, err := c.SpecOf("n", "other.gguf", 0)
	if err != nil || unknown.IdleMs != nil || unknown.Shards != 1 || unknown.Revision == known.Revision || known.Revision == c.Specs()[0].Revision {
		t.Errorf("%v, %v", unknown, err)
	}
}
