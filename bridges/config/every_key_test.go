package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// TestWhatAModelsKeysChange: a key of a model changes the configuration, and what is declared to the model's actor. Only what the worker is started
// with changes the model's revision, because that lets a running worker drain and load again.
func TestWhatAModelsKeysChange(t *testing.T) {
	const file, command, remote = "path: /m.gguf", "cmd: 'x ${PORT}'", "url: 'http://h:1'"
	table := map[string]struct {
		was, now string
		reloads  bool
	}{
		"runtime": {file, file + ", runtime: embedded", true}, "path": {file, "path: /n.gguf", true}, "shards": {file, file + ", shards: 2", true},
		"cmd": {command, "cmd: 'y ${PORT}'", true}, "cmdStop": {command, command + ", cmdStop: y", true}, "proxy": {command, command + ", proxy: 'http://h:2'", true},
		"url": {remote, "url: 'http://h:2'", true}, "api_key_env": {remote, remote + ", api_key_env: A", true}, "env": {file, file + ", env: [A=1]", true},
		"args": {file, file + ", args: [-x]", true}, "checkEndpoint": {file, file + ", checkEndpoint: none", true}, "context_length": {file, file + ", context_length: 9", true},
		"parallel": {file, file + ", parallel: 9", true}, "sleep": {file, file + ", sleep: 9s", true},
		"healthCheckTimeout": {file, file + ", healthCheckTimeout: 9s", false}, "load_timeout": {file, file + ", load_timeout: 9s", false}, "ttl": {file, file + ", ttl: 9s", false},
		"keep_alive": {file, file + ", keep_alive: 9s", false}, "min_residency": {file, file + ", min_residency: 9s", false}, "aliases": {file, file + ", aliases: [a]", false},
		"concurrencyLimit": {file, file + ", concurrencyLimit: 9", false}, "unlisted": {file, file + ", unlisted: true", false}, "useModelName": {file, file + ", useModelName: a", false},
		"vram_mb": {file, file + ", vram_mb: 9", false}, "pinned": {file, file + ", pinned: true", false}, "groups": {file, file + ", groups: [a]", false},
		"hosts": {file, file + ", hosts: [a]", false}, "prefer": {file, file + ", prefer: idle", false},
		"replicas": {file, file + ", replicas: {max: 2}", false}, "resilience": {file, file + ", resilience: {bulkhead: {max_concurrent: 9}}", false},
		"batch": {file, file + ", batch: {max_size: 9}", false},
	}
	model := func(keys string) *Config { return load(t, "models: {declare: {m: {"+keys+"}}}", "", "MOC_DATA_DIR=/d") }
	for _, key := range keysOf(reflect.TypeFor[Model]()) {
		c, ok := table[key]
		if !ok {
			t.Errorf("%s: say here whether a change of it loads the model again", key)
			continue
		}
		was, now := model(c.was), model(c.now)
		if was.Revision() == now.Revision() {
			t.Errorf("%s: two configurations have one revision", key)
		}
		if reloads := was.ModelRevision("m") != now.ModelRevision("m"); reloads != c.reloads {
			t.Errorf("%s: it loads again: %t", key, reloads)
		}
		before, after := was.Specs()[0], now.Specs()[0]
		before.Revision, after.Revision = "", ""
		if told := !proto.Equal(before, after); told != (key != "batch") { // batches are made before the model
			t.Errorf("%s: its actor hears of it: %t", key, told)
		}
	}
}

// TestEnginesThatWorkersDependOn: another engine starts new workers of the models that it runs, and of no others.
func TestEnginesThatWorkersDependOn(t *testing.T) {
	const models = "models: {declare: {embedded: {runtime: embedded, path: /m.gguf}, llama_cpp: {runtime: llama.cpp, path: /m}, vllm: {runtime: vllm, path: /m}, " +
		"transformers: {runtime: transformers, path: /m}, whisper_cpp: {runtime: whisper.cpp, path: /m}, ollama: {runtime: ollama}, any: {path: /m}, command: {cmd: 'x ${PORT}'}}}\n"
	was := load(t, models, "")
	for _, f := range fieldsOf(reflect.TypeFor[Runtimes]()) {
		engine := f.Tag.Get("yaml")
		if engine == "pass_env" {
			continue // for all engines; a worker keeps the environment that it was started with
		}
		change := "{binary: other}"
		switch engine {
		case "embedded":
			change = "{threads: 3}"
		case "ollama":
			change = "{url: 'http://h:1'}"
		}
		now := load(t, models+"runtimes: {"+engine+": "+change+"}", "")
		for name := range was.Models.Declare {
			if reloads := now.ModelRevision(name) != was.ModelRevision(name); reloads != (name == engine || name == "any") {
				t.Errorf("another %s: %s loads again: %t", engine, name, reloads)
			}
		}
	}
	for _, all := range []string{"MOC_MODELS__DEFAULT_DTYPE=int8", "MOC_MODELS__QUANTIZATION=false"} {
		if now := load(t, models, "", all); now.ModelRevision("vllm") == was.ModelRevision("vllm") {
			t.Errorf("%s: the worker stays as it is", all)
		}
	}
}

// TestNoChangeIsSilent: a change of a key that this host reads says what follows, now or at the next start.
func TestNoChangeIsSilent(t *testing.T) {
	silent := []string{"title", "version", "keys", "goals", "models"} // for people, told in other words, or without effect on this host
	values := map[string]string{"server.bind": "::1", "queue.classes": "normal,x", "queue.default_class": "batch", "runtimes.ollama.url": "http://h:1",
		"resources.devices": "[{id: a, capacity_mb: 9000}]", "cluster.peers": "[{host: pc2, address: '127.0.0.1:1'}]", "resources.cpu_budget_mb": "9000", "server.require_key": "true", "server.names": "gpu1.lan",
		"server.cors.origins": "https://a.example", "auth.oidc.audience": "a", "host": "other", "data_dir": "/other", "nats.hub": "nats://h:1"}
	path := write(t, "keys: [{name: a, key: canary-a}]")
	was, err := Load(path, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	atOnce := []string{"resilience", "queue", "batch", "auth", "learning"}
	for _, key := range paths(reflect.TypeFor[Config](), "") {
		section, _, _ := strings.Cut(key, ".")
		if slices.Contains(silent, section) || strings.HasPrefix(key, "server.tls.c") || key == "server.tls.key" || slices.Contains([]string{"cluster.ca", "cluster.cert", "cluster.key"}, key) || strings.HasPrefix(key, "nats.hub_") || key == "journal.archive" { // those of TLS stand in TestTLSIsReadAgain, and these need a hub
			continue
		}
		typ, r := tagAt(key)
		value, given := values[key]
		switch v := at(was, key); {
		case given:
		case v.Kind() == reflect.Map, key == "auth.oidc.issuer": // TestWhoElseIsACallerChangesAtOnce
			continue
		case key == "auth.proxy.from":
			value = "10.0.0.1"
		case typ == durationType:
			value = (v.Interface().(time.Duration) + time.Second).String()
			if r.most <= time.Second {
				value = "1s"
			}
		case typ.Kind() == reflect.Int:
			value = fmt.Sprint(v.Int() + 10)
		case typ.Kind() == reflect.Bool:
			value = fmt.Sprint(!v.Bool())
		case len(r.enum) > 0:
			value = r.enum[(slices.Index(r.enum, v.String())+1)%len(r.enum)]
		default:
			value = v.String() + "x"
		}
		now, err := Load(path, []string{variable(key) + "=" + value}, "")
		if err != nil {
			t.Errorf("%s=%s: %v", key, value, err)
			continue
		}
		d := now.Differs(was)
		told := append(d.Changes, d.Restart...)
		if section == "log" == (now.Revision() != was.Revision()) {
			t.Errorf("%s=%s: the revision of both is %s", key, value, now.Revision())
		}
		if !slices.ContainsFunc(told, func(s string) bool { return strings.HasPrefix(s, section) }) || len(d.Preload) > 0 {
			t.Errorf("%s=%s is told as %q", key, value, told)
		}
		if later := len(d.Restart) > 0; later == (slices.Contains(atOnce, section) && key != "queue.max_wait" || slices.Contains([]string{"server.require_key", "server.anonymous", "server.names", "server.cors.origins"}, key)) {
			t.Errorf("%s=%s waits for a restart: %t", key, value, later)
		}
	}
}

// TestWhoElseIsACallerChangesAtOnce: what a variable can't hold, or not alone.
func TestWhoElseIsACallerChangesAtOnce(t *testing.T) {
	was := load(t, "", "", "MOC_DATA_DIR=/d")
	for _, text := range []string{"oidc: {issuer: 'https://a', audience: x}", "oidc: {roles: {x: read}}", "proxy: {roles: {x: read}}"} {
		d := load(t, "auth: {"+text+"}", "", "MOC_DATA_DIR=/d").Differs(was)
		if len(d.Restart) > 0 || !slices.Contains(d.Changes, "auth: changed") {
			t.Errorf("%s is told as %q, %q", text, d.Changes, d.Restart)
		}
	}
}

// TestPatternsHaveTheirWords: an error says in words what a text may be. A pattern without words of its own is that of plain names, which a tag can only repeat.
func TestPatternsHaveTheirWords(t *testing.T) {
	found := 0
	var look func(of reflect.Type, at string)
	look = func(of reflect.Type, at string) {
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			look(of.Elem(), at)
		case reflect.Struct:
			for _, f := range fieldsOf(of) {
				at := join(at, f.Tag.Get("yaml"))
				if r := ruleOf(f.Tag); r.pattern != "" {
					found++
					if plain := r.pattern == messages.PlainName.String(); plain == (r.form != "") {
						t.Errorf("%s has the pattern %s and the words %q", at, r.pattern, expectation(f.Type, r))
					}
				}
				look(f.Type, at)
			}
		}
	}
	look(reflect.TypeFor[Config](), "")
	if _, err := Load("", []string{"MOC_CLUSTER__PEERS=[{host: pc2, wake: {mac: 'x'}}]"}, ""); err == nil || !strings.Contains(err.Error(), `is "x", expected six pairs of hexadecimal digits`) {
		t.Error(err)
	}
	if found < 4 {
		t.Errorf("%d patterns were found", found)
	}
}
