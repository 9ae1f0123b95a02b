package journal

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"modelops/messages"
)

// A disk that hangs: every write waits, and nothing fails. Appends and Health end all the same, and decisions go on by themselves afterwards.
func TestADiskThatHangsIsAnAnswer(t *testing.T) {
	dir := t.TempDir()
	image, mounted := filepath.Join(dir, "image"), filepath.Join(dir, "mounted")
	run := func(name string, args ...string) error {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Logf("%s: %v %s", name, err, out)
		}
		return err
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil || os.Truncate(image, 64<<20) != nil || os.Mkdir(mounted, 0o755) != nil {
		t.Fatal(err)
	}
	if run("mkfs.ext4", "-q", image) != nil || run("mount", "-o", "loop", image, mounted) != nil {
		t.Skip("no file system that can be frozen")
	}
	t.Cleanup(func() { unix.Unmount(mounted, unix.MNT_DETACH) })
	j := mustOpen(t, testOptions(t, filepath.Join(mounted, "state")))
	fill(t, j, 3)
	if run("fsfreeze", "-f", mounted) != nil {
		t.Skip("this file system can't be frozen")
	}
	thawed := false
	thaw := func() {
		if !thawed {
			thawed = true
			run("fsfreeze", "-u", mounted)
		}
	}
	t.Cleanup(thaw) // before the journal is closed

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // meant to pass: the disk hangs
	defer cancel()
	ended := make(chan error, 2)
	go func() {
		_, err := j.Append(ctx, Append{Actor: modelName(1), Expected: 2, Events: wanted("it hangs")})
		ended <- err
	}()
	go func() {
		<-ctx.Done()
		ended <- j.Health()
	}()
	for range 2 {
		select {
		case err := <-ended:
			if messages.CodeOf(err) != messages.JournalUnavailable {
				t.Errorf("the answer was %v", err)
			}
		case <-time.After(hangLimit):
			t.Fatal("the journal hangs with its disk")
		}
	}
	thaw()
	await(t, func() bool { return j.Health() == nil })
	last, err := j.Last(t.Context(), modelName(1))
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, modelName(1), last, wanted("on")...)
}
