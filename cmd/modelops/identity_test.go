package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"modelops/messages"
)

// TestACopyOfADataDirectoryWaits: two daemons with one identity would end each other's workers.
func TestACopyOfADataDirectoryWaits(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	identity, release, err := openIdentity(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(first, identityFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(second, identityFile), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openIdentity(second); messages.CodeOf(err) != messages.Conflict || !strings.Contains(err.Error(), "is a copy") {
		t.Errorf("a copy beside the original: %v", err)
	}
	release()
	again, release, err := openIdentity(second)
	if err != nil || again != identity {
		t.Fatalf("a copy in place of the original: %q %v", again, err)
	}
	release()
}
