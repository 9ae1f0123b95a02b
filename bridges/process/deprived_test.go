package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"modelops/messages"
)

// deprivations are what a kernel, a container or a busy program takes from a Supervisor.
var deprivations = map[string]func() error{
	"no descriptors":                 func() error { return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{}) },
	"pidfd_open is forbidden":        func() error { return forbid(unix.SYS_PIDFD_OPEN, unix.EPERM) },
	"pidfd_open isn't there":         func() error { return forbid(unix.SYS_PIDFD_OPEN, unix.ENOSYS) },
	"pidfd_send_signal is forbidden": func() error { return forbid(unix.SYS_PIDFD_SEND_SIGNAL, unix.EPERM) },
	"kill is forbidden":              func() error { return forbid(unix.SYS_KILL, unix.EPERM) },
	"the right to look":              func() error { return nil }, // the powerless lack it from their start
}

// forbid has the kernel refuse a system call of this program.
func forbid(call uintptr, with syscall.Errno) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(call), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(with)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // the filter and this thread's right to set one go to all threads
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, err := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program))); err != 0 {
		return err
	}
	return nil
}

// acted is what a deprived Supervisor says of a process.
type acted struct {
	Proved, Found  string
	Stopped        string // the error's code, "" = nothing is left
	Watched        bool   // it told of an end
	StartedAnother bool
	LeftAlone      bool   // it told of the end of a dead process whose child lives
	Child          string // the error's code of the stop of a child of its own, "" = nothing is left
	ChildEnded     bool
	Failed         string
}

// actDeprived has a Supervisor that lacks something handle a process that another program started, and a child of its own.
func actDeprived() int {
	var h Handle
	var spec Spec
	err := errors.Join(json.Unmarshal([]byte(os.Getenv("HANDLE")), &h), json.Unmarshal([]byte(os.Getenv("SPEC")), &spec))
	s := New(Options{Logs: Logs{filepath.Dir(filepath.Dir(h.LogPath))}})
	child, _, started := s.Start(context.Background(), spec)
	err = errors.Join(err, started, deprivations[os.Getenv("LACKS")]())
	var out acted
	proved, _ := s.Prove(h)
	_, found, _ := s.Find(context.Background(), h.Nonce)
	out.Proved, out.Found = proved.String(), found.String()
	_, again, _ := s.Start(context.Background(), Spec{Argv: []string{"sleep", "600"}, Nonce: h.Nonce, LogPath: h.LogPath})
	out.StartedAnother = again
	soon, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond) // meant to pass: it waits on
	_, watching := s.Watch(soon, h)
	cancel()
	out.Watched = watching == nil
	out.LeftAlone = endsBefore(s, child)
	out.Stopped = codeOf(s.Stop(context.Background(), h, 50*time.Millisecond, nil))
	out.Child = codeOf(s.Stop(context.Background(), child, 50*time.Millisecond, nil))
	out.ChildEnded = s.childOf(child).ended()
	if err != nil {
		out.Failed = err.Error()
	}
	b, _ := json.Marshal(out)
	fmt.Println(string(b))
	return 0
}

// endsBefore tells whether the end of a dead process with this child's nonce is told while the child lives. Killing it may take no time.
func endsBefore(s *Supervisor, child Handle) bool {
	dead := child
	dead.Pid, dead.StartTicks = 1<<22+1, 1 // above every pid; older than the child, which is therefore what is left of it
	s.killTime = 0
	soon, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond) // meant to pass
	defer cancel()
	return os.Getenv("LACKS") == "pidfd_send_signal is forbidden" && s.killRest(soon, dead) == nil
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return messages.CodeOf(err).String()
}

// What can't be known stays owed: no process that lives is called gone, and none is started beside it. A child needs no pidfd. Signals go
// by pidfd: a Supervisor that may not send by pid stops everything.
func TestWhatCantBeKnownIsNotGone(t *testing.T) {
	unavailable := messages.Unavailable.String()
	for lacks, want := range map[string]acted{
		"no descriptors":                 {Proved: "unknown", Found: "unknown", Stopped: unavailable, Child: unavailable, ChildEnded: true},
		"pidfd_open is forbidden":        {Proved: "unknown", Found: "alive", Stopped: unavailable, ChildEnded: true},
		"pidfd_open isn't there":         {Proved: "unknown", Found: "alive", Stopped: unavailable, ChildEnded: true},
		"pidfd_send_signal is forbidden": {Proved: "alive", Found: "alive", Stopped: unavailable, Child: unavailable},
		"kill is forbidden":              {Proved: "alive", Found: "alive", ChildEnded: true},
	} {
		t.Run(lacks, func(t *testing.T) {
			h, spec := lostStarter(t, waits), shell(t, waits)
			handle, err := json.Marshal(h)
			if err != nil {
				t.Fatal(err)
			}
			own, err := json.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			var got acted
			if err := json.Unmarshal(role(t, "deprived", "LACKS="+lacks, "HANDLE="+string(handle), "SPEC="+string(own)), &got); err != nil {
				t.Fatal(err)
			}
			s := New(Options{})
			if left, live, _ := s.Find(t.Context(), spec.Nonce); live == Alive {
				t.Cleanup(func() { end(t, s, left) })
			}
			if got != want {
				t.Errorf("\n got %+v\nwant %+v", got, want)
			}
			if alive := running(h.Pid); alive != (want.Stopped != "") {
				t.Errorf("the process lives: %t", alive)
			}
		})
	}
}
