package process

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// stat is what /proc/PID/stat says of a process.
type stat struct {
	pid, parent, group, session int64
	state                       byte
	startTicks                  uint64
	// exitStatus is the wait status of a zombie, where the kernel lets us see it.
	exitStatus int
}

// dead: it has ended and only its entry is left. A pid 1 that doesn't reap keeps such entries for ever.
func (s stat) dead() bool { return s.state == 'Z' || s.state == 'X' }

// byAge sorts the oldest first.
func byAge(a, b stat) int { return cmp.Compare(a.startTicks, b.startTicks) }

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

// processes lists every process there is, the dead ones too. The error tells that the list is not whole for lack of means;
// a process that ends meanwhile is left out without one.
func processes() ([]stat, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	names, err := proc.Readdirnames(-1)
	proc.Close()
	if self := strconv.Itoa(os.Getpid()); err == nil && !slices.Contains(names, self) {
		err = fmt.Errorf("/proc doesn't show this process (pid %s): it is not mounted, or belongs to another namespace", self)
	}
	var out []stat
	for _, n := range names {
		pid, notPid := strconv.ParseInt(n, 10, 64)
		if notPid != nil {
			continue
		}
		st, unread := readStat(pid)
		switch {
		case unread == nil:
			out = append(out, st)
		case Starved(unread):
			err = cmp.Or(err, unread)
		}
	}
	return out, err
}

// environ is the environment of a process as it was started, NAME=value with a zero byte after each.
func environ(pid int64) ([]byte, error) { return os.ReadFile(procPath(pid, "environ")) }

// variable finds a variable in an environment, "" when it is not there.
func variable(environ []byte, name string) string {
	for pair := range bytes.SplitSeq(environ, []byte{0}) {
		if v, ok := bytes.CutPrefix(pair, []byte(name+"=")); ok {
			return string(v)
		}
	}
	return ""
}

// Variable is a variable of a process as it was started; "" when it has none or we may not look.
func Variable(pid int64, name string) string {
	env, _ := environ(pid)
	return variable(env, name)
}

// outputs are the files that a process writes its output to. A closed output has none.
func outputs(pid int64) ([]string, error) {
	var out []string
	var failed error
	for _, fd := range []string{"fd/1", "fd/2"} {
		target, err := os.Readlink(procPath(pid, fd))
		switch {
		case err == nil:
			out = append(out, target)
		case !errors.Is(err, fs.ErrNotExist):
			failed = err
		}
	}
	return out, failed
}

func kernelBootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	id := strings.TrimSpace(string(b))
	if err == nil && id == "" {
		err = errors.New("the kernel's boot id is empty")
	}
	return id, err
}

// SameGroup tells whether a process is in the process group that leader leads. A process that Start started leads one.
func SameGroup(pid, leader int64) bool {
	group, err := unix.Getpgid(int(pid))
	return err == nil && int64(group) == leader
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
