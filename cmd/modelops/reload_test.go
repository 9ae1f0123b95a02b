package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/bridges/config"
	"modelops/messages"
)

func configured(t *testing.T, text string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, []string{"MOC_DATA_DIR=/d"}, "")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestKeysAndClassesChangeWithoutARestart: the plan names callers and what became of them, never a key, and asks for a restart only
// where one is needed.
func TestKeysAndClassesChangeWithoutARestart(t *testing.T) {
	old := configured(t, "keys: [{name: a, key: canary-a}, {name: b, key: canary-b}, {name: c, key: canary-c}]")
	next := configured(t, `
keys: [{name: a, key: canary-new}, {name: b, key: canary-b, class: batch}, {name: d, key: canary-d}]
queue: {collation: 1s}
resilience: {host: {max_concurrent: 3}}
batch: {max_size: 2}
server: {require_key: true}
`)
	p := plan(old, next, nil)
	want := []string{
		"resilience: changed", "queue: changed", "batch: changed", "server.require_key: changed",
		"key of a: another one; the old one is refused", "key of b: class normal becomes batch", "key of d: new", "key of c: gone; it is refused",
	}
	if !slices.Equal(p.changes, want) || len(p.restart) > 0 {
		t.Errorf("changes %q, restart %q", p.changes, p.restart)
	}
	if p := plan(old, configured(t, "keys: [{name: a, key: canary-a}, {name: b, key: canary-b}, {name: c, key: canary-c}]\nserver: {rest_port: 1}"), nil); strings.Join(p.restart, ";") != "server: changed, needs a restart" {
		t.Errorf("restart %q", p.restart)
	}
}

// TestReplicasAndSleepDontRestartAWorker: they change the declaration and not its revision. Only the first sleep does: the engine is
// started ready for it.
func TestReplicasAndSleepDontRestartAWorker(t *testing.T) {
	was := configured(t, "models: {declare: {m: {path: /m.gguf, sleep: 30s}}}").Specs()[0]
	will := configured(t, "models: {declare: {m: {path: /m.gguf, replicas: {min: 2, max: 4}, sleep: 90s}}}")
	spec := will.Specs()[0]
	if was.MinReplicas != 1 || was.MaxReplicas != 1 || was.GetSleepMs() != 30_000 || spec.MinReplicas != 2 || spec.MaxReplicas != 4 || spec.GetSleepMs() != 90_000 {
		t.Errorf("specs %v and %v", was, spec)
	}
	p := plan(&config.Config{}, will, map[string]*messages.ModelSpec{"m": was})
	if !slices.Contains(p.changes, "model m: changed, without a reload") {
		t.Errorf("changes %q", p.changes)
	}
}

// TestWhatOneModelRefusesKeepsNothingFromTheOthers: by then the configuration rules, so the rest of the plan must be told, and the
// refusal named.
func TestWhatOneModelRefusesKeepsNothingFromTheOthers(t *testing.T) {
	p := planChange{declare: []*messages.ModelSpec{{Name: "a"}, {Name: "b"}}, retire: []string{"c"}, preload: []string{"a", "b"}}
	var told []string
	refused, err := p.tell("h", func(to messages.ActorID, m proto.Message) error {
		told = append(told, to.String()+" "+string(m.ProtoReflect().Descriptor().Name()))
		if _, is := m.(*messages.DeclareModel); is && to.Name() == "a" {
			return messages.NewError(messages.InvalidArgument, to.String(), "no")
		}
		return nil
	})
	want := []string{"model/h/a DeclareModel", "model/h/b DeclareModel", "host/h ReviewRoutes", "model/h/c RetireModel", "model/h/a EnsureModel",
		"model/h/b EnsureModel", "gateway/h QueryView"}
	if !slices.Equal(told, want) || err != nil {
		t.Errorf("told %q, %v", told, err)
	}
	if len(refused) != 1 || refused[0].Subject != "model/h/a" {
		t.Errorf("refused %v", refused)
	}
}
