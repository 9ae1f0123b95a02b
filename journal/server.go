package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"modelops/messages"
)

const (
	ownUser    = "journal"  // of the journal's own connection; the passwords are random and never leave the process
	bridgeUser = "modelops" // of the other in-process connections: all but writing decisions

	ownConnections = 64 // the server counts in-process connections too, and those of other hosts, each with one of the door's

	reconnectWait = 50 * time.Millisecond
	healthLimit   = time.Second

	authLimit        = 10 * time.Second
	maxConnections   = 1024
	maxSubscriptions = 2048
	maxControlLine   = 4096 // bytes of a line of the protocol, which holds subjects
)

// serverOptions describe the server over storeDir, or one without streams when that is empty. The port is fixed by the first start so that a restart in place keeps it.
func (j *Journal) serverOptions(storeDir string, port int, g *gate) *server.Options {
	o := &server.Options{
		ServerName: j.o.Host, Host: j.o.ListenHost, Port: port,
		NoSigs: true, MaxPayload: j.o.MaxPayload, PingInterval: 10 * time.Second, MaxPingsOut: 2,
		JetStream: storeDir != "", StoreDir: storeDir, SyncAlways: !j.o.noSync,
		// The default is three quarters of what is free at start, after which an account is "out of storage" on a disk that has room.
		// The free-space watch is the only limit.
		JetStreamMaxStore: 1 << 60, JetStreamMaxMemory: 64 << 20,
		CustomClientAuthentication: g, AlwaysEnableNonce: true,
		// Bounds of a client. A stranger keeps a connection for AuthTimeout; it is longer than a busy machine takes to let one in.
		AuthTimeout: authLimit.Seconds(), MaxConn: j.o.most(), MaxSubs: maxSubscriptions, MaxSubTokens: 32,
		MaxControlLine: maxControlLine, WriteDeadline: 10 * time.Second,
	}
	j.o.guard(o)
	j.o.Hub.join(o)
	switch port {
	case 0:
		o.Port = server.RANDOM_PORT
	case -1:
		o.DontListen, o.Port = true, 0
	}
	return o
}

// bridgePermissions leave out only what the journal alone writes. A bridge answers to whatever subject a request names, so with the
// right to write decisions it would lend that right to every caller.
func bridgePermissions() *server.Permissions {
	return &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{root + ".>", "$KV." + bucketName + ".>"}}}
}

// startServer runs a server over storeDir and waits until it answers.
func (j *Journal) startServer(storeDir string) error {
	if err := j.portIsFree(); err != nil {
		return err
	}
	g := &gate{callers: &j.callers}
	o := j.serverOptions(storeDir, j.port, g)
	s, err := server.NewServer(o)
	if err != nil {
		return messages.Errorf(messages.JournalUnavailable, j.o.Dir, "the embedded NATS server refuses its options: %w", err)
	}
	g.server.Store(s)
	s.SetLogger(&natsLog{log: j.o.Log, full: j.callers.refuse, hub: j.ofHub}, false, false)
	if err := j.awaitStart(s); err != nil || s.JetStreamEnabled() != o.JetStream {
		j.give(s)
		return messages.Errorf(messages.JournalUnavailable, j.o.Dir, "the embedded NATS server did not start: %w", cmp.Or(err, errors.New("it runs without its store"))).
			WithHint("look at the log lines of the embedded NATS server above, and at the disk under " + j.o.Dir)
	}
	if a, ok := s.Addr().(*net.TCPAddr); ok && j.port == 0 {
		j.port = a.Port
	}
	j.server.Store(s)
	return nil
}

// awaitStart returns when the server has read its store and answers, or has read nothing for a time.
func (j *Journal) awaitStart(s *server.Server) error {
	ctx, cancel := progressing(j.stopped, bytesRead, standstill)
	defer cancel()
	started := make(chan struct{})
	var failed error
	go func() { defer close(started); s.Start(); failed = j.o.Hub.streams(s) }()
	select {
	case <-started:
	case <-ctx.Done():
		if !j.opened {
			return context.Cause(ctx)
		}
		j.o.Log.Error("the journal's store stands still; the restart waits for the disk", "dir", j.o.Dir)
		<-started // a second server must not open a store that this one holds
	}
	if failed != nil {
		return failed
	}
	for !s.ReadyForConnections(time.Second) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// give ends a server that didn't start.
func (j *Journal) give(s *server.Server) {
	if !j.opened {
		go s.Shutdown() // it may hang on what the start hangs on, and the process ends now
		return
	}
	s.Shutdown()
	s.WaitForShutdown()
}

// portIsFree asks first, because the server itself would only log that its port is taken.
func (j *Journal) portIsFree() error {
	if j.port <= 0 {
		return nil
	}
	l, err := net.Listen("tcp", j.address())
	if err != nil {
		return messages.Errorf(messages.JournalUnavailable, j.address(), "NATS clients can't be listened for: %w", err).
			WithHint("set server.nats_port to a free port, or to 0 to have one picked")
	}
	return l.Close()
}

func (j *Journal) address() string { return net.JoinHostPort(j.o.ListenHost, strconv.Itoa(j.port)) }

// stopServer ends the server; in-process connections go on reconnecting until there is a new one.
func (j *Journal) stopServer() {
	if s := j.server.Swap(nil); s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// InProcessConn gives connections of this process their end of a pipe to whatever server now runs, so that they survive a restart in place.
func (j *Journal) InProcessConn() (net.Conn, error) {
	s := j.server.Load()
	if s == nil {
		return nil, errors.New("the embedded NATS server is down")
	}
	return s.InProcessConn()
}

// Connect opens an in-process connection that may do everything but write decisions and snapshots. It reconnects for ever, also to the
// server that takes another's place after a full disk; the caller closes it.
func (j *Journal) Connect(opts ...nats.Option) (*nats.Conn, error) {
	return j.connect(bridgeUser, opts...)
}

func (j *Journal) connect(user string, opts ...nats.Option) (*nats.Conn, error) {
	own := []nats.Option{
		nats.InProcessServer(j), nats.UserInfo(user, j.password), nats.Name(j.o.Host), nats.Timeout(authLimit),
		nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(0, 0),
		nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { j.o.Log.Warn("nats", "err", err) }),
	}
	nc, err := nats.Connect("", append(own, opts...)...)
	if err != nil {
		return nil, messages.Errorf(messages.JournalUnavailable, j.o.Dir, "no connection to the embedded NATS server: %w", err)
	}
	return nc, nil
}

// ClientURL is where programs on this machine reach the server; empty without a listener.
func (j *Journal) ClientURL() string {
	if j.o.Port == -1 {
		return ""
	}
	u := url.URL{Scheme: "nats", Host: j.address()} // it escapes the zone of an address
	if j.o.TLS != nil {
		u.Scheme = "tls"
	}
	return u.String()
}

// openStreams finds or makes the two streams of the journal.
func (j *Journal) openStreams(ctx context.Context) error {
	want := jetstream.StreamConfig{
		Name: streamName, Description: "decisions of " + j.o.Host, Subjects: []string{hostSubjects(j.o.Host)},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1, MaxConsumers: -1,
		DenyDelete: true, DenyPurge: true, AllowDirect: true, Duplicates: 30 * time.Second,
	}
	if j.o.noSync {
		want.Duplicates = restoreWindow
	}
	stream, err := j.js.CreateOrUpdateStream(ctx, want)
	if err != nil && strings.Contains(err.Error(), unix.ENOSPC.Error()) { // the server passes on the words only
		return messages.Errorf(messages.JournalFull, j.o.Dir, "the journal's disk is full: stream %s can't be opened: %w", streamName, err).
			WithHint("free space under " + j.o.Dir + ", and start again")
	}
	if err != nil {
		return messages.Errorf(messages.JournalUnavailable, j.o.Dir, "stream %s can't be opened: %w", streamName, err).
			WithHint("look at the log lines of the embedded NATS server above")
	}
	j.Reader.stream.Store(&stream)
	j.openSnapshots(ctx)
	return nil
}

// openSnapshots makes the bucket by hand: only a stream can be told to leave out the fsync, which SyncAlways else asks of every bucket.
// Snapshots are a cache, so a store that resists is thrown away, and without one everything works, only slower.
func (j *Journal) openSnapshots(ctx context.Context) {
	want := jetstream.StreamConfig{
		Name: bucketStream, Description: "snapshots of " + j.o.Host, Subjects: []string{"$KV." + bucketName + ".>"},
		Storage: jetstream.FileStorage, MaxMsgsPerSubject: 1, AllowRollup: true, AllowDirect: true, DenyDelete: true,
		Discard: jetstream.DiscardNew, MaxMsgs: -1, MaxBytes: -1, MaxConsumers: -1, PersistMode: jetstream.AsyncPersistMode,
	}
	j.snapshots.Store(nil)
	_, err := j.js.CreateOrUpdateStream(ctx, want)
	if err != nil {
		j.o.Log.Warn("snapshots are unreadable and thrown away", "err", err)
		if err = j.js.DeleteStream(ctx, bucketStream); err == nil {
			_, err = j.js.CreateStream(ctx, want)
		}
	}
	if err != nil {
		j.o.Log.Warn("no snapshots in this run", "err", err)
		return
	}
	bucket, err := j.js.KeyValue(ctx, bucketName)
	if err != nil {
		j.o.Log.Warn("no snapshots in this run", "err", err)
		return
	}
	j.snapshots.Store(&bucket)
}

// storeErrors asks the server what ails the stream; empty = nothing that it knows of.
func (j *Journal) storeErrors() string {
	s := j.server.Load()
	if s == nil {
		return "the embedded NATS server is down"
	}
	// The server looks under locks that it holds while it writes: a disk that hangs would hold up the question too.
	told := make(chan string, 1)
	go func() { told <- streamErrors(s) }()
	patience := time.NewTimer(healthLimit)
	defer patience.Stop()
	select {
	case ill := <-told:
		return ill
	case <-patience.C:
		return "the store has not answered for " + healthLimit.String()
	}
}

func streamErrors(s *server.Server) string {
	h := s.Healthz(&server.HealthzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Stream: streamName})
	if h.StatusCode == 200 {
		return ""
	}
	return fmt.Sprintf("%s %s", h.Status, h.Error)
}

func blocksDir(dir string) string {
	return filepath.Join(dir, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams", streamName, "msgs")
}
