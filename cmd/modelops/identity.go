package main

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"modelops/messages"
)

// identityFile names a data directory for good. Each worker carries its content, so that a start that lost its journal finds them.
const identityFile = "identity"

// openIdentity reads or makes the identity of a data directory, and locks it: two daemons with one identity would end each other's workers.
// The kernel drops the lock with the process, and close does.
func openIdentity(dataDir string) (identity string, release func(), err error) {
	path := filepath.Join(dataDir, identityFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", nil, unusable(path, err)
	}
	if err := unlessHeld(unix.EWOULDBLOCK, func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return "", nil, messages.Errorf(messages.Conflict, dataDir, "another daemon uses this data directory").
				WithHint("stop it, or set another data_dir")
		}
		return "", nil, unusable(path, err)
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.Close()
		return "", nil, unusable(path, err)
	}
	identity = strings.TrimSpace(string(b))
	if identity == "" {
		identity = rand.Text()
		if _, err := f.WriteString(identity + "\n"); err != nil {
			f.Close()
			return "", nil, unusable(path, err)
		}
		if err := f.Sync(); err != nil {
			f.Close()
			return "", nil, unusable(path, err)
		}
	}
	name, err := claimName(identity)
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EADDRINUSE) {
			return "", nil, messages.Errorf(messages.Conflict, dataDir, "it is a copy of a data directory that another daemon uses: both would take the same workers for theirs").
				WithHint("stop the other daemon first, or start a second host with an empty data_dir")
		}
		return "", nil, unusable(path, err)
	}
	return identity, func() { unix.Close(name); f.Close() }, nil
}

// claimName takes a name that all processes of this machine see, because a copy of the data directory has a lock of its own. It is an abstract
// socket: the kernel drops it with the process.
func claimName(identity string) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = unlessHeld(unix.EADDRINUSE, func() error { return unix.Bind(fd, &unix.SockaddrUnix{Name: "@modelops-" + identity}) })
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// forkLimit is how long the lock of a daemon that has ended may still be held: a child that it was about to start holds its descriptors until
// it runs its own program.
const forkLimit = 2 * time.Second

// unlessHeld claims something. held is the error that says that another process has it.
func unlessHeld(held error, claim func() error) error {
	for end := time.Now().Add(forkLimit); ; <-time.After(5 * time.Millisecond) {
		err := claim()
		if !errors.Is(err, held) || time.Now().After(end) {
			return err
		}
	}
}

func unusable(path string, err error) error {
	return messages.Errorf(messages.FailedPrecondition, path, "the data directory's identity can't be used: %w", err).
		WithHint("set data_dir to a directory that this user may write")
}
