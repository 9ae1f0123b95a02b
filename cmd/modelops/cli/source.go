package cli

import (
	"context"
	"path/filepath"

	"modelops/journal"
	"modelops/messages"
)

// source is a journal to read: of a running daemon, or the files of a stopped one.
type source struct {
	journal interface {
		Replay(ctx context.Context, q journal.Query, fn func(messages.Recorded) error) error
		Follow(ctx context.Context, after uint64, fn func(messages.Recorded) error) error
	}
	host   string
	last   uint64  // sequence of the last decision when it was opened
	client *client // nil for files
	close  func()
	copy   bool // of another host's journal
}

// openSourceOfHost is openSource, of the copy of another host's journal that is kept there; host may be empty.
func (c *cli) openSourceOfHost(ctx context.Context, host string) (*source, error) {
	if host == "" {
		return c.openSource(ctx)
	}
	k, err := c.dial(ctx)
	if err == nil {
		return copySource(ctx, k, host)
	}
	if c.dataDir == "" || c.named() != "" || messages.CodeOf(err) != messages.Unavailable {
		return nil, err
	}
	p, err := c.findPlace()
	if err != nil {
		return nil, err
	}
	kept, err := journal.TheCopy(ctx, filepath.Join(p.dataDir, "peers"), host, journal.CurrentCopy)
	if messages.CodeOf(err) == messages.NotFound { // its own?
		if src, e := fileSource(ctx, p.journal); e == nil && src.host == host {
			return src, nil
		} else if e == nil {
			src.close()
		}
	}
	if err != nil {
		return nil, err
	}
	return &source{journal: kept, host: host, last: kept.Sequence(), copy: true, close: func() {}}, nil
}

// copySource reads what a running daemon has of a host's journal.
func copySource(ctx context.Context, k *client, host string) (*source, error) {
	if own, err := k.host(ctx); err != nil || own == host {
		if err != nil {
			k.close()
			return nil, err
		}
		return liveSource(ctx, k)
	}
	page, err := k.ReadJournal(ctx, &messages.JournalRequest{Host: host, Limit: 1})
	if err != nil {
		k.close()
		return nil, err
	}
	return &source{journal: journal.NewRemoteCopy(host, "", k), host: host, last: page.LastSequence, client: k, copy: true, close: k.close}, nil
}

// openSource finds the daemon's journal. With --data-dir a stopped daemon's files are read instead.
func (c *cli) openSource(ctx context.Context) (*source, error) {
	k, err := c.dial(ctx)
	if err == nil {
		return liveSource(ctx, k)
	}
	if c.dataDir == "" || c.named() != "" || messages.CodeOf(err) != messages.Unavailable {
		e := messages.AsError(err)
		return nil, e.WithHint(e.Hint + "; --data-dir DIR reads the journal of a stopped one")
	}
	p, err := c.findPlace()
	if err != nil {
		return nil, err
	}
	return fileSource(ctx, p.journal)
}

func liveSource(ctx context.Context, k *client) (*source, error) {
	r, host, err := k.journal(ctx)
	if err != nil {
		k.close()
		return nil, err
	}
	s, err := k.GetStatus(ctx, nil)
	if err != nil {
		k.close()
		return nil, err
	}
	return &source{journal: r, host: host, last: s.JournalSequence, client: k, close: k.close}, nil
}

func fileSource(ctx context.Context, dir string) (*source, error) {
	report, err := journal.Verify(ctx, dir)
	if err != nil {
		return nil, err
	}
	host := report.Host
	if host == "" { // an empty journal names no host
		host = "unknown"
	}
	j, err := journal.Open(ctx, journal.Options{Dir: dir, Host: host, ReadOnly: true, Port: -1})
	if err != nil {
		return nil, err
	}
	return &source{journal: j, host: host, last: report.Last, close: func() { _ = j.Close() }}, nil
}
