package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"modelops/messages"
)

// PeerCopy is a copy of another host's journal: its decisions from the first one on, without a gap. One goroutine appends, any may read.
type PeerCopy struct {
	host, dir string
	places    places
	grown     signal

	mu     sync.Mutex // guards what follows
	files  []peerFile
	tail   *os.File // the last file; nil until something is appended
	last   *messages.RecordedDecision
	heads  map[string]uint64 // last sequence of each actor
	broken *brokenAt         // what ends the copy; only when it was opened for reading
}

// OpenPeerCopy opens the copy in a directory for reading. What can't be read, and all behind it, is not part of it.
func OpenPeerCopy(ctx context.Context, dir, host string) (*PeerCopy, error) {
	p := &PeerCopy{host: host, dir: dir, heads: map[string]uint64{}}
	return p, p.scan(ctx)
}

// scan reads the copy as far as it is whole.
func (p *PeerCopy) scan(ctx context.Context) error {
	found, err := listPeerFiles(p.dir)
	if err != nil {
		return unwritable(p.dir, err)
	}
	for _, f := range found {
		whole := f
		whole.size = 0
		err := f.pass(0, func(d *messages.RecordedDecision, at, size int64) error {
			if ctx.Err() != nil {
				return messages.AsError(ctx.Err())
			}
			if err := p.follows(d); err != nil {
				return &brokenAt{f.path, at, err}
			}
			p.places.note(f.path, d.Sequence, at)
			p.take(d)
			whole.size = at + size
			return nil
		})
		p.files = append(p.files, whole)
		if errors.As(err, &p.broken) {
			return nil
		}
		if err != nil {
			return unwritable(f.path, err)
		}
	}
	return nil
}

// writePeerCopy opens the copy in a directory for appending, and makes it when there is none. A tail that a crash tore is cut off. When more than
// that is unreadable, what was there is kept beside, and the copy is what comes before the damage.
func writePeerCopy(ctx context.Context, dir, host string) (*PeerCopy, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, unwritable(dir, err)
	}
	p, err := OpenPeerCopy(ctx, dir, host)
	if err != nil || p.broken == nil {
		return p, err
	}
	found, err := listPeerFiles(dir)
	if err != nil {
		return nil, unwritable(dir, err)
	}
	if found[len(found)-1].path != p.broken.path {
		return renewed(ctx, p)
	}
	if err := os.Truncate(p.broken.path, p.broken.at); err != nil {
		return nil, unwritable(dir, err)
	}
	p.broken = nil
	return p, nil
}

// renewed sets a damaged copy aside and writes its readable beginning anew.
func renewed(ctx context.Context, old *PeerCopy) (*PeerCopy, error) {
	aside, err := old.setAside("damaged")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(old.dir, 0o755); err != nil {
		return nil, unwritable(old.dir, err)
	}
	from, err := OpenPeerCopy(ctx, aside, old.host)
	if err != nil {
		return nil, err
	}
	p := &PeerCopy{host: old.host, dir: old.dir, heads: map[string]uint64{}}
	return p, from.stored(0, from.Sequence(), func(d *messages.RecordedDecision) error {
		return p.append([]*messages.RecordedDecision{d})
	})
}

// setAside moves the copy to a directory beside it, which nothing writes to again, and returns that.
func (p *PeerCopy) setAside(why string) (string, error) {
	p.close()
	name := "kept-" + why + "-" + itoaPadded(p.Sequence()) + "-" + time.Now().UTC().Format("20060102T150405.000000000")
	aside := filepath.Join(filepath.Dir(p.dir), name)
	if err := os.Rename(p.dir, aside); err != nil {
		return "", unwritable(p.dir, err)
	}
	return aside, nil
}

// follows tells whether a decision continues the copy, and each actor's chain.
func (p *PeerCopy) follows(d *messages.RecordedDecision) error {
	if d.Sequence != p.last.GetSequence()+1 {
		return damagedAt(d.Sequence, "it follows sequence %d in a copy of the journal of %s", p.last.GetSequence(), p.host)
	}
	if head := p.heads[d.Actor]; head != d.Expected {
		return damagedAt(d.Sequence, "the chain of %s is broken: it follows sequence %d, but the one before it is %d", d.Actor, d.Expected, head)
	}
	return nil
}

func (p *PeerCopy) take(d *messages.RecordedDecision) {
	p.last, p.heads[d.Actor] = d, d.Sequence
}

// append adds decisions, all or none. messages.JournalDamaged: they don't continue the copy.
func (p *PeerCopy) append(all []*messages.RecordedDecision) error {
	if len(all) == 0 {
		return nil
	}
	defer p.grown.fire()
	p.mu.Lock()
	defer p.mu.Unlock()
	file, err := p.room(all[0].Sequence)
	if err != nil {
		return unwritable(p.dir, err)
	}
	before, heads := p.last, map[string]uint64{}
	undo := func() {
		p.last = before
		for actor, head := range heads {
			p.heads[actor] = head
		}
	}
	var b []byte
	at := make([]int64, 0, len(all))
	for _, d := range all {
		if err := p.follows(d); err != nil {
			undo()
			return err
		}
		at = append(at, file.size+int64(len(b)))
		if b, err = appendRecord(b, d); err != nil {
			undo()
			return messages.Errorf(messages.Internal, p.dir, "%w", err)
		}
		if _, seen := heads[d.Actor]; !seen {
			heads[d.Actor] = p.heads[d.Actor]
		}
		p.take(d)
	}
	if _, err := p.tail.WriteAt(b, file.size); err != nil {
		undo()
		return unwritable(p.dir, errors.Join(err, p.tail.Truncate(file.size)))
	}
	for i, d := range all {
		p.places.note(file.path, d.Sequence, at[i])
	}
	file.size += int64(len(b))
	return nil
}

// room is the file that a sequence goes to, open in tail.
func (p *PeerCopy) room(sequence uint64) (*peerFile, error) {
	n := len(p.files)
	if n > 0 && p.files[n-1].size < peerFileSize {
		if p.tail != nil {
			return &p.files[n-1], nil
		}
		f, err := os.OpenFile(p.files[n-1].path, os.O_RDWR, 0)
		p.tail = f
		return &p.files[n-1], err
	}
	if p.tail != nil {
		err := errors.Join(p.tail.Sync(), p.tail.Close())
		p.tail = nil
		if err != nil {
			return nil, err
		}
	}
	path := peerFileName(p.dir, sequence)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	p.tail, p.files = f, append(p.files, peerFile{path: path, first: sequence})
	return &p.files[n], nil
}

// close ends appending. What was appended reaches the disk.
func (p *PeerCopy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tail != nil {
		_, _ = p.tail.Sync(), p.tail.Close() // the peer has it still, and the next opening cuts what is torn
		p.tail = nil
	}
}

// same tells whether the last decision of the copy is this one. Ids are random, so what comes before it is the same too.
func (p *PeerCopy) same(d *messages.RecordedDecision) bool {
	l := p.Last()
	return l.GetSequence() == d.GetSequence() && l.GetId() == d.GetId() && l.GetActor() == d.GetActor() && l.GetAt() == d.GetAt() && l.GetBootId() == d.GetBootId()
}

// Last is the last decision; nil when the copy is empty.
func (p *PeerCopy) Last() *messages.RecordedDecision {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// Sequence is that of the last decision.
func (p *PeerCopy) Sequence() uint64 { return p.Last().GetSequence() }

// BootID is the start of the host in which the last decision was made.
func (p *PeerCopy) BootID() string { return p.Last().GetBootId() }

// Grown closes when the copy has another decision.
func (p *PeerCopy) Grown() <-chan struct{} { return p.grown.wait() }
