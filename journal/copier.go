package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"modelops/messages"
)

const (
	pollWait   = 10 * time.Second
	askAgain   = 100 * time.Millisecond // after a question that failed: a link that is down refuses at once
	roomAgain  = time.Second            // while the disk is full, or the copy can't be written
	pollBeyond = 5 * time.Second        // how much longer than the wait an answer may take
)

// run copies until ctx ends. Each time the host is reached again, the copy's last decision is compared with the host's: a host that lost its
// disk has another one there, or none.
func (p *copier) run(ctx context.Context) {
	known := false // the copy's end is the host's
	defer p.saveTold()
	for ctx.Err() == nil {
		pause := time.Duration(0)
		switch err := p.step(ctx, &known); messages.CodeOf(err) {
		case 0:
			p.say("")
		case messages.Unavailable, messages.DeadlineExceeded, messages.Cancelled:
			p.say("")
			p.saveTold()
			known, pause = false, askAgain
		case messages.JournalFull:
			p.say(fmt.Sprintf("the journal of %s isn't copied: %s", p.host, messages.AsError(err).Message))
			pause = roomAgain
		default:
			p.say(fmt.Sprintf("the journal of %s can't be copied: %v", p.host, err))
			known, pause = false, roomAgain
		}
		if pause > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

func (p *copier) say(note string) {
	if old := p.note.Load(); old == nil && note == "" || old != nil && *old == note {
		return
	}
	p.note.Store(&note)
	if note != "" {
		p.c.o.Log.Warn(note, "host", p.host, "dir", p.dir)
	}
}

// step copies one page.
func (p *copier) step(ctx context.Context, known *bool) error {
	p.opening.Lock()
	kept, err := p.open(ctx)
	p.opening.Unlock()
	if err != nil {
		return err
	}
	if free, err := freeBytes(p.dir); err == nil && free < p.c.o.MinFree {
		return messages.Errorf(messages.JournalFull, p.dir, "the disk has %s left, copies need at least %s", messages.FormatBytes(free), messages.FormatBytes(p.c.o.MinFree))
	}
	last := kept.Sequence()
	ask := &messages.PageRequest{After: last, WaitMs: uint32(pollWait.Milliseconds())}
	if !*known {
		ask.After, ask.WaitMs = last-min(last, 1), 0
	}
	page, err := p.page(ctx, ask)
	if err != nil {
		return err
	}
	all := page.Decisions
	if page.LastSequence < last {
		return p.replaced(kept, fmt.Sprintf("it ends at sequence %d now, and was copied up to %d", page.LastSequence, last))
	}
	if !*known && last > 0 {
		if len(all) == 0 || !kept.same(all[0]) {
			return p.replaced(kept, fmt.Sprintf("its decision %d is another one", last))
		}
		all = all[1:]
	}
	*known = true
	p.c.Heard(p.host, page.LastSequence)
	if err := kept.append(all); err != nil {
		*known = false
		return err
	}
	if kept.Sequence() >= page.LastSequence {
		p.even.Store(time.Now().UnixMilli())
	}
	p.pass(all)
	return nil
}

func (p *copier) page(ctx context.Context, ask *messages.PageRequest) (*messages.PageReply, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(ask.WaitMs)*time.Millisecond+pollBeyond)
	defer cancel()
	page, err := p.c.o.Peers.Pages(ctx, p.host, ask)
	if err != nil {
		return nil, err
	}
	if page.Host != p.host {
		return nil, messages.Errorf(messages.FailedPrecondition, "host "+p.host, "it answered with the journal of %q", page.Host)
	}
	return page, nil
}

// replaced sets the copy aside, because the host has another journal now, and begins a new one.
func (p *copier) replaced(kept *PeerCopy, why string) error {
	p.opening.Lock()
	defer p.opening.Unlock()
	aside, err := kept.setAside(epochName(kept.BootID()))
	if err != nil {
		return err
	}
	p.copy.Store(nil)
	p.saveTold()
	_ = os.Rename(filepath.Join(filepath.Dir(p.dir), toldFile), filepath.Join(aside, toldFile)) // it is of that journal
	p.told.Store(0)
	p.wrote = 0
	p.c.o.Log.Warn("the host has another journal than the one that was copied: the copy is kept aside and a new one begins", "host", p.host, "why", why, "kept", aside)
	return nil
}

// epochName is a start of a host as a part of a directory's name.
func epochName(boot string) string {
	name := token(boot)
	return name[:min(len(name), 36)]
}

func (p *copier) pass(all []*messages.RecordedDecision) {
	if p.c.o.Taken == nil {
		return
	}
	for _, d := range all {
		if r, err := FromStored(d); err == nil {
			_ = open(&r) // an unknown event leaves Events nil
			p.c.o.Taken(p.host, r)
		}
	}
}
