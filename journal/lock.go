package journal

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"modelops/messages"
)

// lock is the claim on a store. NATS itself lets two servers write to one directory, and both acknowledge the same sequence.
// The kernel drops the lock with the process, so a stale file means nothing.
type lock struct{ file *os.File }

// takeLock claims dir for this process: alone when writing, shared with other readers otherwise.
func takeLock(dir string, write bool) (*lock, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil && !write {
		f, err = os.Open(path) // a store on read-only media
	}
	if errors.Is(err, fs.ErrNotExist) && !write {
		return &lock{}, nil // read-only media without a lock file: no process can write there
	}
	if err != nil {
		return nil, unwritable(dir, err)
	}
	how := unix.LOCK_EX
	if !write {
		how = unix.LOCK_SH
	}
	if err := flock(f, how); err != nil {
		holder := holderOf(f)
		f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, messages.Errorf(messages.JournalUnavailable, dir, "the directory can't be locked: %w", err).
				WithHint("the file system must support flock; use a local disk")
		}
		return nil, messages.Errorf(messages.Conflict, dir, "the journal is in use by process %s", holder).
			WithHint("stop that process, or give this one another state directory")
	}
	if !write {
		return &lock{f}, nil
	}
	pid := strconv.Itoa(os.Getpid()) + "\n"
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(pid), 0)
		if err != nil && !errors.Is(err, unix.ENOSPC) { // a full disk is answered elsewhere; the pid is only a courtesy
			f.Close()
			return nil, unwritable(dir, err)
		}
	}
	return &lock{f}, nil
}

// forkLimit is how long the lock of a process that has ended may still be held.
var forkLimit = 2 * time.Second

// flock takes the lock without waiting for a living holder. A process that is killed while it starts another one leaves a child that holds
// all its descriptors until it runs its own program, some milliseconds later: that is waited for.
func flock(f *os.File, how int) error {
	for end := time.Now().Add(forkLimit); ; <-time.After(5 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			return err
		}
		pid, unknown := strconv.Atoi(holderOf(f))
		if unknown != nil || pid <= 0 || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return err
		}
	}
}

func (l *lock) release() {
	if l != nil && l.file != nil {
		l.file.Close()
	}
}

func holderOf(f *os.File) string {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if pid := strings.TrimSpace(string(b)); err == nil && pid != "" {
		return pid
	}
	return "(unknown)"
}

func unwritable(dir string, err error) *messages.Error {
	if isDiskFull(err) {
		return messages.Errorf(messages.JournalFull, dir, "the journal's disk is full: %w", err).WithHint("free space under " + dir)
	}
	return messages.Errorf(messages.JournalUnavailable, dir, "the journal's directory can't be used: %w", err).
		WithHint("make it a directory that user " + strconv.Itoa(os.Getuid()) + " may write to, or set another data_dir")
}
