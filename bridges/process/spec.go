package process

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"modelops/messages"
)

// Names of the variables that every process gets. A Supervisor that has no record of a process finds it by them.
const (
	nonceVar       = "MODELOPS_NONCE"
	logVar         = "MODELOPS_LOG"
	fingerprintVar = "MODELOPS_FINGERPRINT"
	ownerVar       = "MODELOPS_OWNER"
)

// Spec says what to start.
type Spec struct {
	Argv []string // the program, by path or by its name in PATH, and its arguments
	Env  []string // NAME=value: the whole environment; the identity is added to it
	Dir  string   // the working directory, "" for that of this program
	// Nonce identifies the process. It is used for one process only.
	Nonce string
	// LogPath is the file for stdout and stderr, an absolute path. One file belongs to one nonce. Its folder is made when it
	// is missing, and older files *.log in it are removed.
	LogPath string
}

// check refuses a Spec that can't be started or found again.
func (s Spec) check() error {
	switch {
	case s.Nonce == "":
		return messages.NewError(messages.InvalidArgument, "process", "a process needs a nonce")
	case len(s.Argv) == 0 || s.Argv[0] == "":
		return messages.NewError(messages.InvalidArgument, s.Nonce, "there is no command to run")
	case s.LogPath == "":
		return messages.NewError(messages.InvalidArgument, s.Nonce, "a process needs a log file")
	}
	return nil
}

// fingerprint is a hash of the command line.
func (s Spec) fingerprint() string {
	sum := sha256.Sum256([]byte(strings.Join(s.Argv, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// Handle identifies one process for as long as the kernel runs, and tells it from later processes with the same pid.
type Handle struct {
	Pid        int64
	StartTicks uint64 // start time in clock ticks since boot, field 22 of /proc/PID/stat
	BootID     string // the kernel's boot id: StartTicks mean nothing in another boot
	Nonce      string
	// Fingerprint is a hash of the command line. It is kept for the record and proves nothing.
	Fingerprint string
	LogPath     string
}
