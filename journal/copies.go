package journal

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"modelops/messages"
)

// Copies are the copies of other hosts' journals that this host keeps, each in <dir>/<host>/copy. What a host no longer has, because its disk was
// lost or it went back to an older copy, is kept beside in <dir>/<host>/kept-*, and is never written again.
type Copies struct {
	o  CopiesOptions
	mu sync.Mutex
	of map[string]*copier
}

// CopiesOptions say where copies lie and where they come from.
type CopiesOptions struct {
	Dir   string
	Host  string      // this host, of which no copy is kept
	Peers interface { // nil = copies are only read
		Pages(ctx context.Context, host string, r *messages.PageRequest) (*messages.PageReply, error)
	}
	MinFree uint64 // copying stops while the disk has less, so that decisions still find room
	Log     *slog.Logger
	Taken   func(host string, r messages.Recorded) // each decision when it is copied; may be nil
}

// CopyStatus is how far the copy of a host's journal is.
type CopyStatus struct {
	Host   string
	Copied uint64    // last sequence that the copy holds
	Told   uint64    // last one that the host told
	At     time.Time // when it held all that its host had; if that wasn't seen since this start, when its last decision was made
	Note   string    // why copying has stopped, for people; empty while it goes on or the host can't be reached
}

// NewCopies makes the copies of a directory. Nothing is read or copied before it is asked for.
func NewCopies(o CopiesOptions) *Copies {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Copies{o: o, of: map[string]*copier{}}
}

// Hosts are those of which there is a copy, in order.
func (c *Copies) Hosts() ([]string, error) {
	if c == nil {
		return nil, nil
	}
	return CopiedHosts(c.o.Dir)
}

// Told is the last sequence that each host told whose journal is copied, or was; 0 = unknown. The copy of a new host may not have begun.
func (c *Copies) Told() (map[string]uint64, error) {
	hosts, err := c.Hosts()
	if c == nil || err != nil {
		return nil, err
	}
	for _, host := range hosts {
		c.copier(host)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]uint64{}
	for host, p := range c.of {
		out[host] = p.told.Load()
	}
	return out, nil
}

// CopiedHosts are the hosts of which a directory holds copies, in order.
func CopiedHosts(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unwritable(dir, err)
	}
	var out []string
	for _, e := range entries {
		if host, err := untoken(e.Name()); err == nil && e.IsDir() {
			out = append(out, host)
		}
	}
	slices.Sort(out)
	return out, nil
}

// CopyNames are the copies of a host's journal in a directory: "copy" is the one in use, the others were kept when the host had another journal.
func CopyNames(dir, host string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, token(host)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unwritable(dir, err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && (e.Name() == CurrentCopy || strings.HasPrefix(e.Name(), "kept-")) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// CurrentCopy is the name of the copy in use.
const CurrentCopy = "copy"

// CopyDir is the directory of a copy.
func CopyDir(dir, host, name string) string {
	return filepath.Join(dir, token(host), filepath.Base(name))
}

// TheCopy opens a copy for reading. messages.NotFound: there is none.
func TheCopy(ctx context.Context, dir, host, name string) (*PeerCopy, error) {
	names, err := CopyNames(dir, host)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(names, name) {
		return nil, noCopy(host)
	}
	return OpenPeerCopy(ctx, CopyDir(dir, host, name), host)
}

func noCopy(host string) *messages.Error {
	return messages.NewError(messages.NotFound, "journal of "+host, "this host keeps no copy of it").WithHint("`modelops cluster` shows the members, and how far each journal is copied")
}

// Of is the copy in use of a host's journal. messages.NotFound: there is none.
func (c *Copies) Of(ctx context.Context, host string) (*PeerCopy, error) {
	if c == nil || host == c.o.Host {
		return nil, noCopy(host)
	}
	p := c.copier(host)
	p.opening.Lock()
	defer p.opening.Unlock()
	if kept := p.copy.Load(); kept != nil {
		return kept, nil
	}
	if names, err := CopyNames(c.o.Dir, host); err != nil || !slices.Contains(names, CurrentCopy) {
		return nil, errors.Join(err, noCopy(host))
	}
	return p.open(ctx)
}

// LongestCopy is the name for the longest copy of a host's journal.
const LongestCopy = "longest"

// longest is the name of the longest copy.
func (c *Copies) longest(ctx context.Context, host string) (name string, err error) {
	if c == nil {
		return "", noCopy(host)
	}
	names, err := CopyNames(c.o.Dir, host)
	if err != nil {
		return "", err
	}
	most := uint64(0)
	for _, n := range names {
		p, err := c.Named(ctx, host, n)
		if err != nil {
			return "", err
		}
		if s := p.Sequence(); name == "" || s > most {
			name, most = n, s
		}
	}
	if name == "" {
		return "", noCopy(host)
	}
	return name, nil
}

// Named is Of for a copy that was kept aside; each call reads it anew.
func (c *Copies) Named(ctx context.Context, host, name string) (*PeerCopy, error) {
	if name == LongestCopy {
		longest, err := c.longest(ctx, host)
		if err != nil {
			return nil, err
		}
		name = longest
	}
	if name == "" || name == CurrentCopy {
		return c.Of(ctx, host)
	}
	if c == nil {
		return nil, noCopy(host)
	}
	return TheCopy(ctx, c.o.Dir, host, name)
}

func (c *Copies) copier(host string) *copier {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.of[host]
	if p == nil {
		p = &copier{c: c, host: host, dir: CopyDir(c.o.Dir, host, CurrentCopy)}
		p.told.Store(readTold(filepath.Dir(p.dir)))
		c.of[host] = p
	}
	return p
}

// Keep copies a host's journal until ctx ends. A second call for a host that is copied waits for its turn.
func (c *Copies) Keep(ctx context.Context, host string) {
	if host == c.o.Host || c.o.Peers == nil {
		return
	}
	p := c.copier(host)
	p.running.Lock()
	defer p.running.Unlock()
	p.run(ctx)
}

// Heard notes the last sequence that a host told in a heartbeat: what is lost with its disk is known by it.
func (c *Copies) Heard(host string, sequence uint64) {
	if host == c.o.Host {
		return
	}
	p := c.copier(host)
	for old := p.told.Load(); sequence > old && !p.told.CompareAndSwap(old, sequence); old = p.told.Load() {
	}
	if kept := p.copy.Load(); kept != nil && kept.Sequence() == sequence {
		p.even.Store(time.Now().UnixMilli())
	}
}

// Status is how far each copy is, by host.
func (c *Copies) Status() []CopyStatus {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []CopyStatus
	for host, p := range c.of {
		s := CopyStatus{Host: host, Told: p.told.Load()}
		if kept := p.copy.Load(); kept != nil {
			s.Copied = kept.Sequence()
			s.At, _ = time.Parse(time.RFC3339Nano, kept.Last().GetAt())
		}
		if at := p.even.Load(); at != 0 {
			s.At = time.UnixMilli(at)
		}
		if note := p.note.Load(); note != nil {
			s.Note = *note
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b CopyStatus) int { return strings.Compare(a.Host, b.Host) })
	return out
}

// Close ends appending; the last decisions reach the disk. No Keep may run.
func (c *Copies) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.of {
		if kept := p.copy.Load(); kept != nil {
			kept.close()
		}
	}
}

// copier copies one host's journal.
type copier struct {
	c         *Copies
	host, dir string
	opening   sync.Mutex // held while the copy is opened or exchanged
	running   sync.Mutex // held while it copies
	copy      atomic.Pointer[PeerCopy]
	told      atomic.Uint64
	wrote     uint64       // of told, on disk; the runner's
	even      atomic.Int64 // milliseconds
	note      atomic.Pointer[string]
}

// open opens the copy. The caller holds opening.
func (p *copier) open(ctx context.Context) (*PeerCopy, error) {
	if kept := p.copy.Load(); kept != nil {
		return kept, nil
	}
	var kept *PeerCopy
	var err error
	if p.c.o.Peers != nil {
		kept, err = writePeerCopy(ctx, p.dir, p.host)
	} else {
		kept, err = OpenPeerCopy(ctx, p.dir, p.host)
	}
	if err == nil {
		p.copy.Store(kept)
	}
	return kept, err
}

const toldFile = "told"

// readTold is the last sequence that a host told before the link was lost; 0 = unknown.
func readTold(dir string) uint64 {
	b, err := os.ReadFile(filepath.Join(dir, toldFile))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// Told is the last sequence that a host was heard of, by the files in a directory; 0 = unknown.
func Told(dir, host string) uint64 { return readTold(filepath.Join(dir, token(host))) }

// Told is the last sequence that the host of a copy told, at least what the copy holds.
func (p *PeerCopy) Told() uint64 {
	told := readTold(p.dir) // of a copy that was kept aside
	if filepath.Base(p.dir) == CurrentCopy {
		told = readTold(filepath.Dir(p.dir))
	}
	return max(told, p.Sequence())
}

// PeerCopyIn opens the copy of a journal in a directory <host>/copy or <host>/kept-*, and tells whose it is; nil = there is none.
func PeerCopyIn(ctx context.Context, dir string) (*PeerCopy, string, error) {
	files, err := listPeerFiles(dir)
	if err != nil || len(files) == 0 {
		return nil, "", nil // something else lies there
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, "", unwritable(dir, err)
	}
	host, err := untoken(filepath.Base(filepath.Dir(path)))
	if err != nil {
		return nil, "", messages.Errorf(messages.InvalidArgument, dir, "the directory above it isn't named after a host: %w", err)
	}
	p, err := OpenPeerCopy(ctx, dir, host)
	return p, host, err
}

// saveTold writes down what the host told, when that changed.
func (p *copier) saveTold() {
	told := p.told.Load()
	if told == p.wrote {
		return
	}
	if os.WriteFile(filepath.Join(filepath.Dir(p.dir), toldFile), []byte(strconv.FormatUint(told, 10)+"\n"), 0o644) == nil {
		p.wrote = told
	}
}
