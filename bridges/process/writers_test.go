package process

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"modelops/messages"
)

// hideAndSleep is a program whose environment and descriptors only those with power over its user's processes see.
func hideAndSleep() int {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fmt.Println(err)
		return 1
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 1
	}
	defer l.Close()
	fmt.Println("port", l.Addr().(*net.TCPAddr).Port)
	fmt.Println("up")
	_ = unix.Pause()
	return 0
}

// dropPowers becomes the role THEN, which can't look into processes that hide.
func dropPowers() int {
	runtime.LockOSThread() // the thread that drops them is the one that calls exec
	for _, power := range []uintptr{unix.CAP_SYS_PTRACE, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, power, 0, 0, 0); err != nil && os.Getuid() == 0 {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	_ = os.Setenv("ROLE", os.Getenv("THEN"))
	err := syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// seeSocket tells which process may hold the listener of one that hides: that one, and none whose descriptors are seen.
func seeSocket() int {
	var h Handle
	err := json.Unmarshal([]byte(os.Getenv("HANDLE")), &h)
	all, unread := Listeners()
	if err != nil || unread != nil {
		return 1
	}
	for _, l := range all {
		if fmt.Sprint(l.Addr.Port()) == os.Getenv("PORT") {
			owner, _, _ := SocketOwner(l.Inode)
			another := l
			another.User++
			fmt.Print(owner, MayHold(h.Pid, l), MayHold(h.Pid, another), MayHold(int64(os.Getpid()), l))
		}
	}
	return 0
}

// A socket whose owner can't be seen may be that of a process that hides, when one of its users opened it.
func TestASocketMayBeThatOfAProcessThatHides(t *testing.T) {
	h := lostStarter(t, hides(""))
	_, port, _ := strings.Cut(Tail(h.LogPath, 2)[0], " ")
	if got := string(role(t, "powerless", "THEN=socket", "PORT="+port, "HANDLE="+asJSON(t, h))); got != "0 true false false" {
		t.Error(got)
	}
}

// hides is a script that ends as a program that hides itself.
func hides(before string) string {
	self, _ := os.Executable()
	return before + `ROLE=hidden exec "` + self + `"`
}

// A process that hides its environment is proven by the lock on its log, is never called gone, and none is started beside it. Where /proc
// doesn't even show it, it stays unknown.
func TestAProcessThatHidesIsNotGone(t *testing.T) {
	unavailable := messages.Unavailable.String()
	for name, c := range map[string]struct {
		mount string
		want  acted
	}{
		"undumpable": {"", acted{Proved: "alive", Found: "unknown", ChildEnded: true}},
		"hidepid":    {"mount -t proc -o hidepid=ptraceable proc /proc && ", acted{Proved: "unknown", Found: "unknown", Stopped: unavailable, ChildEnded: true}},
	} {
		t.Run(name, func(t *testing.T) {
			unshare, err := exec.LookPath("unshare")
			if c.mount != "" && (err != nil || exec.Command(unshare, "-m", "sh", "-c", c.mount+"true").Run() != nil) {
				t.Skip("needs the right to mount in a namespace of its own, and Linux 5.8")
			}
			h, spec := lostStarter(t, hides("")), shell(t, waits)
			handle, own := asJSON(t, h), asJSON(t, spec)
			cmd := exec.Command(os.Args[0])
			if c.mount != "" {
				cmd = exec.Command(unshare, "-m", "sh", "-c", c.mount+`exec "$0"`, os.Args[0])
			}
			cmd.Env = append(os.Environ(), "ROLE=powerless", "THEN=deprived", "LACKS=the right to look", "HANDLE="+handle, "SPEC="+own)
			out, err := cmd.Output()
			var got acted
			if err != nil || json.Unmarshal(out, &got) != nil {
				t.Fatalf("%v %s", err, out)
			}
			if got != c.want {
				t.Errorf("\n got %+v\nwant %+v", got, c.want)
			}
			if alive := running(h.Pid); alive != (c.want.Stopped != "") {
				t.Errorf("the process lives: %t", alive)
			}
		})
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// detached leaves its group and session, drops its environment, and lives on when its parent has gone. Its log is all that tells whose it is.
const detached = `env -i setsid sleep 600 & echo child $!; sleep 600 & echo child $!; echo up; wait`

// What a process left behind is found by the log that it has open, on whichever descriptor.
func TestWhatDroppedItsEnvironmentIsEnded(t *testing.T) {
	for name, script := range map[string]string{
		"output":           detached,
		"other descriptor": `exec 7>&1; env -i setsid sleep 600 >/dev/null 2>&1 & echo child $!; sleep 600 & echo child $!; echo up; wait`,
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Options{})
			h := start(t, s, shell(t, script))
			_ = syscall.Kill(int(h.Pid), syscall.SIGKILL)
			if _, err := s.Watch(t.Context(), h); err != nil {
				t.Fatal(err)
			}
			expectDead(t, h)

			h = lostStarter(t, script)
			if err := New(Options{}).Stop(t.Context(), h, 0, nil); err != nil {
				t.Fatal(err)
			}
			expectDead(t, h)

			h = lostStarter(t, script)
			_ = syscall.Kill(int(h.Pid), syscall.SIGKILL)
			eventually(t, "the process is dead", func() bool { return !running(h.Pid) })
			root := filepath.Dir(filepath.Dir(h.LogPath))
			other := New(Options{Logs: Logs{root}})
			eventually(t, "nothing has the nonce", func() bool {
				_, live, _ := other.Find(t.Context(), h.Nonce)
				return live == Gone
			})
			expectDead(t, h)
		})
	}
}

// A process that dropped its environment is found again by its log: no second one is started, also where its folder was moved meanwhile.
func TestAProcessWithoutEnvironmentIsFoundByItsLog(t *testing.T) {
	s := New(Options{Owner: "me"})
	spec := shell(t, "echo up; exec env -i sleep 600")
	h := start(t, s, spec)
	becomesSleep(t, h)
	root := filepath.Dir(filepath.Dir(h.LogPath))
	moved := root + "-moved"
	if err := os.Rename(root, moved); err != nil {
		t.Fatal(err)
	}
	other := New(Options{Owner: "me", Logs: Logs{moved}})
	found, live, err := other.Find(t.Context(), h.Nonce)
	if live != Alive || found.Pid != h.Pid || found.LogPath != strings.Replace(h.LogPath, root, moved, 1) {
		t.Errorf("%+v %v %v", found, live, err)
	}
	for _, s := range []*Supervisor{other, New(Options{})} {
		if live, err := s.Prove(h); live != Alive {
			t.Error(live, err)
		}
	}
	if owned, err := other.Owned(); err != nil || len(owned) != 1 || owned[0].Pid != h.Pid || owned[0].Nonce != h.Nonce {
		t.Errorf("%+v %v", owned, err)
	}
	if _, started, err := other.Start(t.Context(), spec); started || err != nil {
		t.Error(started, err)
	}
}

// Who reads a log, or appends to it without being the process's child, is none of its process.
func TestReadersOfALogAreLeftAlone(t *testing.T) {
	s := New(Options{})
	h := start(t, s, shell(t, waits))
	reader := exec.Command("sleep", "600")
	f, err := os.OpenFile(h.LogPath, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reader.ExtraFiles = []*os.File{f}
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context(), h, 0, nil); err != nil {
		t.Error(err)
	}
	if !running(int64(reader.Process.Pid)) {
		t.Error("the reader was killed")
	}
	_ = reader.Process.Kill()
	_ = reader.Wait()
}

// The log of a process that lives isn't removed with the old ones: its lock tells that the process lives.
func TestTheLogOfALivingProcessIsKept(t *testing.T) {
	h := start(t, New(Options{}), shell(t, waits))
	folder := filepath.Dir(h.LogPath)
	for i := range 2 * keptLogs {
		f, err := openLog(filepath.Join(folder, fmt.Sprintf("z%d.log", i)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if _, err := os.Stat(h.LogPath); err != nil || len(logsIn(folder)) != keptLogs+1 {
		t.Error(err, logsIn(folder))
	}
}
