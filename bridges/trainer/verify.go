package trainer

import (
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
	"strings"

	"modelops/messages"
)

// sum is the checksum and size of a file, or of a folder: of its files' names and contents in the order of names. It ends with ctx.
func sum(ctx context.Context, path string) (sha string, bytes uint64, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", 0, err
	}
	h := sha256.New()
	if !st.IsDir() {
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
			return fmt.Errorf("%s is no regular file", file)
		}
		fmt.Fprintf(h, "%s\x00", name)
		n, err := hashFile(ctx, h, file)
		fmt.Fprintf(h, "%d\x00", n)
		bytes += n
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), bytes, err
}

func hashFile(ctx context.Context, h hash.Hash, path string) (n uint64, err error) {
	f, err := os.Open(path)
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

// verified is a checkpoint whose file is there, below the job's folder, with the checksum that was told.
func (t *Trainer) verified(ctx context.Context, job string, said *checkpointSaid) (*messages.Checkpoint, error) {
	if !inside(t.folder(job).checkpoints(), said.Path) {
		return nil, messages.Errorf(messages.InvalidArgument, said.Path, "the checkpoint of step %d isn't in the job's folder of checkpoints", said.Step).
			WithHint("have the trainer write below ${CHECKPOINTS}")
	}
	sha, bytes, err := sum(ctx, said.Path)
	switch {
	case err != nil:
		return nil, messages.Errorf(messages.Unavailable, said.Path, "the checkpoint of step %d can't be read: %w", said.Step, err)
	case bytes == 0:
		return nil, messages.Errorf(messages.InvalidArgument, said.Path, "the checkpoint of step %d is empty", said.Step)
	case said.SHA256 != "" && !strings.EqualFold(said.SHA256, sha):
		return nil, messages.Errorf(messages.InvalidArgument, said.Path, "the checkpoint of step %d has the checksum %s, the trainer said %s", said.Step, sha, said.SHA256)
	}
	return &messages.Checkpoint{Step: said.Step, Path: said.Path, Sha256: sha, Bytes: bytes}, nil
}

// checkArtifacts fills in sizes and checksums of what a finished attempt hands on. An artifact that isn't there, or is another than was told, makes the attempt one that broke.
func checkArtifacts(ctx context.Context, out *messages.JobOutcome) error {
	for _, a := range out.Artifacts {
		sha, bytes, err := sum(ctx, a.Path)
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
