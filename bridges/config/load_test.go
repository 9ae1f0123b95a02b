package config

import (
	"os"
	"path/filepath"
	"testing"
)

// write puts a configuration into an empty folder and returns its path.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadNothing(t *testing.T) {
	c, err := Load("", nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", c)
}

func TestLoadSome(t *testing.T) {
	p := write(t, `
server: {grpc_port: "${P:99}", rest_port: 70000, zmq_prot: 1}
resources:
  gpu_poll_interval: 5s
  devices: [{id: a, capacity_mb: 1}]
goals: 3
vram: {}
zmq_port: 1
models:
  foo: {path: x}
  declare:
    a: {cmd: "x ${PORT} ${NOPE}"}
    b: {path: x, url: y}
`)
	_, err := Load(p, []string{"MOC_SERVER__GRPC_PRT=1", "MOC_SERVER__ZMQ_PORT=x", "MOC_FOO=1"}, "")
	t.Log(err)
}
