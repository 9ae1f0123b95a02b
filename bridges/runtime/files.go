package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"modelops/messages"
)

const (
	// filesEvery is how often the files of models are looked at again.
	filesEvery = 2 * time.Second
	// statTime is how long a first look at a file may hold its caller up: a disk that hangs doesn't.
	statTime = time.Second
	// needTime is how long the beginning of a file may take to be read.
	needTime = 30 * time.Second
	// hashRate bounds how much is read of files for their hashes, in bytes a second, so that models load meanwhile.
	hashRate = 128 << 20
	// hashesFile keeps hashes across starts, in the data directory.
	hashesFile = "files.json"
	// mostHashes are kept.
	mostHashes = 1024
)

// Files knows the sizes of the files of this host's models, and the hashes of those that are worth it. Its fields are set before it is used.
type Files struct {
	Runtime *Runtime
	DataDir string
	// Specs are the declarations of this host.
	Specs func() []*messages.ModelSpec
	// Wanted tells whether a file's hash is worth reading it.
	Wanted func(model string, bytes uint64) bool
	Log    *slog.Logger

	mu     sync.Mutex
	seen   map[string]seenFile // by model
	own    []*messages.ModelFile
	hashes map[string]string // by stamp
}

// seenFile is a model's file as it was seen last.
type seenFile struct {
	path string // as declared
	file *messages.ModelFile
	// stamp changes with the files: their paths, sizes and times of change.
	stamp string
	parts []filePart
	spec  *messages.ModelSpec // of which the need is
}

// Own are the files of this host's models, by name. They aren't changed.
func (f *Files) Own() []*messages.ModelFile {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.own
}

// Saw looks at the file of a declaration that is new, so that its size is known before anybody hears of the model.
func (f *Files) Saw(spec *messages.ModelSpec) {
	f.mu.Lock()
	was, known := f.seen[spec.GetName()]
	f.mu.Unlock()
	if spec == nil || spec.ReplicaOf != "" || known && was.path == spec.Path {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.look(spec)
	}()
	select {
	case <-done:
	case <-time.After(statTime):
	}
}

// look notes a model's file as it is now.
func (f *Files) look(spec *messages.ModelSpec) {
	next := seenFile{path: spec.Path, spec: spec}
	if path := f.Runtime.modelFile(spec); path != "" {
		parts, _ := partsOf(path)
		next.parts = weightsOf(parts)
	}
	file := &messages.ModelFile{Model: spec.Name}
	for _, p := range next.parts {
		file.Bytes += uint64(p.info.Size())
	}
	next.stamp = stampOf(next.parts)
	if file.Bytes > 0 {
		file.Need = f.need(spec, next.stamp)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if file.Bytes > 0 {
		file.Sha256, next.file = f.hashes[next.stamp], file
	}
	f.note(spec.Name, next)
}

// need is what a model needs, read from its file when that or the declaration is new. nil when it can't be told.
func (f *Files) need(spec *messages.ModelSpec, stamp string) *messages.Need {
	f.mu.Lock()
	was, known := f.seen[spec.Name]
	f.mu.Unlock()
	if known && was.stamp == stamp && was.spec == spec {
		return was.file.GetNeed()
	}
	ctx, cancel := context.WithTimeout(context.Background(), needTime)
	defer cancel()
	need, err := f.Runtime.Need(ctx, spec)
	if err != nil { // who loads the model is told
		return nil
	}
	return need
}

// note replaces what is known of a model's file. f is locked.
func (f *Files) note(model string, next seenFile) {
	if was := f.seen[model]; was.path == next.path && was.stamp == next.stamp && was.file.GetSha256() == next.file.GetSha256() && was.file.GetNeed() == next.file.GetNeed() {
		if f.seen != nil {
			f.seen[model] = next
		}
		return
	}
	if f.seen == nil {
		f.seen = map[string]seenFile{}
	}
	f.seen[model] = next
	f.list()
}

// list makes the list anew. f is locked.
func (f *Files) list() {
	f.own = nil
	for _, model := range slices.Sorted(maps.Keys(f.seen)) {
		if x := f.seen[model]; x.file != nil {
			f.own = append(f.own, x.file)
		}
	}
}

func stampOf(parts []filePart) string {
	var out strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&out, "%s %d %d\n", p.path, p.info.Size(), p.info.ModTime().UnixNano())
	}
	return out.String()
}

// weightsOf leaves out what else lies in a model's folder, such as notes and what a download left behind.
func weightsOf(parts []filePart) []filePart {
	weights := slices.DeleteFunc(slices.Clone(parts), func(p filePart) bool {
		return !slices.Contains([]string{".safetensors", ".gguf", ".bin", ".pt", ".pth", ".onnx", ".npz"}, filepath.Ext(p.path))
	})
	if len(weights) == 0 {
		return parts
	}
	return weights
}

// modelFile is the file or folder of a declaration that runs here; empty = it has none.
func (r *Runtime) modelFile(spec *messages.ModelSpec) string {
	spec = r.resolved(spec)
	k, err := r.kindOf(spec)
	if err != nil || k.remote {
		return ""
	}
	return r.fileOf(k, spec)
}

// Run follows the files and reads one after the other for its hash, until ctx ends.
func (f *Files) Run(ctx context.Context) {
	f.restore()
	tick := time.NewTicker(filesEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		f.lookAgain()
		if x, ok := f.next(); ok {
			f.read(ctx, x)
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// lookAgain looks at all files, and forgets those of models that aren't declared any more.
func (f *Files) lookAgain() {
	specs := f.Specs()
	for _, spec := range specs {
		f.look(spec)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.seen)
	maps.DeleteFunc(f.seen, func(model string, _ seenFile) bool {
		return !slices.ContainsFunc(specs, func(s *messages.ModelSpec) bool { return s.Name == model })
	})
	if len(f.seen) != before {
		f.list()
	}
}

// next is a file whose hash is wanted; false when there is none.
func (f *Files) next() (seenFile, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.own {
		at := f.seen[x.Model]
		if _, tried := f.hashes[at.stamp]; !tried && f.Wanted(x.Model, x.Bytes) {
			return at, true
		}
	}
	return seenFile{}, false
}

// read takes the hash of a file, unless it changes meanwhile.
func (f *Files) read(ctx context.Context, x seenFile) {
	sum := sha256.New()
	for _, p := range x.parts {
		if err := readInto(ctx, sum, p.path); err != nil {
			if ctx.Err() == nil {
				f.Log.Warn("a model's file can't be read for its hash", "model", x.file.Model, "path", p.path, "error", err)
				f.keep(x.stamp, "")
			}
			return
		}
	}
	for i, p := range x.parts {
		if st, err := os.Stat(p.path); err == nil {
			x.parts[i].info = st
		}
	}
	if stampOf(x.parts) == x.stamp {
		f.keep(x.stamp, hex.EncodeToString(sum.Sum(nil)))
	}
}

// readInto reads a file, no faster than hashRate.
func readInto(ctx context.Context, to hash.Hash, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	const chunk = hashRate / 16
	for {
		began := time.Now()
		n, err := io.CopyN(to, in, chunk)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		rest := time.NewTimer(time.Second*time.Duration(n)/hashRate - time.Since(began))
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return context.Cause(ctx)
		}
	}
}

// keep keeps a hash, here and on disk. An empty one says that the file can't be read, until it changes or the next start.
func (f *Files) keep(stamp, sum string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.hashes) >= mostHashes {
		maps.DeleteFunc(f.hashes, func(old string, _ string) bool {
			return !slices.ContainsFunc(slices.Collect(maps.Values(f.seen)), func(x seenFile) bool { return x.stamp == old })
		})
	}
	if f.hashes == nil {
		f.hashes = map[string]string{}
	}
	f.hashes[stamp] = sum
	for model, x := range f.seen {
		if x.stamp == stamp && x.file != nil {
			x.file = &messages.ModelFile{Model: model, Bytes: x.file.Bytes, Sha256: sum}
			f.seen[model] = x
		}
	}
	f.list()
	if sum != "" {
		f.save()
	}
}

// save writes the hashes. One that is lost is taken again. f is locked.
func (f *Files) save() {
	known := maps.Clone(f.hashes)
	maps.DeleteFunc(known, func(_, sum string) bool { return sum == "" })
	text, err := json.Marshal(known)
	at := filepath.Join(f.DataDir, hashesFile)
	if err == nil {
		err = os.WriteFile(at+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(at+".new", at)
	}
	if err != nil {
		f.Log.Warn("hashes of model files can't be kept", "path", at, "error", err)
	}
}

// restore reads the hashes that a former start took.
func (f *Files) restore() {
	text, err := os.ReadFile(filepath.Join(f.DataDir, hashesFile))
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = json.Unmarshal(text, &f.hashes) // what is damaged is taken again
}
