package config

import (
	"strings"
	"testing"
)

// What is shown is a configuration that says the same.
func TestViewSaysTheSame(t *testing.T) {
	const dir = "MOC_DATA_DIR=/d"
	c := load(t, `
server: {rest_port: 8123, drain_timeout: 90s}
resources: {devices: [{id: sim0, capacity_mb: 1000}, {id: sim1, capacity_mb: 2000}]}
models: {declare: {"a.b:c": {path: /m.gguf, aliases: [x, "yes"], args: ["-c", "#5"], ttl: 90s, replicas: {min: 2, max: 3}}}, preload: [{name: "a.b:c"}]}
queue: {classes: [high, low], default_class: low}
`, "", dir)
	shown, err := c.View()
	if err != nil {
		t.Fatal(err)
	}
	again := load(t, shown.Yaml, "", dir)
	if again.Revision() != c.Revision() || shown.Revision != c.Revision() {
		d := again.Differs(c)
		t.Errorf("read again it differs: %+v\n%s", d, shown.Yaml)
	}
}

func TestViewHidesSecrets(t *testing.T) {
	c := load(t, `
keys: [{name: a, key: canary-one}]
models: {declare: {m: {cmd: "run ${PORT} ${SECRET_TOKEN}", env: ["API_KEY=canary-two"]}}}
`, "", "SECRET_TOKEN=canary-three")
	shown, err := c.View()
	if err != nil || strings.Contains(shown.Yaml, "canary") || !strings.Contains(shown.Yaml, "name: a") {
		t.Errorf("%v\n%s", err, shown.Yaml)
	}
}
