package main

import (
	"context"
	"path/filepath"
	"time"

	"modelops/actors/control"
	"modelops/journal"
	"modelops/messages"
)

// copiesDir is where the copies of other hosts' journals lie.
const copiesDir = "peers"

// newCopies keeps the journals of the other hosts, or on a host that works alone just reads those of a cluster that it has left. They leave twice the room that decisions need: a copy must not be what fills the disk.
func (d *daemon) newCopies() *journal.Copies {
	if d.far == nil {
		return journal.NewCopies(journal.CopiesOptions{Dir: filepath.Join(d.cfg.DataDir, copiesDir), Host: d.host, Log: d.log})
	}
	return journal.NewCopies(journal.CopiesOptions{Dir: filepath.Join(d.cfg.DataDir, copiesDir), Host: d.host, Peers: pagesOf{d},
		MinFree: 2 * uint64(d.cfg.Journal.MinFreeMB) * messages.MiB, Log: d.log, Taken: d.books.take})
}

// pagesOf reads the journals of the peers. The links are made after the copies, which the links serve.
type pagesOf struct{ d *daemon }

func (p pagesOf) Pages(ctx context.Context, host string, r *messages.PageRequest) (*messages.PageReply, error) {
	return p.d.peers.Pages(ctx, host, r)
}

// copying copies the journal of every host to which there is a link, from its first meeting until it is no member any more.
func (d *daemon) copying(ctx context.Context) {
	ends := map[string]context.CancelFunc{}
	tick := time.NewTicker(copyNewcomers)
	defer tick.Stop()
	for {
		now := map[string]bool{}
		for _, l := range d.peers.Links() {
			now[l.Host] = true
			if ends[l.Host] == nil {
				of, end := context.WithCancel(ctx)
				ends[l.Host] = end
				d.beside.Go(func() { d.copies.Keep(of, l.Host) })
			}
		}
		for host, end := range ends {
			if !now[host] {
				end()
				delete(ends, host)
			}
		}
		select {
		case <-ctx.Done():
			for _, end := range ends {
				end()
			}
			return
		case <-tick.C:
		}
	}
}

// copyNewcomers is how often new members are looked for.
const copyNewcomers = 500 * time.Millisecond

// copied is the last sequence of a host's journal that is copied here.
func (d *daemon) copied(host string) uint64 {
	for _, s := range d.copies.Status() {
		if s.Host == host {
			return s.Copied
		}
	}
	return 0
}

// copyOf opens a copy for the operations.
func (d *daemon) copyOf(ctx context.Context, host, name string) (control.JournalCopy, error) {
	p, err := d.copies.Named(ctx, host, name)
	if err != nil {
		return nil, err
	}
	return keptCopy{p}, nil
}

// keptCopy fits a copy to the port of the operations.
type keptCopy struct{ *journal.PeerCopy }

// Replay implements control.JournalCopy.
func (k keptCopy) Replay(ctx context.Context, actor messages.ActorID, after uint64, fn func(messages.Recorded) error) error {
	return k.PeerCopy.Replay(ctx, journal.Query{Actor: actor, After: after, Unknown: true}, fn)
}
