package journal

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"modelops/messages"
)

func TestASecondOpenNamesTheHolder(t *testing.T) {
	j := testOpen(t)
	for _, readOnly := range []bool{false, true} {
		o := j.o
		o.ReadOnly = readOnly
		_, err := Open(t.Context(), o)
		if e := wantCode(t, err, messages.Conflict); !strings.Contains(e.Error(), "process "+strconv.Itoa(os.Getpid())) {
			t.Errorf("%v does not name the holder", e)
		}
	}
	_, err := Verify(t.Context(), j.o.Dir)
	wantCode(t, err, messages.Conflict)
	mustClose(t, j)
	mustClose(t, mustOpen(t, j.o))
}

// A killed process leaves its descriptors to the child that it was starting, until that runs its own program.
func TestTheLockOfADeadProcessIsWaitedFor(t *testing.T) {
	limit := forkLimit
	forkLimit = time.Minute
	t.Cleanup(func() { forkLimit = limit })
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l, err := takeLock(dir, true)
	if err != nil || os.WriteFile(filepath.Join(dir, "lock"), []byte(strconv.Itoa(dead.Process.Pid)), 0o644) != nil {
		t.Fatal(err)
	}
	child := exec.Command("sleep", "0.3")
	child.ExtraFiles = []*os.File{l.file}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	l.release()
	if l, err = takeLock(dir, true); err != nil {
		t.Fatal(err)
	}
	l.release()
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestVerify(t *testing.T) {
	_, err := Verify(t.Context(), filepath.Join(t.TempDir(), "none"))
	wantCode(t, err, messages.NotFound)
	j := testOpen(t)
	fill(t, j, 12)
	mustClose(t, j)
	before := digest(t, j.o.Dir)
	r, err := Verify(t.Context(), j.o.Dir)
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	if r.First != 1 || r.Last != 12 || r.Decisions != 12 || r.Mark != 12 || r.Actors != 5 || r.Host != testHost || r.Blocks != 1 {
		t.Errorf("%+v", r)
	}
	if digest(t, j.o.Dir) != before {
		t.Error("Verify changed something")
	}
}

func TestTheMarkIsWrittenWhileItChanges(t *testing.T) {
	j := testOpen(t)
	fill(t, j, 3)
	await(t, func() bool { m, ok, err := readMark(j.o.Dir); return ok && err == nil && m.Sequence == 3 })
	if m, _, _ := readMark(j.o.Dir); m.BootID != "boot-1" || m.Host != testHost {
		t.Errorf("mark %+v", m)
	}
}
