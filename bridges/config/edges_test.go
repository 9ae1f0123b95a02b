package config

import (
	"strings"
	"testing"
)

// TestEdges: the last value that is accepted and the first one that isn't, of rules about several keys.
func TestEdges(t *testing.T) {
	model := func(keys string) string { return "models: {declare: {m: {" + keys + "}}}" }
	const sum = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
	for text, problem := range map[string]string{
		"server: {rest_port: 0, grpc_port: 0}":                                                    "",
		"server: {rest_port: 9, grpc_port: 9}":                                                    "9 is server.grpc_port too",
		"server: {bind: '::1'}":                                                                   "",
		"server: {bind: '::1%lo'}":                                                                "has a zone",
		"server: {bind: 127.8.9.1}":                                                               "",
		"server: {bind: 0.0.0.0}":                                                                 "without TLS",
		"resources: {margin_mb: 99, vram_soft_limit_mb: 100}":                                     "",
		"resources: {margin_mb: 100, vram_soft_limit_mb: 100}":                                    "leaves nothing",
		"resources: {cpu_budget_mb: 513}":                                                         "",
		"resources: {cpu_budget_mb: 512}":                                                         "no model can ever be loaded",
		"resources: {devices: [{id: a, capacity_mb: 513}]}":                                       "",
		"resources: {devices: [{id: a, capacity_mb: 512}]}":                                       "no model can ever be loaded",
		"resources: {devices: [{id: a, capacity_mb: 9000}, {id: a, capacity_mb: 9000}]}":          "id \"a\" is entry 0's too",
		"runtimes: {ollama: {url: 'https://h'}}":                                                  "",
		"runtimes: {ollama: {url: 'ftp://h'}}":                                                    "is no address",
		"keys: [{name: a, key: 1234567a}]":                                                        "",
		"keys: [{name: a, key: 123456a}]":                                                         "at least 8",
		"keys: [{name: a, key: 'tilde~~~'}]":                                                      "",
		"keys: [{name: a, key: 'umlaut-é-'}]":                                                     "without spaces",
		"keys: [{name: a, sha256: " + strings.ToUpper(sum) + "}]":                                 "",
		"keys: [{name: a, sha256: " + sum[2:] + "}]":                                              "no SHA-256",
		"keys: [{name: a, sha256: " + sum + "}, {name: b, sha256: " + strings.ToUpper(sum) + "}]": "its key is entry 0's too",
		"queue: {max_wait: 100ms}":                                                                "",
		"queue: {max_wait: 99ms}":                                                                 "out of range",
		model("runtime: llama.cpp, args: [-hf, x]"):                                               "",
		model("runtime: llama.cpp"):                                                               "there is nothing to run",
		model("cmd: x, env: ['P=${PORT}']"):                                                       "",
		model("cmd: x, args: ['${PORT}']"):                                                        "",
		model("cmd: x"):                                                                           "does not use ${PORT}",
		model("path: x, env: ['=1']"):                                                             "has no name with =",
		model("path: x, ttl: 9, sleep: 8"):                                                        "",
		model("path: x, ttl: 9, sleep: 9"):                                                        "not before the model is unloaded",
		"models: {globalTTL: 9, declare: {m: {path: x, sleep: 9}}}":                               "not before the model is unloaded",
		model("path: x, pinned: true, keep_alive: -1"):                                            "",
		model("path: x, pinned: true, keep_alive: 0"):                                             "never unloaded",
		model("path: x, pinned: true, ttl: 1"):                                                    "never unloaded",
		model("path: x, vram_mb: 22000"):                                                          "",
		model("path: x, vram_mb: 22001"):                                                          "can never be loaded",
		model("path: x, vram_mb: 44000, shards: 2"):                                               "",
		model("path: x, vram_mb: 44001, shards: 2"):                                               "can never be loaded",
		model("path: x.gguf, runtime: embedded, vram_mb: 44000, shards: 2"):                       "embedded runs on one device",
		model("path: x, runtime: whisper.cpp, vram_mb: 22001, shards: 2"):                         "whisper.cpp runs on one device",
		"resources: {devices: [{id: a, kind: simulated, capacity_mb: 30000}]}\n" + model("path: x.gguf, runtime: embedded, vram_mb: 44000, shards: 2"): "",
		model("path: x, load_timeout: 1, healthCheckTimeout: 1"):                           "says the same as load_timeout",
		model("path: x, replicas: {min: 2, max: 2}"):                                       "",
		model("path: x, replicas: {min: 3, max: 2}"):                                       "min 3 is more than max 2",
		model("runtime: ollama, replicas: {max: 2}"):                                       "has no replicas",
		model("path: x, groups: [a, a]"):                                                   "named twice",
		model("path: x, aliases: ['a b']"):                                                 "aliases[0]",
		model("path: x, x-note: 1"):                                                        "unknown key",
		"x-note: 1":                                                                        "",
		"models: {declare: {m: {path: x}}, preload: [{name: m}, {name: m}]}":               "entry 0's too",
		"models: {declare: {m: {path: x, aliases: [a]}}, preload: [{name: a}, {name: m}]}": "entry 0's too",
		"models: {declare: {m: {path: x, shards: 2}}, preload: [{name: m, shards: 3}]}":    "shards differ",
	} {
		_, err := Load(write(t, text), nil, "")
		if err == nil != (problem == "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, want %q", text, err, problem)
		}
	}
}

// TestAPreloadSaysWhereItsModelIs: a preload by alias is that of the model, and its shards are the model's where the declaration has none.
func TestAPreloadSaysWhereItsModelIs(t *testing.T) {
	c := load(t, "models: {declare: {m: {path: /m.gguf, aliases: [a]}}, preload: [{name: a, shards: 3}, {name: n, path: n.gguf, shards: 2}]}", "")
	if p := c.Models.Preload; p[0].Name != "m" || c.Models.Declare["m"].Shards != 3 {
		t.Errorf("m is %+v, preloaded as %+v", c.Models.Declare["m"], p)
	}
	if n := c.Models.Declare["n"]; n.Shards != 2 || !strings.HasPrefix(n.Path, "/") || n.CheckEndpoint != "/health" {
		t.Errorf("n is %+v", n)
	}
}

// TestAMistakeIsToldOnce: what follows from a mistake is no second one.
func TestAMistakeIsToldOnce(t *testing.T) {
	for _, list := range []string{"groups", "aliases", "env"} {
		_, err := Load(write(t, "models: {declare: {m: {path: x, "+list+": [[a]]}}}"), nil, "")
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), list+"[0]: is a list") {
			t.Errorf("%s: %v", list, err)
		}
	}
}
