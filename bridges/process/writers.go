package process

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A process can hide its environment: it makes itself undumpable, it changes its user, or /proc shows only what may be traced (hidepid). Its log
// can't be hidden. Start puts a lock on the log's open file description, which the process and its children inherit with their output. The lock
// ends when the last of them has ended or closed its output. Asking for it needs no right but to read the log.

// lockLog puts the lock on a new log. A file system without locks leaves the log without one: then only /proc tells.
func lockLog(f *os.File) {
	_ = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart})
}

// written tells whether a living process has the log as its output. The error tells that means are lacking to look.
func written(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, onlyStarved(err)
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return false, onlyStarved(err)
	}
	return lock.Type != unix.F_UNLCK, nil
}

// anyWritten are those of the logs that are written.
func anyWritten(logs []string) (out []string, err error) {
	for _, path := range logs {
		is, unread := written(path)
		err = cmp.Or(err, unread)
		if is {
			out = append(out, path)
		}
	}
	return out, err
}

// stillWritten is anyWritten once what passes is over: a program that is being started has all files of this one until it runs.
func stillWritten(logs []string) (out []string, err error) {
	for range 10 {
		if out, err = anyWritten(logs); len(out) == 0 {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	return out, err
}

// logsOf are the logs that belong to a nonce: known is the recorded one, which is elsewhere when the folder of the logs was moved.
// One whose name holds another nonce is not believed.
func (s *Supervisor) logsOf(nonce, known string) (out []string, err error) {
	if of := nonceOf(known); known != "" && (of == "" || of == nonce) {
		out = append(out, known)
	}
	all, err := s.logs.all()
	for _, path := range all {
		if nonceOf(path) == nonce && path != known {
			out = append(out, path)
		}
	}
	return out, err
}

// hidden is the error for a process that writes to a log and isn't among those that can be looked at.
type hidden struct{ log string }

func (e hidden) Error() string {
	return fmt.Sprintf("a process that can't be looked at writes to %s", e.log)
}

// isHidden tells whether an error says that a process can't be looked at.
func isHidden(err error) bool {
	var h hidden
	return errors.As(err, &h)
}

// writesTo tells whether a process has one of these logs as its output.
func writesTo(pid int64, logs []string) (bool, error) {
	files, err := outputs(pid)
	for _, f := range files {
		if isOneOf(f, logs) {
			return true, nil
		}
	}
	return false, err
}

// isOneOf tells whether an open file is one of the logs. Its name holds the nonce, so it is the log also when its folder was moved or is named by
// a link, and when the log was removed.
func isOneOf(file string, logs []string) bool {
	file = strings.TrimSuffix(file, " (deleted)")
	return slices.ContainsFunc(logs, func(l string) bool { return file == l || filepath.Base(file) == filepath.Base(l) })
}

// leftBehind are the holders of logs that are written although all other signs of their process are gone. The error tells that none of them can be
// looked at, or that means are lacking to look.
func leftBehind(all []stat, held []string) ([]stat, error) {
	out, err := holders(all, held)
	if len(out) > 0 {
		return out, err
	}
	held, unread := stillWritten(held)
	if err = cmp.Or(err, unread); err == nil && len(held) > 0 {
		err = hidden{held[0]}
	}
	return nil, err
}

// holders are the processes that keep one of these logs open with its lock, on whichever descriptor. Others only read it.
func holders(all []stat, logs []string) (out []stat, err error) {
	for _, st := range all {
		if st.dead() || st.pid == int64(os.Getpid()) {
			continue
		}
		is, unread := holds(st.pid, logs)
		err = cmp.Or(err, onlyStarved(unread))
		if is {
			out = append(out, st)
		}
	}
	return out, err
}

func holds(pid int64, logs []string) (bool, error) {
	fds, err := os.ReadDir(procPath(pid, "fd"))
	for _, fd := range fds {
		target, unread := os.Readlink(procPath(pid, "fd/"+fd.Name()))
		if err = cmp.Or(err, unread); !isOneOf(target, logs) {
			continue
		}
		about, unread := os.ReadFile(procPath(pid, "fdinfo/"+fd.Name()))
		if err = cmp.Or(err, unread); bytes.Contains(about, []byte("OFDLCK")) {
			return true, nil
		}
	}
	return false, err
}
