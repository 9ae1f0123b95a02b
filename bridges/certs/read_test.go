package certs

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestFilesWithoutAnEndAreRefused(t *testing.T) {
	dir := t.TempDir()
	pipe, big := filepath.Join(dir, "host.key"), filepath.Join(dir, "ca.crt")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(big, make([]byte, maxPEM+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{pipe: "no regular file", "/dev/zero": "no regular file", dir: "no regular file", big: "more than"} {
		for _, files := range [][2]string{{path, path}, {big, path}} {
			_, err := load(files[0], files[1])
			if err == nil {
				t.Errorf("%v is read", files)
			} else if files[0] == path && (!strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path)) {
				t.Errorf("%s: %v", path, err)
			}
		}
		if _, err := ReadCertificate(path); err == nil {
			t.Errorf("%s is read as a certificate", path)
		}
	}
}
