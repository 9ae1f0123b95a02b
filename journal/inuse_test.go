package journal

import (
	"os"
	"testing"
)

// A store is in use while a process writes to it, and looking changes nothing.
func TestInUse(t *testing.T) {
	dir := t.TempDir()
	if _, held, err := InUse(dir); held || err != nil {
		t.Fatalf("an empty directory: %v, %v", held, err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("looking left %v", left)
	}
	l, err := takeLock(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	if pid, held, err := InUse(dir); !held || pid != os.Getpid() || err != nil {
		t.Errorf("held by %d: %v, %v", pid, held, err)
	}
	l.release()
	if _, held, err := InUse(dir); held || err != nil {
		t.Errorf("after its end: %v, %v", held, err)
	}
}
