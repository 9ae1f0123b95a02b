package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"modelops/messages"
)

// InUse tells whether a process writes to the store in dir, and which one it says it is; 0 = it doesn't say. It changes nothing.
func InUse(dir string) (pid int, held bool, err error) {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, messages.Errorf(messages.JournalUnavailable, dir, "its lock can't be looked at: %w", err)
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid, _ = strconv.Atoi(holderOf(f))
		return pid, true, nil
	}
	return 0, false, err
}
