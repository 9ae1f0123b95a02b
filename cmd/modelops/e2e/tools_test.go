//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// cache is where `make deps` puts the clients.
func cache(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("MODELOPS_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "modelops")
}

// tool is a client that `make deps` built.
func tool(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(cache(t), "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is missing: make deps builds it", path)
	}
	return path
}

// llamaServer is the real engine, by LLAMA_SERVER or where `make deps` builds it.
func llamaServer(t *testing.T) string {
	t.Helper()
	path := os.Getenv("LLAMA_SERVER")
	if path == "" {
		path = filepath.Join(cache(t), "engine", "llama-server")
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is missing: make deps builds it", path)
	}
	return path
}

// output is what a program said and how it ended.
type output struct {
	out, err string
	code     int // -1: it didn't run or was killed
}

func (o output) String() string { return o.out + o.err }

// execute runs a program to its end, within a limit that only a hanging one needs.
func execute(t *testing.T, env []string, name string, args ...string) output {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	if env != nil {
		cmd.Env = env
	}
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &bad
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatalf("%s: %v", name, err)
	}
	return output{out: out.String(), err: bad.String(), code: cmd.ProcessState.ExitCode()}
}

// cli runs a command of the tested binary against the daemon.
func (d *daemon) cli(args ...string) output {
	d.t.Helper()
	var o output
	_ = d.site.inside(func() error {
		o = execute(d.t, d.environ(), d.binary, append(args, "--config", filepath.Join(d.dir, "cluster.yaml"))...)
		return nil
	})
	return o
}
