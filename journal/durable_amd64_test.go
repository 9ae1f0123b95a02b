package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// These tests watch the system calls of a child with ptrace, because nothing else tells an fsync from a write: killing a process loses no
// write, and a power cut can't be had in a test.

// tracedAppends is the child: it opens a journal, appends, says so after each acknowledgement, and closes.
func tracedAppends(dir string) {
	j, err := Open(context.Background(), Options{Dir: dir, Host: testHost, BootID: "traced", Port: -1, MinFree: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	head, err := j.Last(context.Background(), modelName(1))
	for n := 0; n < 5 && err == nil; n++ {
		if head, err = j.Append(context.Background(), Append{Actor: modelName(1), Expected: head, Events: wanted("traced")}); err == nil {
			fmt.Println("ACK", head)
		}
	}
	if err = errors.Join(err, j.Close()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func init() { tracedChild = tracedAppends }

// call is one system call of the child, in the order in which they ended; a rename and what is said count when they begin.
type call struct {
	what string // write, sync, rename, said
	path string // the file; of a rename the new name
}

// traced runs the child on a store and returns its calls on files below it.
func traced(t *testing.T, dir string) []call {
	t.Helper()
	runtime.LockOSThread() // ptrace answers only the thread that traces
	defer runtime.UnlockOSThread()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	child, err := os.StartProcess(os.Args[0], os.Args[:1], &os.ProcAttr{Env: append(os.Environ(), "JOURNAL_TEST_TRACED="+dir), Files: []*os.File{nil, out, out},
		Sys: &syscall.SysProcAttr{Ptrace: true}})
	if err != nil {
		t.Skipf("no process can be traced here: %v", err)
	}
	w := tracer{pid: child.Pid, inside: map[int]*call{}}
	code, err := w.run()
	said, _ := io.ReadAll(io.NewSectionReader(out, 0, 1<<20))
	if err != nil || code != 0 {
		t.Fatalf("the child ended with %d, %v: %s", code, err, said)
	}
	if acks := bytes.Count(said, []byte("ACK")); acks != 5 {
		t.Fatalf("the child said %s", said)
	}
	return w.calls
}

type tracer struct {
	pid    int
	inside map[int]*call // by thread, from the begin of a call to its end; nil for calls of no interest
	calls  []call
}

func (w *tracer) run() (code int, err error) {
	var status unix.WaitStatus
	if _, err := unix.Wait4(w.pid, &status, 0, nil); err != nil {
		return 0, err
	}
	if err := unix.PtraceSetOptions(w.pid, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_EXITKILL); err != nil {
		return 0, err
	}
	for thread, signal := w.pid, 0; ; {
		if err := unix.PtraceSyscall(thread, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, err
		}
		for {
			if thread, err = unix.Wait4(-1, &status, unix.WALL, nil); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		signal = 0
		switch {
		case err != nil:
			return 0, err
		case status.Exited() || status.Signaled():
			if thread == w.pid {
				return status.ExitStatus(), nil
			}
		case status.StopSignal() == unix.SIGTRAP|0x80:
			w.stopped(thread)
		case status.StopSignal() != unix.SIGTRAP && status.StopSignal() != unix.SIGSTOP:
			signal = int(status.StopSignal())
		}
	}
}

// stopped is called at the begin and at the end of each call.
func (w *tracer) stopped(thread int) {
	var regs unix.PtraceRegs
	if unix.PtraceGetRegs(thread, &regs) != nil {
		return
	}
	if begun, ok := w.inside[thread]; ok {
		delete(w.inside, thread)
		if begun != nil && int64(regs.Rax) >= 0 {
			w.calls = append(w.calls, *begun)
		}
		return
	}
	w.inside[thread] = nil
	switch regs.Orig_rax {
	case unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_WRITEV:
		if regs.Rdi == 1 {
			w.calls = append(w.calls, call{"said", ""})
			return
		}
		w.inside[thread] = &call{"write", w.file(regs.Rdi)}
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC:
		w.inside[thread] = &call{"sync", w.file(regs.Rdi)}
	case unix.SYS_RENAMEAT:
		w.calls = append(w.calls, call{"rename", text(thread, uintptr(regs.R10))})
	}
}

func (w *tracer) file(fd uint64) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", w.pid, fd))
	return path
}

func text(thread int, at uintptr) string {
	b := make([]byte, 512)
	n, _ := unix.PtracePeekData(thread, at, b)
	s, _, _ := strings.Cut(string(b[:n]), "\x00")
	return s
}

// syncedSince tells whether a file was fsynced after its last write in calls.
func syncedSince(calls []call, path string) bool {
	for _, c := range slices.Backward(calls) {
		if c.path == path && c.what != "rename" {
			return c.what == "sync"
		}
	}
	return false
}

func lastWritten(calls []call, isOne func(path string) bool) string {
	for _, c := range slices.Backward(calls) {
		if c.what == "write" && isOne(c.path) {
			return c.path
		}
	}
	return ""
}

func TestWhatIsAcknowledgedIsOnDisk(t *testing.T) {
	dir := t.TempDir()
	isBlock := func(path string) bool { return filepath.Dir(path) == blocksDir(dir) && strings.HasSuffix(path, ".blk") }
	mark := filepath.Join(dir, markFile)
	for start := range 2 {
		calls := traced(t, dir)
		said, marks := 0, 0
		for i, c := range calls {
			before := calls[:i]
			switch {
			case c.what == "said":
				said++
				if block := lastWritten(before, isBlock); block == "" || !syncedSince(before, block) {
					t.Errorf("start %d: a decision was acknowledged before the fsync of %q", start, block)
				}
			case c.what == "rename" && c.path == mark:
				marks++
				if !syncedSince(before, mark+".next") {
					t.Errorf("start %d: the mark took effect before its fsync", start)
				}
				if !slices.ContainsFunc(calls[i:], func(c call) bool { return c == call{"sync", dir} }) {
					t.Errorf("start %d: the directory was not fsynced after the mark was renamed", start)
				}
			}
		}
		if said != 5 || marks < 2 {
			t.Errorf("start %d: %d acknowledgements and %d marks were seen", start, said, marks)
		}
		if start == 0 {
			continue
		}
		// What a killed process wrote may be in the page cache only. The mark of a start says that it is on disk.
		first := slices.IndexFunc(calls, func(c call) bool { return c.what == "rename" && c.path == mark })
		if !slices.ContainsFunc(calls[:first], func(c call) bool { return c.what == "sync" && isBlock(c.path) }) {
			t.Error("the mark of a start was written before the fsync of the last block")
		}
	}
}
