package main

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"modelops/bridges/trainer"
	"modelops/messages"
)

// versions keeps the files of models' versions below data_dir/versions; it implements lineage.Files.
type versions struct{ d *daemon }

// folder is that of a version. The number after @ keeps any model's name from being that of another folder.
func (v versions) folder(model string, number uint32) string {
	return filepath.Join(v.d.cfg.DataDir, "versions", messages.VersionName(url.PathEscape(model), number))
}

// Store implements lineage.Files.
func (v versions) Store(ctx context.Context, model string, number uint32, from *messages.VersionOrigin) (path, sha string, bytes uint64, err error) {
	path, err = filepath.Abs(filepath.Join(v.folder(model, number), filepath.Base(from.Path)))
	if err == nil {
		err = trainer.Copy(from.Path, path)
	}
	if err == nil {
		sha, bytes, err = trainer.Sum(ctx, path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "", 0, messages.Errorf(messages.NotFound, from.Path, "what the job left isn't there any more: %w", err)
	case err != nil:
		return "", "", 0, messages.Errorf(messages.Unavailable, path, "the version can't be stored: %w", err)
	case from.Sha256 != "" && !strings.EqualFold(from.Sha256, sha):
		return "", "", 0, messages.Errorf(messages.Conflict, from.Path, "it has the checksum %s, and had %s when its job ended", sha, from.Sha256)
	}
	return path, sha, bytes, nil
}

// Remove implements lineage.Files.
func (v versions) Remove(ctx context.Context, model string, number uint32) (freed uint64, err error) {
	dir := v.folder(model, number)
	if _, freed, err = trainer.Sum(ctx, dir); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return freed, os.RemoveAll(dir)
}
