package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"modelops/messages"
)

const (
	// StoreFile holds the added keys, in data_dir. It is no part of the journal: who may read the journal must not learn a key's hash, and a key
	// can be revoked while the journal is down.
	StoreFile = "keys.json"

	// keyPrefix makes keys recognisable where they leak, and keyBits makes guessing one hopeless, so that a plain SHA-256 is enough.
	keyPrefix = "mo-"
	keyBits   = 256

	// remembered bounds the revoked keys that are kept, so that who still uses one is told so.
	remembered = 1000
)

// key is one added key as the file has it. It is replaced, never changed, but for used.
type key struct {
	Name       string    `json:"name"`
	SHA256     string    `json:"sha256"`
	Role       string    `json:"role"`
	Models     []string  `json:"models,omitempty"`
	Operations []string  `json:"operations,omitempty"`
	Class      string    `json:"class,omitempty"`
	Created    time.Time `json:"created"`
	Expires    time.Time `json:"expires,omitzero"`
	Revoked    time.Time `json:"revoked,omitzero"`
	Used       time.Time `json:"last_used,omitzero"` // as of the last write

	principal messages.Principal
	used      *atomic.Int64 // seconds since 1970
}

// content is the file.
type content struct {
	Version int    `json:"version"`
	Keys    []*key `json:"keys"`
}

// table is what requests look at: immutable.
type table struct {
	bySum map[Sum]*key
	keys  []*key // in the order of their making
	alive int    // keys that aren't revoked
}

// Store is the added keys. Reads take no lock and write nothing.
type Store struct {
	path string
	now  func() time.Time
	// cut is told the fingerprint of a key that ended by being revoked, after it is refused.
	cut func(fingerprint string)

	table atomic.Pointer[table]
	mu    sync.Mutex // one writer
	dirty atomic.Bool
}

// OpenStore reads the keys of dataDir. The error is FailedPrecondition when the file is damaged or could have been written by others: a host
// that starts without its keys would refuse everyone.
func OpenStore(dataDir string, now func() time.Time, cut func(fingerprint string)) (*Store, error) {
	s := &Store{path: filepath.Join(dataDir, StoreFile), now: now, cut: cut}
	c, err := s.read()
	if err != nil {
		return nil, err
	}
	s.table.Store(tableOf(c.Keys))
	return s, nil
}

func (s *Store) read() (content, error) {
	var c content
	damaged := func(why string, cause error) (content, error) {
		return content{}, messages.NewError(messages.FailedPrecondition, s.path, "the added keys can't be trusted: "+why).WithCause(cause).
			WithHint("bring the file back from a copy, or move it away and add the keys again with `modelops keys add`")
	}
	f, err := os.OpenFile(s.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, nil
	case errors.Is(err, syscall.ELOOP):
		return damaged("it is a symbolic link", err)
	case err != nil:
		return damaged("the file can't be read: "+err.Error(), err)
	}
	defer func() { _ = f.Close() }()
	if why := trusted(f); why != "" {
		return damaged(why, nil)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return damaged("the file can't be read: "+err.Error(), err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return damaged("it is no JSON of ours: "+err.Error(), err)
	}
	if c.Version != 1 {
		return damaged(fmt.Sprintf("it has version %d, and this program knows version 1", c.Version), nil)
	}
	for _, k := range c.Keys {
		if why := k.settle(); why != "" {
			return damaged(why, nil)
		}
	}
	return c, nil
}

// trusted says why others may have written a file; empty when only this user, or root, could.
func trusted(f *os.File) string {
	info, err := f.Stat()
	if err != nil {
		return "the file can't be read: " + err.Error()
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return "it is no regular file"
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Sprintf("its permissions are %04o, so other users may have written it", info.Mode().Perm())
	case ok && stat.Uid != 0 && !isOurs(stat.Uid, filepath.Dir(f.Name())):
		return fmt.Sprintf("it belongs to user %d, and this is user %d", stat.Uid, os.Geteuid())
	}
	return ""
}

// isOurs tells whether a user is this one. Root works for the user whose directory it is.
func isOurs(user uint32, dir string) bool {
	me := os.Geteuid()
	if me != 0 {
		return int(user) == me
	}
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	of, ok := info.Sys().(*syscall.Stat_t)
	return ok && of.Uid == user
}

// settle fills in what isn't written, and says what is wrong with the rest.
func (k *key) settle() string {
	if k == nil {
		return "an entry is null"
	}
	role, ok := messages.ParseRole(k.Role)
	if !ok {
		return fmt.Sprintf("the role of %.100q is %.100q", k.Name, k.Role)
	}
	if _, ok := SumOf(k.SHA256); !ok || k.Name == "" {
		return fmt.Sprintf("the entry %.100q has no hash", k.Name)
	}
	k.principal = messages.Principal{Name: k.Name, Class: k.Class, Fingerprint: k.SHA256[:12], Role: role, Until: k.Expires}
	if len(k.Models)+len(k.Operations) > 0 {
		k.principal.Scope = &messages.Scope{Models: k.Models, Operations: k.Operations}
	}
	if k.used == nil {
		k.used = &atomic.Int64{}
		if !k.Used.IsZero() {
			k.used.Store(k.Used.Unix())
		}
	}
	return ""
}

func tableOf(keys []*key) *table {
	t := &table{bySum: make(map[Sum]*key, len(keys)), keys: keys}
	for _, k := range keys {
		sum, _ := SumOf(k.SHA256)
		t.bySum[sum] = k
		if k.Revoked.IsZero() {
			t.alive++
		}
	}
	return t
}

// usedEvery is how exact the time of the last use is, in seconds: a request writes to shared memory at most so often.
const usedEvery = 60

// find is the principal of a key, when the store knows it. The error says that it has ended, to the one who has it.
func (s *Store) find(sum Sum) (_ messages.Principal, known bool, _ error) {
	k, ok := s.table.Load().bySum[sum]
	if !ok {
		return messages.Principal{}, false, nil
	}
	now := s.now()
	switch {
	case !k.Revoked.IsZero():
		return messages.Principal{}, true, refused("the key was revoked").WithHint("ask the operator for a new one")
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return messages.Principal{}, true, refused("the key has expired").WithHint("ask the operator for a new one")
	}
	if at := now.Unix(); at-k.used.Load() >= usedEvery {
		k.used.Store(at)
		s.dirty.Store(true)
	}
	return k.principal, true, nil
}

func (s *Store) empty() bool { return s.table.Load().alive == 0 }

// Add makes a key and returns it: it can't be shown again. It is in force when Add returns.
func (s *Store) Add(n messages.NewKey) (secret string, _ *messages.KeyInfo, _ error) {
	random := make([]byte, keyBits/8)
	_, _ = rand.Read(random) // never fails
	secret = keyPrefix + hex.EncodeToString(random)
	sum := sha256.Sum256([]byte(secret))
	k := &key{Name: n.Name, SHA256: hex.EncodeToString(sum[:]), Role: messages.RoleName(n.Role), Models: n.Models, Operations: n.Operations, Class: n.Class,
		Created: s.now().UTC().Truncate(time.Second), Expires: n.Expires}
	if why := k.settle(); why != "" {
		return "", nil, messages.NewError(messages.InvalidArgument, "key", why)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := s.table.Load().keys
	if i := slices.IndexFunc(keys, func(o *key) bool { return o.Name == n.Name && o.Revoked.IsZero() }); i >= 0 {
		return "", nil, messages.Errorf(messages.Conflict, "key "+n.Name, "there is a key of that name").WithHint("choose another name, or revoke it first: modelops keys revoke " + n.Name)
	}
	if err := s.replace(append(slices.Clone(keys), k)); err != nil {
		return "", nil, err
	}
	return secret, k.info(s.now()), nil
}

// Revoke ends a key by its name or its fingerprint. It is refused when Revoke returns, on open connections too, even if that can't be written:
// then it is tried again, and the error says so. Revoking a revoked one succeeds.
func (s *Store) Revoke(name string) (*messages.KeyInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := slices.Clone(s.table.Load().keys)
	is := func(k *key) bool { return k.Name == name || k.principal.Fingerprint == name }
	i := slices.IndexFunc(keys, func(k *key) bool { return is(k) && k.Revoked.IsZero() })
	if i < 0 {
		if i = slices.IndexFunc(keys, is); i >= 0 {
			return keys[i].info(s.now()), nil
		}
		return nil, messages.Errorf(messages.NotFound, "key "+name, "no added key has that name or fingerprint").WithHint("modelops keys ls lists them")
	}
	ended := *keys[i]
	ended.Revoked = s.now().UTC().Truncate(time.Second)
	keys[i] = &ended
	keys = forget(keys)
	s.table.Store(tableOf(keys))
	s.cut(ended.principal.Fingerprint)
	if err := s.replace(keys); err != nil {
		return nil, messages.Errorf(messages.Unavailable, s.path, "the key is refused from now on, but that can't be written, so a restart would accept it again: %w", err).
			WithHint("it is written as soon as it can be; is the disk full?")
	}
	return ended.info(s.now()), nil
}

// forget drops the oldest revoked keys beyond the number that is remembered.
func forget(keys []*key) []*key {
	revoked := 0
	for _, k := range keys {
		if !k.Revoked.IsZero() {
			revoked++
		}
	}
	return slices.DeleteFunc(keys, func(k *key) bool {
		drop := !k.Revoked.IsZero() && revoked > remembered
		if drop {
			revoked--
		}
		return drop
	})
}

// replace writes the keys and then puts them in force: what isn't on disk isn't promised.
func (s *Store) replace(keys []*key) error {
	s.dirty.Store(false)
	out := content{Version: 1, Keys: make([]*key, len(keys))}
	for i, k := range keys {
		written := *k
		if at := k.used.Load(); at > 0 {
			written.Used = time.Unix(at, 0).UTC()
		}
		out.Keys[i] = &written
	}
	b, err := json.MarshalIndent(out, "", "  ")
	if err == nil {
		err = writeFile(s.path, append(b, '\n'))
	}
	if err != nil {
		s.dirty.Store(true)
		return messages.Errorf(messages.Unavailable, s.path, "the keys can't be written: %w", err).WithHint("is the disk full, or data_dir not writable?")
	}
	s.table.Store(tableOf(keys))
	return nil
}

// writeFile replaces a file as a whole: it and its name are on disk when it returns.
func writeFile(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Flush writes the times of last use when they changed. It is called now and then, and at the end.
func (s *Store) Flush() error {
	if !s.dirty.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replace(s.table.Load().keys)
}

// List shows the added keys, the revoked ones too, by name.
func (s *Store) List() (out []*messages.KeyInfo) {
	now := s.now()
	for _, k := range s.table.Load().keys {
		out = append(out, k.info(now))
	}
	slices.SortStableFunc(out, func(a, b *messages.KeyInfo) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (k *key) info(now time.Time) *messages.KeyInfo {
	i := infoOf(k.principal, now)
	i.Source, i.CreatedMs = StoreFile, k.Created.UnixMilli()
	if at := k.used.Load(); at > 0 {
		i.LastUsedMs = at * 1000
	}
	if !k.Revoked.IsZero() {
		i.State, i.RevokedMs = "revoked", k.Revoked.UnixMilli()
	}
	return i
}

// infoOf shows a key by its principal.
func infoOf(p messages.Principal, now time.Time) *messages.KeyInfo {
	i := &messages.KeyInfo{Name: p.Name, Fingerprint: p.Fingerprint, Role: messages.RoleName(p.Role), Class: p.Class, State: "active"}
	if p.Scope != nil {
		i.Models, i.Operations = p.Scope.Models, p.Scope.Operations
	}
	if !p.Until.IsZero() {
		i.ExpiresMs = p.Until.UnixMilli()
		if !now.Before(p.Until) {
			i.State = "expired"
		}
	}
	return i
}
