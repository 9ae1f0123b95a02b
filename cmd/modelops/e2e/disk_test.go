//go:build e2e

package e2e_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// mount puts a file system in memory at dir until the test ends.
func mount(t *testing.T, dir, options string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "modelops-e2e", dir).CombinedOutput(); err != nil {
		t.Skipf("no mount here (%v: %s): run as root where mounts are allowed", err, said)
	}
	// After the daemon's own clean-up, which came first and so runs last, the mount would be busy: it is detached.
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
