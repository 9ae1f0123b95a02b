//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc/metadata"

	"modelops/messages"
)

// chatty is a model whose worker writes a line, a secret, and a line that it doesn't end.
func chatty(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chatty")
	script := fmt.Sprintf("#!/bin/sh\nprintf 'first\\nkey %%s\\nunfinished' \"$SECRET_KEY\"\nexec %s %s engine \"$@\" >/dev/null 2>&1\n", self(t), roleWord)
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("{cmd: '%s --port ${PORT}', vram_mb: 64, env: [SECRET_KEY=canary-in-file]}", path)
}

// TestLogsOfAnotherHost: the log of a worker is read from any host of the cluster, at every door, without secrets, from its end and on, and over a new worker.
// When its host is killed, those who follow it hear which host is missing.
func TestLogsOfAnotherHost(t *testing.T) {
	main, pc2 := pair(t, func(host string) string {
		return "resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}\n" + map[string]string{"pc2": "models: {preload: [{name: there}], declare: {there: " + chatty(t) + "}}\n"}[host]
	})
	main.until(startLimit, "the worker is ready", func() bool { return main.phaseAt("there", "pc2") == "ready" })
	const words = "first\nkey [redacted]\n"
	for _, args := range [][]string{{"there"}, {"there", "--host", "pc2"}, {"pc2/there"}} {
		if o := main.cli(append([]string{"logs"}, args...)...); o.code != 0 || o.out != words+"unfinished\n" {
			t.Errorf("%v: %s", args, o)
		}
	}
	if o := main.cli("logs", "there", "--host", "main_pc"); o.code == 0 || !strings.Contains(o.err, "not found") {
		t.Errorf("it has no worker here: %s", o)
	}
	if o := main.cli("logs", "there", "--host", "pc9"); o.code == 0 || !strings.Contains(o.err, "no member") {
		t.Errorf("no such host: %s", o)
	}
	has := func(door string, p *messages.LogPage, err error) {
		t.Helper()
		if err != nil || strings.Join(p.GetLines(), "\n")+"\n" != words || p.Unfinished != "unfinished" || p.Host != "pc2" {
			t.Errorf("%s: %v, %v", door, p, err)
		}
	}
	key := []string{"Authorization", "Bearer " + main.operatorKey()}
	page := &messages.LogPage{}
	has("HTTP", page, readView(main.do(t.Context(), "GET", "/api/logs/there?host=pc2", nil, key...).body, page))
	page, err := main.control(t).ReadLog(metadata.AppendToOutgoingContext(t.Context(), messages.HostHeader, "pc2"), &messages.LogRequest{ModelName: "there"})
	has("gRPC", page, err)
	m := nats.NewMsg("modelops.v1.logs.there")
	m.Header.Set(messages.HostHeader, "pc2")
	r, err := main.nats().RequestMsg(m, waitLimit)
	if err != nil {
		t.Fatal(err)
	}
	page = &messages.LogPage{}
	has("NATS", page, readView(r.Data, page))
	if a := main.get("/api/logs/there"); a.status != 401 { // engines write what they are asked
		t.Errorf("without a key: %s", a)
	}
	f := main.follows("logs", "-f", "there")
	main.until(waitLimit, "what the worker wrote up to now", func() bool { return f.said() == words })
	for _, args := range [][]string{{"unload", "there"}, {"load", "there"}} {
		if o := main.cli(args...); o.code != 0 {
			t.Fatal(args, o)
		}
	}
	main.until(waitLimit, "the words of the next worker", func() bool { return f.said() == words+"unfinished\n"+words })
	var line struct{ Line string }
	if o := main.cli("logs", "there", "-n", "1", "--json"); json.Unmarshal([]byte(o.out), &line) != nil || line.Line != "unfinished" {
		t.Errorf("as JSON: %s", o)
	}
	pc2.kill()
	<-f.ended
	if !strings.Contains(f.errors(), "host pc2 can't be reached") {
		t.Errorf("whoever follows hears %q", f.errors())
	}
	if o := main.cli("logs", "there"); o.code == 0 || !strings.Contains(o.err, "host pc2 can't be reached") || !strings.Contains(o.err, "modelops why there") {
		t.Errorf("pc2 is dead: %s", o)
	}
	if o := pc2.cli("logs", "there", "--data-dir", pc2.state()); o.code != 0 || !strings.Contains(o.out, "canary-in-file") { // the file is what it is
		t.Errorf("without a daemon: %s", o)
	}
}

// following is a command that goes on.
type following struct {
	mu       sync.Mutex
	out, err bytes.Buffer
	ended    chan struct{}
}

func (d *daemon) follows(args ...string) *following {
	d.t.Helper()
	f := &following{ended: make(chan struct{})}
	cmd := exec.CommandContext(d.t.Context(), d.binary, append(args, "--config", filepath.Join(d.dir, "cluster.yaml"))...)
	cmd.Env, cmd.Stdout, cmd.Stderr = d.environ(), locked{f, &f.out}, locked{f, &f.err}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); close(f.ended) }()
	return f
}

type locked struct {
	f *following
	b *bytes.Buffer
}

func (l locked) Write(b []byte) (int, error) {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	return l.b.Write(b)
}

func (f *following) said() string   { f.mu.Lock(); defer f.mu.Unlock(); return f.out.String() }
func (f *following) errors() string { f.mu.Lock(); defer f.mu.Unlock(); return f.err.String() }
