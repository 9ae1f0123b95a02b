package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestStartedProcessProvesItself(t *testing.T) {
	s := New(Options{})
	h := start(t, s, shell(t, waits))
	if h.Pid <= 1 || h.StartTicks == 0 || h.BootID == "" || h.Fingerprint == "" || !strings.Contains(h.LogPath, h.Nonce) {
		t.Errorf("the handle lacks something: %+v", h)
	}
	if !SameGroup(h.Pid, h.Pid) || SameGroup(int64(os.Getpid()), h.Pid) {
		t.Error("it has no process group of its own")
	}
	for name, s := range map[string]*Supervisor{"its starter": s, "another": New(Options{})} {
		if live, err := s.Prove(h); live != Alive || err != nil {
			t.Error(name, live, err)
		}
	}
	_ = syscall.Kill(int(h.Pid), syscall.SIGKILL)
	if _, err := s.Watch(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Supervisor{"its starter": s, "another": New(Options{})} {
		if live, err := s.Prove(h); live != Gone || err == nil {
			t.Error(name, live, err)
		}
	}
}

// impostors are records that name a process that runs and is not theirs, or none.
var impostors = map[string]struct {
	change func(*Handle)
	why    string
}{
	"another nonce":      {func(h *Handle) { h.Nonce = "other" }, "another nonce"},
	"the pid's next use": {func(h *Handle) { h.StartTicks-- }, "another process now"},
	"another boot":       {func(h *Handle) { h.BootID = "other" }, "started again"},
	"no such process":    {func(h *Handle) { h.Pid = 1 << 22 }, "no such process"},
	"pid 1":              {func(h *Handle) { h.Pid = 1 }, "names no process"},
	"no nonce":           {func(h *Handle) { h.Nonce = "" }, "names no process"},
}

// A process that does not prove itself is gone, and never signalled.
func TestImpostorsAreNotTouched(t *testing.T) {
	s := New(Options{})
	h := start(t, s, shell(t, waits))
	for name, c := range impostors {
		t.Run(name, func(t *testing.T) {
			impostor := h
			c.change(&impostor)
			other := New(Options{})
			if live, err := other.Prove(impostor); live != Gone || err == nil || !strings.Contains(err.Error(), c.why) {
				t.Error(live, err)
			}
			e, err := other.Watch(t.Context(), impostor)
			if err != nil || e.Code != -1 || !e.Unwitnessed || !strings.HasPrefix(e.Reason, "gone: ") {
				t.Error(e, err)
			}
			impostor.Nonce = "carried by no process" // Stop looks for the nonce too, and would rightly find the true process
			if err := other.Stop(t.Context(), impostor, 0, nil); err != nil {
				t.Error(err)
			}
			if live, err := s.Prove(h); live != Alive {
				t.Fatal("the process was signalled:", live, err)
			}
		})
	}
}

// A program that overwrites its environment is known by the log it writes to.
func TestProcessWithoutEnvironmentIsKnownByItsLog(t *testing.T) {
	s := New(Options{})
	spec := shell(t, "echo up; exec env -i sleep 600")
	h := start(t, s, spec)
	becomesSleep(t, h)
	if live, err := New(Options{}).Prove(h); live != Alive {
		t.Fatal(live, err)
	}
	elsewhere := h
	elsewhere.LogPath = "/elsewhere"
	if live, err := New(Options{}).Prove(elsewhere); live != Gone {
		t.Error("believed without any proof:", err)
	}
	if live, err := s.Prove(elsewhere); live != Alive {
		t.Fatal("an own child needs no other proof:", err)
	}
}

// A process that has ended keeps its entry until its parent reaps it.
func TestZombieIsGone(t *testing.T) {
	s := New(Options{})
	h := start(t, s, shell(t, hoarder))
	becomesSleep(t, h)
	zombie := h
	zombie.Pid = childrenOf(h)[0]
	_ = syscall.Kill(int(zombie.Pid), syscall.SIGKILL)
	eventually(t, "the child's end", func() bool {
		st, err := readStat(zombie.Pid)
		zombie.StartTicks = st.startTicks
		return err == nil && st.dead()
	})
	if live, err := s.Prove(zombie); live != Gone || !strings.Contains(err.Error(), "has ended") {
		t.Error(live, err)
	}
	e, err := s.Ended(t.Context(), zombie, errors.New("it is a zombie"))
	if err != nil || e.Code != Killed || e.Unwitnessed {
		t.Errorf("its entry still holds its status: %+v %v", e, err)
	}
	zombie.StartTicks++
	if e, err := s.Ended(t.Context(), zombie, errors.New("never seen")); err != nil || e.Code != -1 || !e.Unwitnessed || e.Reason != "gone: never seen" {
		t.Errorf("%+v %v", e, err)
	}
}

// Without a descriptor nothing can be told of a living process.
func TestWithoutDescriptorsItIsUnknown(t *testing.T) {
	h := start(t, New(Options{}), shell(t, waits))
	handle := fmt.Sprintf(`{"Pid":%d,"StartTicks":%d,"BootID":%q,"Nonce":%q,"LogPath":%q}`, h.Pid, h.StartTicks, h.BootID, h.Nonce, h.LogPath)
	if got := string(role(t, "starved", "HANDLE="+handle)); got != "unknown unknown true true <nil>\nunknown UNAVAILABLE\n" {
		t.Errorf("%q", got)
	}
}

// Only the kernel's word that there is no such process counts as its end.
func TestWhatAFailedLookSays(t *testing.T) {
	for err, want := range map[error]Liveness{
		unix.ESRCH: Gone, unix.ENOENT: Gone, fs.ErrNotExist: Gone, unix.EINVAL: Gone, &fs.PathError{Err: unix.ESRCH}: Gone,
		unix.EMFILE: Unknown, unix.ENFILE: Unknown, unix.ENOMEM: Unknown, unix.EACCES: Unknown, unix.EPERM: Unknown, unix.ENOSYS: Unknown,
		errors.New("stat has 3 fields after the name"): Unknown,
	} {
		if got := whenMissing(err); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}
