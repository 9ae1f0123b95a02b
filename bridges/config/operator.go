package config

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"modelops/messages"
)

const (
	// OperatorFile holds the local credential, in data_dir. Who can read it administers the host.
	OperatorFile = "operator.key"

	operatorName   = "operator"
	operatorPrefix = "operator-"
	operatorBits   = 256
)

// Operator is the local credential of a host. The zero value is nobody's key.
type Operator struct{ key string }

// EnsureOperator reads the credential of dataDir and makes it when there is none. The directory must exist. The error is
// FailedPrecondition when others could have read or replaced the file.
func EnsureOperator(dataDir string) (Operator, error) {
	path := filepath.Join(dataDir, OperatorFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := writeOperator(path); err != nil {
			return Operator{}, messages.Errorf(messages.Unavailable, path, "the operator's credential can't be written: %w", err).
				WithHint("set data_dir to a directory that this user may write")
		}
	}
	return ReadOperator(dataDir)
}

// ReadOperator reads the credential of dataDir. The error is NotFound when there is none, PermissionDenied when this user may not read it,
// and FailedPrecondition when others could have read or replaced it.
func ReadOperator(dataDir string) (Operator, error) {
	path := filepath.Join(dataDir, OperatorFile)
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Operator{}, messages.Errorf(messages.NotFound, path, "there is no operator's credential: %w", err).
			WithHint("`modelops serve` writes it at its first start; --data-dir names the directory")
	case errors.Is(err, fs.ErrPermission):
		return Operator{}, messages.Errorf(messages.PermissionDenied, path, "this user may not read the operator's credential: %w", err).
			WithHint("run the command as the user that runs the daemon, or set MODELOPS_API_KEY to a key of your own")
	case errors.Is(err, syscall.ELOOP):
		return Operator{}, unsafe(path, "it is a symbolic link")
	case err != nil:
		return Operator{}, messages.Errorf(messages.FailedPrecondition, path, "the operator's credential can't be read: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := guarded(f); err != nil {
		return Operator{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return Operator{}, messages.Errorf(messages.FailedPrecondition, path, "the operator's credential can't be read: %w", err)
	}
	key := strings.TrimSpace(string(b))
	if secret, ok := strings.CutPrefix(key, operatorPrefix); !ok || len(secret) != operatorBits/4 {
		return Operator{}, unsafe(path, "it doesn't hold a credential that `modelops serve` wrote")
	}
	return Operator{key: key}, nil
}

// guarded refuses a file that anyone but its owner can read or write, and one of another owner. Root reads everyone's.
func guarded(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return messages.Errorf(messages.FailedPrecondition, f.Name(), "the operator's credential can't be read: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	me := os.Geteuid()
	switch {
	case !info.Mode().IsRegular():
		return unsafe(f.Name(), "it is no regular file")
	case info.Mode().Perm()&0o077 != 0:
		return unsafe(f.Name(), fmt.Sprintf("its permissions are %04o, so other users may have read or replaced it", info.Mode().Perm()))
	case ok && int(stat.Uid) != me && me != 0:
		return unsafe(f.Name(), fmt.Sprintf("it belongs to user %d, and this is user %d", stat.Uid, me))
	}
	return nil
}

func unsafe(path, why string) error {
	return messages.NewError(messages.FailedPrecondition, path, "the operator's credential can't be trusted: "+why).
		WithHint("delete the file and start `modelops serve` again, which writes a new one with permissions 0600")
}

// writeOperator makes a new credential. It is whole on disk before it has its name, and never replaces one that another daemon has just written.
func writeOperator(path string) (err error) {
	secret := make([]byte, operatorBits/8)
	_, _ = rand.Read(secret)                                           // never fails
	f, err := os.CreateTemp(filepath.Dir(path), "."+OperatorFile+".*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(operatorPrefix + hex.EncodeToString(secret) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	switch err := os.Link(f.Name(), path); {
	case err == nil, errors.Is(err, fs.ErrExist):
		return nil
	}
	return os.Rename(f.Name(), path) // a file system without hard links
}

// Key is the credential as requests carry it.
func (o Operator) Key() string { return o.key }

// String keeps the credential out of logs.
func (o Operator) String() string { return operatorName }

// GoString is String for %#v.
func (o Operator) GoString() string { return operatorName }

// Is tells whether a key is the credential. The time it takes doesn't tell how much of the key was right.
func (o Operator) Is(key string) bool {
	return o.key != "" && subtle.ConstantTimeCompare([]byte(o.key), []byte(key)) == 1
}

// Principal is the sender of a request that carries the credential.
func (o Operator) Principal() messages.Principal {
	sum := sha256.Sum256([]byte(o.key))
	return messages.Principal{Name: operatorName, Fingerprint: hex.EncodeToString(sum[:])[:12], Role: messages.Role_ADMIN}
}
