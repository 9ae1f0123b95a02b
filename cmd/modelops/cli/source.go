package cli

import (
	"context"

	"modelops/journal"
	"modelops/messages"
)

// source is a journal that can be read: a running daemon's, or the files of a stopped one.
type source struct {
	journal interface {
		Replay(ctx context.Context, q journal.Query, fn func(messages.Recorded) error) error
		Follow(ctx context.Context, after uint64, fn func(messages.Recorded) error) error
		Actors(ctx context.Context) ([]messages.ActorID, error)
	}
	host   string
	last   uint64  // sequence of the last decision when it was opened
	client *Client // nil for files
	close  func()
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

func liveSource(ctx context.Context, k *Client) (*source, error) {
	r, host, err := k.journal(ctx)
	if err != nil {
		k.Close()
		return nil, err
	}
	s, err := k.status(ctx)
	if err != nil {
		k.Close()
		return nil, err
	}
	return &source{journal: r, host: host, last: s.JournalSequence, client: k, close: k.Close}, nil
}

func fileSource(ctx context.Context, dir string) (*source, error) {
	report, err := journal.Verify(ctx, dir)
	if err != nil {
		return nil, err
	}
	host := report.Host
	if host == "" { // an empty journal is nobody's yet
		host = "nobody"
	}
	j, err := journal.Open(ctx, journal.Options{Dir: dir, Host: host, ReadOnly: true, Port: -1})
	if err != nil {
		return nil, err
	}
	return &source{journal: j, host: host, last: report.Last, close: func() { _ = j.Close() }}, nil
}

// actor completes the short forms that people type: host, gpu/cpu, model/tiny.
func actorOn(host, text string) (messages.ActorID, error) {
	switch id, err := messages.ParseActorID(text); {
	case text == messages.KindHost:
		return messages.HostActor(host), nil
	case err == nil:
		return id, nil
	default:
		long, bad := messages.ParseActorID(shortKind(text, host))
		if bad != nil {
			return messages.ActorID{}, err
		}
		return long, nil
	}
}

// shortKind puts the host between kind and name.
func shortKind(text, host string) string {
	for _, kind := range []string{messages.KindGPU, messages.KindModel} {
		if name, ok := cutKind(text, kind); ok {
			return kind + "/" + host + "/" + name
		}
	}
	return text
}

func cutKind(text, kind string) (string, bool) {
	if len(text) <= len(kind)+1 || text[:len(kind)+1] != kind+"/" {
		return "", false
	}
	return text[len(kind)+1:], true
}
