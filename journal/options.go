package journal

import (
	"crypto/tls"
	"log/slog"
	"time"

	"modelops/messages"
)

// Options say where a journal lives and how it may be reached.
type Options struct {
	Dir    string // directory of the store; made when it is missing
	Host   string // this host's name; a journal belongs to one host for ever
	BootID string // this start's id, written with every decision

	ListenHost string // address for NATS clients; empty = 127.0.0.1
	Port       int    // port for NATS clients: 0 = pick, -1 = no listener
	Callers    Callers

	MaxConnections int // connections of NATS clients; 0 = the server's own limit

	Hub *Hub // nil = this server is a leaf of none

	TLS    *tls.Config // spoken with NATS clients; nil = none
	Bounds Bounds

	MinFree    uint64 // bytes of disk below which decisions are refused; 0 = 64 MiB
	MaxPayload int32  // bytes of the largest message; 0 = 8 MiB
	ReadOnly   bool   // open a damaged journal for reading: no appends, no snapshots, no byte changed

	Log     *slog.Logger                        // nil = silent
	Refused func(n int)                         // told of connections of NATS clients that didn't fit, or ended for others; may be nil
	Observe func(took time.Duration, err error) // told of every append, from the appending goroutine; may be nil

	noSync       bool          // for Restore, which fsyncs at the end, and for tests that fill large stores
	recheckAfter time.Duration // when blocks that were taken for unchanged are read; 0 = 5 s
}

const (
	// defaultRecheckAfter keeps the disk free while the daemon starts.
	defaultRecheckAfter = 5 * time.Second

	defaultMinFree    = 64 << 20
	defaultMaxPayload = 8 << 20
)

func (o Options) complete() (Options, error) {
	if o.Dir == "" {
		return o, messages.NewError(messages.InvalidArgument, "journal.dir", "the journal has no directory").WithHint("set data_dir")
	}
	if o.Host == "" {
		return o, messages.NewError(messages.InvalidArgument, "journal.host", "the journal has no host name").WithHint("set host")
	}
	if o.ListenHost == "" {
		o.ListenHost = "127.0.0.1"
	}
	if o.recheckAfter == 0 {
		o.recheckAfter = defaultRecheckAfter
	}
	if o.MinFree == 0 {
		o.MinFree = defaultMinFree
	}
	if o.Refused == nil {
		o.Refused = func(int) {}
	}
	if o.MaxPayload == 0 {
		o.MaxPayload = defaultMaxPayload
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}
