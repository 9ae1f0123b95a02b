package main

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"modelops/actors/explain"
	"modelops/journal"
	"modelops/messages"
)

// books explain from the journals of all hosts: this one's, and the copies of the others'.
type books struct {
	d   *daemon
	own *explain.Book

	mu sync.Mutex
	of map[string]copyBook // by host
}

// copyBook explains from a copy, as long as that is the one in use.
type copyBook struct {
	copy *journal.PeerCopy
	book *explain.Book
	end  context.CancelFunc
}

func newBooks(d *daemon) *books {
	return &books{d: d, own: explain.NewBook(d.host, history{d.journal}), of: map[string]copyBook{}}
}

// take feeds the next decision of a host's copy to its index.
func (b *books) take(host string, r messages.Recorded) {
	if book := b.find(b.d.life, host); book != nil {
		book.Take(r)
	}
}

// find is the book of a host's copy; nil = there is no copy that can be read.
func (b *books) find(ctx context.Context, host string) *explain.Book {
	kept, err := b.d.copies.Of(ctx, host)
	if err != nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.of[host]
	if ok && at.copy == kept {
		return at.book
	}
	if ok {
		at.end()
	}
	life, end := context.WithCancel(b.d.life)
	at = copyBook{copy: kept, book: explain.NewBook(host, pages{kept}), end: end}
	b.of[host] = at
	if life.Err() == nil {
		b.d.beside.Go(func() { at.book.Run(life) })
	}
	return at.book
}

// all are this host's book and those of the copies.
func (b *books) all(ctx context.Context) ([]*explain.Book, []string) {
	out, hosts := []*explain.Book{b.own}, []string(nil)
	copied, err := b.d.copies.Hosts()
	if err != nil {
		b.d.log.Warn("copies of other hosts' journals can't be read", "error", err)
	}
	for _, host := range copied {
		if book := b.find(ctx, host); book != nil {
			out, hosts = append(out, book), append(hosts, host)
		}
	}
	return out, hosts
}

// pages fits a copy to the port of explanations.
type pages struct{ *journal.PeerCopy }

// Replay implements explain.Journal.
func (p pages) Replay(ctx context.Context, after, until uint64, fn func(messages.Recorded) error) error {
	return p.PeerCopy.Replay(ctx, journal.Query{After: after, Until: until, Unknown: true}, fn)
}

// explain answers a question from the journals as they are now.
func (d *daemon) explain(ctx context.Context, q explain.Question) (*messages.Explanation, error) {
	present := explain.Present{Now: d.clock.Now(), Awaited: d.gateway.Awaited}
	if of := cmp.Or(q.Model.Host(), q.Host, d.host); of == d.host {
		present.Tries, present.LastWords = d.cfg.Load.Retries+1, func(file string) string { telling, _ := d.lastWords(file); return telling }
	}
	books, copied := d.books.all(ctx)
	x, err := explain.Why(ctx, q, present, books...)
	if err != nil {
		return nil, err
	}
	x.SaidBy = d.host
	for _, c := range d.copiesInUse() {
		if slices.Contains(copied, c.Host) {
			x.Copies = append(x.Copies, c)
		}
	}
	return x, nil
}

// copiesInUse is how far the copies of other hosts' journals are.
func (d *daemon) copiesInUse() (out []*messages.JournalCopy) {
	now := time.Now()
	for _, s := range d.copies.Status() {
		kept, err := d.copies.Of(d.life, s.Host)
		if err != nil {
			continue
		}
		out = append(out, &messages.JournalCopy{Host: s.Host, Name: journal.CurrentCopy, BootId: kept.BootID(), Copied: s.Copied, Told: max(s.Told, s.Copied), AgeMs: ageOf(s.At, now), Note: s.Note})
	}
	return out
}

// ageOf is how old something is, in milliseconds; 0 when it never was.
func ageOf(at, now time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return max(now.Sub(at).Milliseconds(), 0)
}

// copiesKept are the copies that were kept because their host has had another journal since.
func (d *daemon) copiesKept() (out []*messages.JournalCopy) {
	hosts, _ := d.copies.Hosts()
	for _, host := range hosts {
		names, _ := journal.CopyNames(filepath.Join(d.cfg.DataDir, copiesDir), host)
		for _, name := range names {
			if of := strings.Split(name, "-"); len(of) > 3 { // kept-START-SEQUENCE-TIME
				last, _ := strconv.ParseUint(of[len(of)-2], 10, 64)
				out = append(out, &messages.JournalCopy{Host: host, Name: name, BootId: strings.Join(of[1:len(of)-2], "-"), Copied: last, Told: last})
			}
		}
	}
	return out
}
