//go:build e2e

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
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

// copyTree copies files with their permissions: the operator's key is trusted with its own only.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return os.Chmod(filepath.Join(to, below), info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}
