//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startConfig is a host without models, with certificates of its own.
const startConfig = `
host: main_pc
data_dir: state
server: {zmq_port: 0, grpc_port: 0, rest_port: 0, nats_port: 0, drain_timeout: 1s, tls: {auto: true}}
log: {level: warn}
resources:
  vram_soft_limit_mb: 24000
  devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]
`

// stateFiles are what a start reads in its data directory, beside the journal's blocks.
var stateFiles = []string{"keys.json", "keys.json", "operator.key", "identity", "daemon.json", "certs/ca.key", "certs/ca.crt", "certs/host.key", "certs/host.crt", "journal/mark.json", "journal/lock"}

// host is a daemon in a directory of its own, beside the one that c tests.
type host struct {
	c      *chaos
	dir    string
	cmd    *exec.Cmd
	said   bytes.Buffer
	exited chan struct{}
}

func (c *chaos) serve(dir string) (*host, error) {
	h := &host{c: c, dir: dir, exited: make(chan struct{})}
	h.cmd = exec.Command(c.binary, "serve", "--config", filepath.Join(dir, "cluster.yaml"))
	h.cmd.Dir, h.cmd.Env, h.cmd.Stdout, h.cmd.Stderr = dir, c.environ(), &h.said, &h.said
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = h.cmd.Wait(); close(h.exited) }()
	return h, nil
}

// up waits until the daemon is announced; false = it ended.
func (h *host) up() (bool, error) {
	for end := time.Now().Add(hangLimit); time.Now().Before(end); pause(h.c.t) {
		select {
		case <-h.exited:
			return false, nil
		default:
		}
		var at addresses
		raw, err := os.ReadFile(filepath.Join(h.dir, "state", "daemon.json"))
		if err == nil && json.Unmarshal(raw, &at) == nil && at.PID == h.cmd.Process.Pid {
			return true, nil
		}
	}
	return false, errors.New("it neither starts nor ends within " + hangLimit.String())
}

func (h *host) end(signal syscall.Signal) {
	_ = h.cmd.Process.Signal(signal)
	<-h.exited
}

// seedDir is a data directory that was used: it has a key, certificates and a journal.
func (c *chaos) seedDir() (dir string, err error) {
	dir = filepath.Join(c.scratch, "seed")
	if err = os.Mkdir(dir, 0o755); err == nil {
		err = os.WriteFile(filepath.Join(dir, "cluster.yaml"), []byte(startConfig), 0o644)
	}
	if err != nil {
		return "", err
	}
	h, err := c.serve(dir)
	if err != nil {
		return "", err
	}
	defer h.end(syscall.SIGTERM)
	if up, err := h.up(); !up {
		return "", errors.Join(err, errors.New(h.said.String()))
	}
	for _, name := range []string{"alice", "bob"} {
		if code, fault := c.ran(nil, nil, "keys", "add", name, "--config", filepath.Join(dir, "cluster.yaml")); code != "exit 0" {
			return "", errors.New("keys add: " + code + fault)
		}
	}
	return dir, nil
}

// starts is the gate of a start that finds a spoiled file. It refuses and says which, or it serves the operator.
func starts() func(c *chaos, s spoiler) (input []byte, code, fault string) {
	var once sync.Once
	var seed string
	var failed error
	return func(c *chaos, s spoiler) (input []byte, code, fault string) {
		if once.Do(func() { seed, failed = c.seedDir() }); failed != nil {
			return nil, "", failed.Error()
		}
		dir, err := os.MkdirTemp(c.scratch, "start")
		if err == nil {
			err = exec.Command("cp", "-a", seed+"/.", dir).Run()
		}
		if err != nil {
			return nil, "", err.Error()
		}
		defer os.RemoveAll(dir)
		name := pick(s, stateFiles)
		input, err = s.spoilFile(filepath.Join(dir, "state", name))
		if err != nil {
			return nil, "", err.Error()
		}
		code, fault = c.startsWith(dir, name)
		return append([]byte(name+": "), input...), name + " " + code, fault
	}
}

// spoilFile spoils what a file holds, or the file.
func (s spoiler) spoilFile(path string) (input []byte, err error) {
	raw, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	input = s.spoil(raw)
	switch s.chance.IntN(12) {
	case 0:
		input = nil
	case 1:
		input = []byte(pick(s, append(jsonBodies, `{"version":1,"keys":[null]}`, `{"version":1,"keys":{}}`, `{"version":1e9}`, `{"version":1,"keys":[{"name":"a","sha256":"x","role":"admin"}]}`)))
	case 2:
		_ = os.Remove(path)
		return []byte("a folder"), os.Mkdir(path, 0o755)
	case 3:
		_ = os.WriteFile(path, raw, 0o600)
		return []byte("permissions"), os.Chmod(path, pick(s, []os.FileMode{0, 0o644, 0o666, 0o777, 0o444}))
	case 4:
		_ = os.Remove(path)
		return []byte("gone"), nil
	case 5:
		_ = os.Remove(path)
		return []byte("a link"), os.Symlink(pick(s, []string{"/nonexistent", filepath.Base(path)}), path)
	}
	return input, os.WriteFile(path, input, 0o600)
}

func (c *chaos) startsWith(dir, name string) (code, fault string) {
	h, err := c.serve(dir)
	if err != nil {
		return "", err.Error()
	}
	defer h.end(syscall.SIGKILL)
	up, err := h.up()
	switch {
	case err != nil:
		h.end(syscall.SIGQUIT)
		return "hangs", err.Error() + "\n" + h.said.String()[min(h.said.Len(), max(0, h.said.Len()-1500)):]
	case up:
		code, fault = c.ran(nil, nil, "keys", "ls", "--config", filepath.Join(dir, "cluster.yaml"))
		if fault == "" && code != "exit 0" {
			fault = "it started, but the operator isn't served: " + code
		}
		return "starts", fault
	}
	said := h.said.String()
	switch exit := h.cmd.ProcessState.ExitCode(); {
	case panicked.MatchString(said) || exit < 0:
		return "ends", "it panicked: " + said
	case exit == 0:
		return "ends", "it ended as if all were well: " + said
	case !strings.Contains(said, filepath.Base(name)) && !strings.Contains(said, filepath.Dir(name)):
		return "refuses", "it doesn't say which file is wrong: " + said
	}
	return "refuses", ""
}
