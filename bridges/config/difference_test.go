package config

import (
	"slices"
	"testing"
)

// Keys and classes change without a restart. The report names callers and their changes, never a key, and a restart only where one is
// needed.
func TestDifferences(t *testing.T) {
	const keys = "keys: [{name: a, key: canary-a}, {name: b, key: canary-b}, {name: c, key: canary-c}]\n"
	old := load(t, keys, "", "MOC_DATA_DIR=/d")
	for name, c := range map[string]struct {
		next                      string
		preload, changes, restart []string
	}{
		"nothing": {next: keys},
		"what is asked at each request": {next: `
keys: [{name: a, key: canary-new}, {name: b, key: canary-b, class: batch}, {name: d, key: canary-d}]
queue: {collation: 1s}
resilience: {host: {max_concurrent: 3}}
batch: {max_size: 2}
server: {require_key: true}
`, changes: []string{
			"resilience: changed", "queue: changed", "batch: changed", "server.require_key: changed",
			"key of a: another one; the old one is refused", "key of b: class normal becomes batch", "key of d: new", "key of c: gone; it is refused",
		}},
		"a port":    {next: keys + "server: {rest_port: 1}", restart: []string{"server: changed, needs a restart"}},
		"a preload": {next: keys + "models: {declare: {m: {path: /m.gguf}}, preload: [{name: m}]}", preload: []string{"m"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := load(t, c.next, "", "MOC_DATA_DIR=/d").Differs(old)
			if !slices.Equal(d.Changes, c.changes) || !slices.Equal(d.Restart, c.restart) || !slices.Equal(d.Preload, c.preload) {
				t.Errorf("%+v", d)
			}
		})
	}
}

// TestAFileThatChangedBackNeedsNoRestart: A, B, A ends as A and says so; B twice still owes the restart.
func TestAFileThatChangedBackNeedsNoRestart(t *testing.T) {
	a := load(t, "server: {rest_port: 9001}\nqueue: {collation: 7s}", "", "MOC_DATA_DIR=/d")
	b := load(t, "server: {rest_port: 9002}\nqueue: {collation: 8s}", "", "MOC_DATA_DIR=/d")
	again := load(t, "queue: {collation: 7s}\nserver: {rest_port: 9001}", "", "MOC_DATA_DIR=/d")
	for _, c := range []struct {
		name               string
		next, inForce      *Config
		changes, restarted []string
	}{
		{"B", b, a, []string{"queue: changed"}, []string{"server: changed, needs a restart"}},
		{"B twice", b, b, nil, []string{"server: changed, needs a restart"}},
		{"A again", again, b, []string{"queue: changed", "server: as it was at the start again, needs no restart"}, nil},
		{"A twice", again, a, nil, nil},
	} {
		d := c.next.Follows(c.inForce, a)
		if !slices.Equal(d.Changes, c.changes) || !slices.Equal(d.Restart, c.restarted) {
			t.Errorf("%s: %q, %q", c.name, d.Changes, d.Restart)
		}
	}
}
