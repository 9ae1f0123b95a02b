package main

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"modelops/cmd/modelops/cli"
)

// standbyLooks is how often it is looked at whether a standby waits.
const standbyLooks = time.Second

// standby knows whether another daemon waits to take this one's place: it holds a lock in the data directory.
type standby struct {
	dataDir string

	mu    sync.Mutex
	at    time.Time // of the last look
	there bool
}

func (s *standby) waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.at) >= standbyLooks {
		s.at, s.there = time.Now(), lockedBy(filepath.Join(s.dataDir, cli.StandbyFile))
	}
	return s.there
}

// lockedBy tells whether another process has a lock on a file.
func lockedBy(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}
