package trainer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"modelops/messages"
)

// Sum is the checksum and size of a file, or of a folder: of its files' names and contents in the order of names. It ends with ctx.
func Sum(ctx context.Context, path string) (sha string, bytes uint64, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", 0, err
	}
	h := sha256.New()
	switch {
	case st.IsDir():
	case !st.Mode().IsRegular(): // opening a FIFO blocks until a process writes to it
		return "", 0, notRegular(path)
	default:
		n, err := hashFile(ctx, h, path)
		return hex.EncodeToString(h.Sum(nil)), n, err
	}
	err = filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(path, file)
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() {
			return notRegular(file)
		}
		fmt.Fprintf(h, "%s\x00", name)
		n, err := hashFile(ctx, h, file)
		fmt.Fprintf(h, "%d\x00", n)
		bytes += n
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), bytes, err
}

// openRegular opens a file that a trainer wrote. It never waits, also when the trainer has put something else in its place.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		_ = f.Close()
		return nil, cmp.Or(err, notRegular(path))
	}
	return f, nil
}

func notRegular(path string) error {
	return messages.NewError(messages.InvalidArgument, path, "it is no regular file")
}

func hashFile(ctx context.Context, h hash.Hash, path string) (n uint64, err error) {
	f, err := openRegular(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		got, err := f.Read(buf)
		_, _ = h.Write(buf[:got])
		n += uint64(got)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// inside tells whether a path lies below a folder, also when links are followed.
func inside(dir, path string) bool {
	realDir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	realPath, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(realDir, realPath)
	return err == nil && rel != "." && rel != ".." && !strings.HasPrefix(rel, "../")
}

// kept is a copy of a checkpoint, with the checksum that was told. Trainers often write each checkpoint over the one before, so that theirs may change at any time. Unavailable tells
// that it can't be read now, as while it is being written.
func (t *Trainer) kept(ctx context.Context, job string, said *checkpointSaid) (*messages.Checkpoint, error) {
	if !inside(t.folder(job).checkpoints(), said.Path) {
		return nil, messages.Errorf(messages.InvalidArgument, said.Path, "the checkpoint of step %d isn't in the job's folder of checkpoints", said.Step).
			WithHint("have the trainer write below ${CHECKPOINTS}")
	}
	before, _, err := Sum(ctx, said.Path)
	if err == nil && said.SHA256 != "" && !strings.EqualFold(said.SHA256, before) {
		return nil, messages.Errorf(messages.InvalidArgument, said.Path, "the checkpoint of step %d has the checksum %s, the trainer said %s", said.Step, before, said.SHA256)
	}
	path := filepath.Join(t.folder(job).kept(), strconv.FormatUint(said.Step, 10))
	if err == nil {
		err = Copy(said.Path, path)
	}
	if err != nil {
		code := messages.Unavailable
		if messages.CodeOf(err) == messages.InvalidArgument {
			code = messages.InvalidArgument
		}
		return nil, messages.Errorf(code, said.Path, "the checkpoint of step %d can't be copied: %w", said.Step, err)
	}
	sha, bytes, err := Sum(ctx, path)
	switch {
	case err != nil:
		return nil, messages.Errorf(messages.Unavailable, path, "the checkpoint of step %d can't be read: %w", said.Step, err)
	case bytes == 0:
		return nil, messages.Errorf(messages.InvalidArgument, said.Path, "the checkpoint of step %d is empty", said.Step)
	case sha != before:
		return nil, messages.Errorf(messages.Unavailable, said.Path, "the checkpoint of step %d was written while it was copied", said.Step)
	}
	return &messages.Checkpoint{Step: said.Step, Path: path, Sha256: sha, Bytes: bytes}, nil
}

// Copy copies a file or folder, and returns when the disk has the copy. A copy that is there from an earlier time is replaced.
func Copy(from, to string) error {
	next := to + ".next"
	if err := errors.Join(os.RemoveAll(next), os.RemoveAll(to), os.MkdirAll(filepath.Dir(to), 0o750)); err != nil {
		return err
	}
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		err = copyFile(from, next)
	} else {
		err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(from, path)
			if err != nil {
				return err
			}
			if d.IsDir() {
				return os.MkdirAll(filepath.Join(next, rel), 0o750)
			}
			return copyFile(path, filepath.Join(next, rel))
		})
	}
	if err == nil {
		err = os.Rename(next, to)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(next))
	}
	return syncFolder(filepath.Dir(to))
}

func copyFile(from, to string) error {
	in, err := openRegular(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in) // the kernel shares the blocks where the file system can
	return errors.Join(err, out.Sync(), out.Close())
}

// checkArtifacts fills in sizes and checksums of what a finished attempt hands on. An artifact that isn't there, or is another than was told, makes the attempt one that broke.
func checkArtifacts(ctx context.Context, out *messages.JobOutcome) error {
	for _, a := range out.Artifacts {
		sha, bytes, err := Sum(ctx, a.Path)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch {
		case err != nil:
			out.End, out.Reason = messages.JobOutcome_broke, fmt.Sprintf("it said that it is done, and its artifact can't be read: %v", err)
		case a.Sha256 != "" && !strings.EqualFold(a.Sha256, sha):
			out.End, out.Reason = messages.JobOutcome_broke, fmt.Sprintf("its artifact %s has the checksum %s, the trainer said %s", a.Path, sha, a.Sha256)
		}
		a.Sha256, a.Bytes = sha, bytes
	}
	return nil
}
