package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"modelops/actors/cluster"
	"modelops/actors/cluster/system"
	"modelops/actors/control"
	"modelops/actors/gateway"
	"modelops/actors/gpu"
	"modelops/actors/host"
	"modelops/actors/model"
	"modelops/actors/tree"
	"modelops/actors/view"
	"modelops/bridges/access"
	"modelops/bridges/certs"
	"modelops/bridges/certs/join"
	"modelops/bridges/config"
	"modelops/bridges/forward"
	grpcapi "modelops/bridges/grpc"
	natsapi "modelops/bridges/nats"
	"modelops/bridges/openai"
	"modelops/bridges/peer"
	"modelops/bridges/process"
	"modelops/bridges/rest"
	"modelops/bridges/runtime"
	"modelops/bridges/telemetry"
	"modelops/bridges/trainer"
	"modelops/bridges/wake"
	"modelops/journal"
	"modelops/messages"
)

// daemon is one running host.
type daemon struct {
	cfg     *config.Config // as started: what only a restart changes
	current atomic.Pointer[config.Config]
	reread  func() (*config.Config, error) // reads the configuration again, from where it came; nil = it can't change
	advised chan *config.Config            // the configuration that advising looks at next
	host    string
	bootID  string
	log     *slog.Logger
	metrics *telemetry.Metrics
	clock   journal.SteadyClock

	seeDevices opener
	devices    []gpu.Devices
	runtime    *runtime.Runtime
	trainer    *trainer.Trainer
	learned    atomic.Pointer[learned]
	client     *runtime.Client
	bodies     *messages.Budget
	outward    *outward
	at         netip.Addr    // where the doors listen
	certs      *certs.Source // nil = they don't speak TLS
	sites      atomic.Pointer[rest.Site]
	announcing sync.Mutex // held while the address file is written; guards announced
	announced  bool
	most       int // connections at each door, and to workers

	access       *access.Guard
	operator     config.Operator
	authenticate messages.Authenticate // access's

	journal    *journal.Journal
	atHub      *nats.Conn       // nil = there is no hub
	archive    *journal.Archive // nil = the hub keeps none
	feed       *journal.Feed
	books      *books
	view       *view.Projection
	follower   *view.Follower // of the other hosts' reports; nil on a host alone
	standby    standby        // that waits to take this daemon's place
	files      *runtime.Files // of this host's models; nil on a host alone
	compared   view.Files     // with those of the others
	tree       *tree.Tree
	door       messages.Door // to the actors of every host that this one reaches
	far        *farDoor      // door, on a host of a cluster; nil = this host is alone
	peers      *peer.Peers
	copies     *journal.Copies
	onward     *forward.Client // requests to workers of other hosts; nil = this host is alone
	cluster    *cluster.Cluster
	members    *certs.Membership // nil = the members have no certificates
	inviter    *join.Host        // nil = this host can't invite others
	actors     *system.System
	gateway    *gateway.Gateway
	sampler    *gpu.Sampler
	strays     *host.Strays
	recovery   *host.Recovery
	reconciler *host.Reconciler
	requests   *control.Requests
	line       control.Line
	waker      *wake.Waker
	control    *control.Control

	openai *openai.API
	rest   *rest.Server
	grpc   *grpcapi.Server
	nats   *natsapi.API

	life        context.Context // ends what runs beside the actors: polls and feeds
	endLife     context.CancelCauseFunc
	beside      sync.WaitGroup
	stopping    atomic.Bool // a good stop has begun
	stoppedWell bool        // the last stop was a good one: it ended the workers

	release func()                        // gives the data directory to another daemon, once the workers have ended or are left to it
	closers []func(context.Context) error // in the order of opening; closed in reverse
}

func (d *daemon) newID() string { return uuid.NewString() }

// config is the configuration in force.
func (d *daemon) config() *config.Config { return d.current.Load() }

// launch opens what a host stands on, in order. When a step fails, what was opened is closed again.
func launch(ctx context.Context, cfg *config.Config, reread func() (*config.Config, error), log *slog.Logger, see opener) (*daemon, error) {
	d := &daemon{standby: standby{dataDir: cfg.DataDir}, cfg: cfg, reread: reread, host: cfg.Host, bootID: uuid.NewString(), log: log, metrics: telemetry.New(buildVersion(), cfg.Host), seeDevices: see, advised: make(chan *config.Config, 1)}
	d.current.Store(cfg)
	d.waker = wake.New(d.wakes, log)
	d.most = maxConnections(cfg, log)
	d.view = view.New(view.Options{First: uint64(time.Now().UnixMicro()), Listen: d.changed, ListenFar: d.farChanged, LastWords: d.lastWords})
	d.life, d.endLife = context.WithCancelCause(context.Background())
	d.alongside(d.advising)
	d.advises(cfg)
	for _, step := range []func(context.Context) error{d.openJournal, d.openHub, d.openWorld, d.plant, d.openPeers, d.recoverActors, d.openEdges, d.announce} {
		if err := step(ctx); err != nil {
			if closing := d.close(context.WithoutCancel(ctx)); closing != nil {
				log.Warn("what had been opened didn't close well", "error", closing)
			}
			if ctx.Err() != nil && d.runtime != nil { // asked to stop while it started: no worker is left behind
				if err := host.StopWorkers(ctx, d.host, d.view, d.runtime); err != nil {
					log.Warn("not every worker has ended", "error", err)
				}
			}
			d.giveUp()
			return nil, err
		}
	}
	return d, nil
}

func (d *daemon) later(f func(context.Context) error) { d.closers = append(d.closers, f) }

// alongside runs something until the daemon's life ends.
func (d *daemon) alongside(f func(context.Context)) {
	d.beside.Go(func() { f(d.life) })
}

// giveUp lets another daemon use the data directory.
func (d *daemon) giveUp() {
	if d.release != nil {
		d.release()
	}
}

// leave ends the daemon well and keeps the workers: no new requests, the running ones finish within ctx, the journal closes.
func (d *daemon) leave(ctx context.Context, reason string) error {
	d.stopping.Store(true)
	d.grpc.Drain()
	d.gateway.Leave()
	defer d.endRequests(ctx)()
	_, err := d.tree.Ask(ctx, messages.HostActor(d.host), &messages.StopHost{BootId: d.bootID, Reason: reason})
	return errors.Join(err, d.close(ctx))
}

// answerTime is what of a stop's time is left for the answers to requests that didn't finish.
const answerTime = time.Second

// endRequests ends the requests that still run shortly before ctx does, so that their callers get an answer before the doors cut them off. The
// caller ends the wait.
func (d *daemon) endRequests(ctx context.Context) (cancel func()) {
	deadline, bounded := ctx.Deadline()
	if !bounded {
		return func() {}
	}
	left := time.Until(deadline)
	t := time.AfterFunc(left-min(answerTime, left/2), d.gateway.EndRunning)
	return func() { t.Stop() }
}

// interrupted tells whether a load failed, or a worker ended, because this host stopped. A service manager may send its signal to the workers too, a moment before
// we see our own.
func (d *daemon) interrupted(ctx context.Context, err error) bool {
	var exit *runtime.ExitError
	var ended model.Exit
	code := int32(0)
	switch {
	case errors.As(err, &ended):
		code = ended.Code
	case !errors.As(err, &exit):
		return false
	case exit.Exit.Unwitnessed:
		return d.stoppedWell
	default:
		code = exit.ExitCode()
	}
	if code == 128+int32(syscall.SIGTERM) {
		_ = process.Sleep(ctx, signalTime)
	}
	return d.stopping.Load() || ctx.Err() != nil
}

// signalTime is how long a signal to all processes of a service may take to reach us.
const signalTime = 500 * time.Millisecond

// stop is leave, and then the workers end.
func (d *daemon) stop(ctx context.Context) error {
	defer d.giveUp()
	err := d.leave(ctx, "asked to stop")
	return errors.Join(err, host.StopWorkers(ctx, d.host, d.view, d.runtime))
}

// close undoes the start in reverse.
func (d *daemon) close(ctx context.Context) error {
	var failed error
	d.endLife(messages.NewError(messages.Unavailable, d.host, "the daemon is stopping").WithRetry(time.Second)) // what loads are told that still wait
	d.beside.Wait()
	for i := len(d.closers) - 1; i >= 0; i-- {
		failed = errors.Join(failed, d.closers[i](ctx))
	}
	d.closers = nil
	return failed
}
