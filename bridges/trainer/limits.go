package trainer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// group is a cgroup of a trainer's own; nil when it has none.
type group struct {
	path string
	dir  *os.File
}

// limit bounds the trainer's CPU and RAM by a cgroup (version 2) below the runner's, where that is permitted. note says why not.
func (r *running) limit(cmd *exec.Cmd) (g *group, note string) {
	if r.o.CPUs <= 0 && r.o.MemoryBytes == 0 {
		return nil, ""
	}
	g, err := newGroup(fmt.Sprintf("modelops-%s-%d", filepath.Base(filepath.Dir(r.dir)), r.o.Attempt), r.o.CPUs, r.o.MemoryBytes)
	if err != nil {
		return nil, fmt.Sprintf("its limits of CPU and memory can't be set here, it runs without: %v", err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(g.dir.Fd())}
	return g, ""
}

func newGroup(name string, cpus float64, memory uint64) (*group, error) {
	own, err := ownGroup()
	if err != nil {
		return nil, err
	}
	g := &group{path: filepath.Join(own, name)}
	if err := os.Mkdir(g.path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	const period = 100_000 // microseconds
	if cpus > 0 {
		err = os.WriteFile(filepath.Join(g.path, "cpu.max"), fmt.Appendf(nil, "%d %d", max(int64(cpus*period), 1000), period), 0)
	}
	if memory > 0 && err == nil {
		err = os.WriteFile(filepath.Join(g.path, "memory.max"), fmt.Append(nil, memory), 0)
	}
	if err == nil {
		g.dir, err = os.Open(g.path)
	}
	if err != nil {
		_ = os.Remove(g.path)
		return nil, err
	}
	return g, nil
}

// ownGroup is this process's cgroup of version 2.
func ownGroup() (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return cgroup2(filepath.Join("/sys/fs/cgroup", path))
		}
	}
	return "", errors.New("this machine has no cgroups of version 2")
}

// cgroup2 is the folder, when the kernel's cgroups of version 2 are there. Beside those of version 1 another file system may be, in which anything can be written without effect.
func cgroup2(path string) (string, error) {
	var fsys unix.Statfs_t
	if err := unix.Statfs(path, &fsys); err != nil {
		return "", err
	}
	if fsys.Type != unix.CGROUP2_SUPER_MAGIC {
		return "", fmt.Errorf("%s is no cgroup of version 2", path)
	}
	return path, nil
}

// killedForMemory tells whether the kernel ended a process of the group because it reached its bound.
func (g *group) killedForMemory() bool {
	if g == nil {
		return false
	}
	text, _ := os.ReadFile(filepath.Join(g.path, "memory.events"))
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok && n != "0" {
			return true
		}
	}
	return false
}

func (g *group) remove() {
	if g == nil {
		return
	}
	_ = g.dir.Close()
	_ = os.Remove(g.path)
}
