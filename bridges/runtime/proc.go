package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// stat is what /proc/PID/stat says of a process.
type stat struct {
	pid, parent, group, session int64
	state                       byte
	startTicks                  uint64
	// exitStatus is the wait status of a zombie, where the kernel lets us see it.
	exitStatus int
}

// dead: it has ended; only its entry is left. A pid 1 that doesn't reap keeps such entries for ever.
func (s stat) dead() bool { return s.state == 'Z' || s.state == 'X' }

func readStat(pid int64) (stat, error) {
	b, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(pid, b)
}

// parseStat splits after the last bracket: the name before it may hold spaces and brackets.
func parseStat(pid int64, b []byte) (stat, error) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return stat{}, errors.New("no process name in stat")
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 {
		return stat{}, fmt.Errorf("stat has %d fields after the name", len(f))
	}
	s := stat{pid: pid, state: f[0][0]}
	var errs [4]error
	s.parent, errs[0] = strconv.ParseInt(f[1], 10, 64)
	s.group, errs[1] = strconv.ParseInt(f[2], 10, 64)
	s.session, errs[2] = strconv.ParseInt(f[3], 10, 64)
	s.startTicks, errs[3] = strconv.ParseUint(f[19], 10, 64)
	if len(f) >= 50 {
		s.exitStatus, _ = strconv.Atoi(f[49])
	}
	return s, errors.Join(errs[:]...)
}

// processes lists every process there is, the dead among them too.
func processes() []stat {
	names, _ := filepath.Glob("/proc/[0-9]*")
	out := make([]stat, 0, len(names))
	for _, n := range names {
		pid, err := strconv.ParseInt(filepath.Base(n), 10, 64)
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil {
			out = append(out, s)
		}
	}
	return out
}

// environOf is a variable of a process as it was started; "" when it has none or we may not look.
func environOf(pid int64, name string) string {
	b, err := os.ReadFile(procPath(pid, "environ"))
	if err != nil {
		return ""
	}
	for pair := range bytes.SplitSeq(b, []byte{0}) {
		if v, ok := bytes.CutPrefix(pair, []byte(name+"=")); ok {
			return string(v)
		}
	}
	return ""
}

// outputOf is the file that a process writes its output to.
func outputOf(pid int64) []string {
	var out []string
	for _, fd := range []string{"fd/1", "fd/2"} {
		if target, err := os.Readlink(procPath(pid, fd)); err == nil {
			out = append(out, target)
		}
	}
	return out
}

func kernelBootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

// residentBytes is the resident memory of a process and its descendants.
func residentBytes(pid int64) (uint64, error) {
	first, err := resident(pid)
	if err != nil {
		return 0, err
	}
	for _, s := range descendants(pid, processes()) {
		more, _ := resident(s.pid)
		first += more
	}
	return first, nil
}

func resident(pid int64) (uint64, error) {
	b, err := os.ReadFile(procPath(pid, "statm"))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0, errors.New("statm has no resident pages")
	}
	pages, err := strconv.ParseUint(f[1], 10, 64)
	return pages * uint64(os.Getpagesize()), err
}

// readBytes is how much a process has read so far, from caches too; 0 when we may not know.
func readBytes(pid int64) uint64 {
	b, _ := os.ReadFile(procPath(pid, "io"))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "rchar: "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	return 0
}

// descendants are the children of pid, their children and so on.
func descendants(pid int64, all []stat) []stat {
	var out []stat
	seen := map[int64]bool{pid: true}
	for grew := true; grew; {
		grew = false
		for _, s := range all {
			if seen[s.parent] && !seen[s.pid] {
				seen[s.pid] = true
				out = append(out, s)
				grew = true
			}
		}
	}
	return out
}

func procPath(pid int64, name string) string {
	return "/proc/" + strconv.FormatInt(pid, 10) + "/" + name
}
