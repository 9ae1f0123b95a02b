package journal

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"modelops/messages"
)

func TestDecisionsAreRefusedBeforeTheDiskIsFull(t *testing.T) {
	j := testOpen(t)
	fill(t, j, 3)
	j.o.MinFree = 1 << 62
	_, err := j.Append(t.Context(), Append{Actor: modelName(1), Expected: 2, Events: wanted("no")})
	e := wantCode(t, err, messages.JournalFull)
	if e.Retry == 0 || !strings.Contains(e.Hint, j.o.Dir) {
		t.Errorf("%+v", e)
	}
	wantCode(t, j.Health(), messages.JournalFull)
	if n := len(readAll(t, j, Query{})); n != 3 {
		t.Errorf("%d decisions can be read", n)
	}
	j.o.MinFree = 1
	if err := j.Health(); err != nil {
		t.Errorf("Health: %v", err)
	}
	mustAppend(t, j, modelName(1), 2, wanted("again")...)
}

// A disk that is full in earnest: the watch is off.
func TestAFullDiskIsAnAnswerAndEndsByItself(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no small file system to fill: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	o := testOptions(t, filepath.Join(dir, "state"))
	o.Port = 0
	j := mustOpen(t, o)
	j.o.MinFree = 0
	in := watch(t, j.Reader, 0)
	nc, err := j.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()

	head, n := uint64(0), 0
	for ; n < 10_000; n++ {
		seq, err := j.Append(t.Context(), Append{Actor: modelName(1), Expected: head, Events: wanted(strings.Repeat("x", 2000))})
		if err != nil {
			wantCode(t, err, messages.JournalFull)
			break
		}
		head = seq
	}
	if n == 10_000 {
		t.Fatal("the disk never filled")
	}
	wantCode(t, j.Health(), messages.JournalFull)
	ctx, cancel := context.WithTimeout(t.Context(), hangLimit)
	_, err = j.Append(ctx, Append{Actor: modelName(1), Expected: head, Events: wanted("at once")})
	cancel()
	wantCode(t, err, messages.JournalFull)

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return j.Health() == nil })
	if s := j.Stats(); s.Restarts == 0 {
		t.Error("the server was not restarted, the test shows nothing")
	}
	last, err := j.Last(t.Context(), modelName(1))
	if err != nil || last < head {
		t.Fatalf("acknowledged up to %d, there are %d: %v", head, last, err)
	}
	for range 10 {
		last = mustAppend(t, j, modelName(1), last, wanted("on")...)
	}
	for want := uint64(1); want <= last; want++ {
		if r := <-in; r.Sequence != want {
			t.Fatalf("followed %d, want %d", r.Sequence, want)
		}
	}
	await(t, func() bool { return nc.IsConnected() && nc.Flush() == nil })
	mustClose(t, j)
	mustClose(t, mustOpen(t, o))
}

// A start on a disk that is full to the last byte is refused with the code and the words of a full disk, and goes on once there is space.
func TestAStartOnAFullDiskSaysSo(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no small file system to fill: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
	o := testOptions(t, filepath.Join(dir, "state"))
	j := mustOpen(t, o)
	fill(t, j, 3)
	mustClose(t, j)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 6<<20), 0o600); !isDiskFull(err) {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), o)
	if e := wantCode(t, err, messages.JournalFull); !strings.Contains(e.Hint, o.Dir) {
		t.Errorf("%+v", e)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, o)
	if n := len(readAll(t, j, Query{})); n != 3 {
		t.Errorf("%d decisions can be read", n)
	}
	mustClose(t, j)
}
