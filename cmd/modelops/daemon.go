package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/actors/control"
	"modelops/actors/entity"
	"modelops/actors/gateway"
	"modelops/actors/gpu"
	"modelops/actors/host"
	"modelops/actors/model"
	"modelops/actors/tree"
	"modelops/actors/view"
	"modelops/bridges/config"
	grpcapi "modelops/bridges/grpc"
	natsapi "modelops/bridges/nats"
	"modelops/bridges/openai"
	"modelops/bridges/rest"
	"modelops/bridges/runtime"
	"modelops/bridges/telemetry"
	"modelops/cmd/modelops/cli"
	"modelops/journal"
	"modelops/messages"
)

// daemon is one running host.
type daemon struct {
	cfg     *config.Config // as started
	current atomic.Pointer[config.Config]
	host    string
	bootID  string
	log     *slog.Logger
	metrics *telemetry.Metrics
	began   time.Time
	clock   journal.SteadyClock

	journal    *journal.Journal
	devices    devices
	seeDevices opener
	sampler    *gpu.Sampler
	runtime    *runtime.Runtime
	client     *runtime.Client
	tree       *tree.Tree
	gateway    *gateway.Gateway
	view       *view.Projection
	feed       *journal.Feed
	openai     *openai.API
	rest       *rest.Server
	grpc       *grpcapi.Server
	nats       *natsapi.API

	requests *control.Requests // the latest requests, for `why`
	awake    chan struct{}     // closed when all models of the journal and the configuration are there

	reread   func() (*config.Config, error) // reads the configuration again, from where it came; nil = it can't change
	applying sync.Mutex                     // one change of configuration at a time

	life    context.Context // ends what runs beside the actors: polls and feeds
	endLife context.CancelFunc
	beside  sync.WaitGroup
	closers []func(context.Context) error // in the order of opening; closed in reverse
}

func (d *daemon) newID() string { return uuid.NewString() }

// startDaemon opens what a host stands on, in order. When a step fails, what was opened is closed again.
func startDaemon(ctx context.Context, cfg *config.Config, log *slog.Logger) (*daemon, error) {
	return launch(ctx, cfg, log, openDevices)
}

// launch is startDaemon with what opens the host's devices.
func launch(ctx context.Context, cfg *config.Config, log *slog.Logger, see opener) (*daemon, error) {
	d := &daemon{cfg: cfg, host: cfg.Host, bootID: uuid.NewString(), log: log, began: time.Now(), metrics: telemetry.New(buildVersion(), cfg.Host), awake: make(chan struct{})}
	d.seeDevices = see
	d.view = view.New(view.Options{First: uint64(d.began.UnixMicro()), Listen: d.changed})
	d.requests = d.newRequests()
	d.current.Store(cfg)
	d.life, d.endLife = context.WithCancel(context.Background())
	for _, step := range []func(context.Context) error{d.openJournal, d.openWorld, d.plant, d.wake, d.openEdges, d.announce} {
		if err := step(ctx); err != nil {
			if closing := d.close(context.WithoutCancel(ctx)); closing != nil {
				log.Warn("what had been opened didn't close well", "error", closing)
			}
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

func (d *daemon) openJournal(ctx context.Context) error {
	if err := os.MkdirAll(d.cfg.DataDir, 0o755); err != nil {
		return messages.Errorf(messages.JournalUnavailable, d.cfg.DataDir, "the data directory can't be made: %w", err).WithHint("set data_dir to a directory that this user may write")
	}
	j, err := journal.Open(ctx, journal.Options{Dir: d.cfg.Journal.Dir, Host: d.host, BootID: d.bootID, ListenHost: d.cfg.Server.Bind,
		Port: d.cfg.Server.NATSPort, MinFree: uint64(d.cfg.Journal.MinFreeMB) * messages.MiB, Log: d.log, Observe: d.metrics.ObserveAppend})
	if err != nil {
		return err
	}
	d.journal = j
	d.later(func(context.Context) error { return j.Close() })
	last, err := j.LastTime(ctx)
	d.clock = journal.NewSteadyClock(last)
	return err
}

func (d *daemon) openWorld(ctx context.Context) error {
	ds, err := d.seeDevices(ctx, d.cfg, d.view, d.log)
	if err != nil {
		return err
	}
	d.devices = ds
	d.later(func(context.Context) error { return ds.Close() })
	d.log.Info(ds.Status())
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o := runtime.Options{Self: self, LlamaServer: d.cfg.Runtimes.LlamaCpp.Binary, VLLM: d.cfg.Runtimes.VLLM.Binary,
		Transformers: d.cfg.Runtimes.Transformers.Binary, WhisperServer: d.cfg.Runtimes.WhisperCpp.Binary, OllamaURL: d.cfg.Runtimes.Ollama.URL,
		Threads: uint32(d.cfg.Runtimes.Embedded.Threads), LogDir: filepath.Join(d.cfg.DataDir, "logs"), Log: d.log,
		Slots: uint32(d.cfg.Runtimes.Embedded.Slots), DeviceEnv: d.deviceEnv,
		Measure: func(pid int64) (uint64, error) { return d.sampler.Measure(d.life, pid) }}
	if args := os.Getenv("MODELOPS_WORKER_ARGS"); args != "" {
		o.WorkerArgs = strings.Fields(args)
	}
	d.runtime, d.client = runtime.New(o), runtime.NewClient()
	d.later(func(context.Context) error { d.client.Close(); return nil })
	return nil
}

// plant makes the tree, the gateway and how actors are made.
func (d *daemon) plant(context.Context) error {
	d.tree = tree.New(tree.Options{Host: d.host, Log: d.log, OnRestart: d.metrics.ActorRestarted,
		Backoff: tree.Backoff{First: 50 * time.Millisecond, Longest: 30 * time.Second, Within: time.Minute, Limit: 8}})
	d.later(func(context.Context) error { d.tree.Stop(); return nil })
	d.sampler = d.newSampler()
	d.feed = journal.NewFeed(d.journal)
	d.gateway = gateway.New(gateway.Options{
		Host: d.host, Door: d.tree, Placer: hostPlacer{d.host, d.tree}, Runner: d.client, Observer: telemetry.Requests{Metrics: d.metrics}, Recorder: d.requests,
		FiguresOf: d.figures, HostFigures: d.hostFigures, DrainTimeout: d.cfg.Server.DrainTimeout, StallAfter: 15 * time.Second,
		JournalLag: d.feed.Lag, JournalError: d.journal.Health,
		APIKey: func(s *messages.ModelSpec) string {
			if name := s.GetApiKeyEnv(); name != "" {
				return os.Getenv(name)
			}
			return ""
		},
	})
	d.tree.Grow(d.spawner())
	return nil
}

// changed tells who follows the actors of a new view, in the order of each actor's sequence.
func (d *daemon) changed(_ messages.ActorID, v proto.Message) {
	switch v := v.(type) {
	case *messages.ModelView:
		d.tree.Send(messages.ActorID{Kind: messages.KindGateway, ID: d.host}, v)
		d.withdrawn(v)
		d.metrics.SetModelStates(d.view.Present()) // what is counted for a name that was never set counts as unknown
	case *messages.HostView:
		d.hostChanged(v)
	}
}

func (d *daemon) deviceEnv(p *messages.Placement) []string { return gpu.DeviceEnv(p, d.view.GPUs()) }

// ledgers is what the scheduler sees.
func (d *daemon) ledgers() view.Ledgers {
	return view.Ledgers{View: d.view, Live: d.gateway.Models, Estimate: d.runtime.Need, Now: d.clock.Now}
}

// figures are a model's limits: its own where the configuration has some, else everybody's.
func (d *daemon) figures(model string) gateway.Figures {
	r := d.config().ResilienceOf(model)
	return gateway.Figures{
		Limits:           gateway.Limits{MaxConcurrent: r.Bulkhead.MaxConcurrent, MaxQueue: r.Bulkhead.MaxQueueSize},
		FailureThreshold: r.CircuitBreaker.FailureThreshold, ResetTimeout: r.CircuitBreaker.ResetTimeout, QueueTimeout: r.Bulkhead.QueueTimeout,
	}
}

func (d *daemon) spawner() tree.Spawner {
	o := entity.Options{Journal: store{d.journal}, Clock: d.clock, NewID: d.newID, Observer: d.view, Log: d.log, SnapshotEvery: d.cfg.Journal.SnapshotEvery}
	rules := model.Rules{Retry: model.Retry{Limit: d.cfg.Load.Retries + 1, First: time.Second, Longest: time.Minute}, CanSleep: d.runtime.CanSleep}
	models := model.Kind(rules, model.World{Runtime: workers{d.runtime, d}, Gate: d.gateway, Door: patientDoor{d.tree, d.awake}, Free: d.sampler.AwaitFree, Held: d.sampler.Held, OutOfMemory: runtime.OutOfMemory})
	scheduler := arbiter.Kind(arbiter.Rules{Policy: d.cfg.Scheduler.Policy, MaxLoads: d.cfg.Load.MaxConcurrent, MaxWait: d.cfg.Queue.MaxWait,
		Collation: d.cfg.Queue.Collation, Defrag: d.cfg.Scheduler.Defrag}, d.ledgers(), d.tree)
	ledgers, life := gpu.Kind(), host.Kind(d.swapWorld())
	return func(id messages.ActorID) (*actor.Props, bool) {
		switch {
		case id.Kind == messages.KindArbiter:
			return entity.Props(scheduler, id, o), true
		case id.Host() != d.host:
			return nil, false
		case id.Kind == messages.KindHost:
			return entity.Props(life, id, o), true
		case id.Kind == messages.KindGPU:
			return entity.Props(ledgers, id, o), true
		case id.Kind == messages.KindModel:
			return entity.Props(models, id, o), true
		case id.Kind == messages.KindGateway:
			return gateway.Props(d.gateway), true
		}
		return nil, false
	}
}

// wake brings back who the journal knows, tells the ledgers their devices and the models their declarations, and preloads.
func (d *daemon) wake(ctx context.Context) error {
	known, err := d.journal.Actors(ctx)
	if err != nil {
		return err
	}
	if err := d.begin(ctx, known); err != nil {
		return err
	}
	d.bringBack(ctx, known)
	first := plan(&config.Config{}, d.cfg, d.running())
	refused, err := d.tell(ctx, first)
	if err != nil {
		return err
	}
	for _, e := range refused {
		d.log.Error("a model does not follow the configuration", "subject", e.Subject, "error", e)
	}
	close(d.awake)
	d.believe(ctx)
	d.alongside(d.sampler.Run)
	d.alongside(d.gateway.Run)
	return nil
}

func (d *daemon) openEdges(context.Context) error {
	ctl := operations{d}
	bind := d.cfg.Server.Bind
	d.grpc = grpcapi.New(grpcapi.Options{Gateway: d.gateway, Callers: d.caller, Control: ctl, Log: d.log, Observe: d.metrics.Told("grpc")})
	if err := d.grpc.Start(bind, d.cfg.Server.GRPCPort); err != nil {
		return err
	}
	d.later(d.grpc.Stop)
	if err := d.openHTTP(bind); err != nil {
		return err
	}
	return d.openNATS(ctl)
}

func (d *daemon) openHTTP(bind string) error {
	d.openai = openai.New(openai.Options{Gateway: d.gateway, Callers: d.caller, MaxBody: int64(d.cfg.Server.MaxBodyMB) << 20, Batching: d.batching, Observe: d.metrics, Log: d.log})
	d.later(func(context.Context) error { d.openai.Close(); return nil })
	server, err := rest.New(rest.Options{OpenAI: d.openai, Gateway: d.gateway, Metrics: d.metrics.Handler(d.refresh), Version: buildVersion(),
		Status: d.status, Queue: d.gateway.Queue, Why: operations{d}.Why, Swaps: operations{d}, Bind: bind, Port: d.cfg.Server.RESTPort, Log: d.log, Observe: d.metrics.ToldHTTP})
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	d.rest = server
	d.later(server.Stop)
	return nil
}

func (d *daemon) openNATS(ctl operations) error {
	nc, err := d.journal.Connect()
	if err != nil {
		return err
	}
	d.later(func(context.Context) error { nc.Close(); return nil })
	d.nats = natsapi.New(natsapi.Options{Conn: nc, Gateway: d.gateway, Control: ctl, Callers: d.caller, Host: d.host, Version: buildVersion(), Log: d.log, Observe: d.metrics.Told("nats")})
	if err := d.nats.Start(); err != nil {
		return err
	}
	d.later(d.nats.Stop)
	d.alongside(func(life context.Context) {
		d.feed.Run(life, func(r messages.Recorded) {
			d.metrics.Count(r)
			d.nats.PublishEvents(r)
		})
	})
	return nil
}

func (d *daemon) addresses() cli.Addresses {
	return cli.Addresses{PID: os.Getpid(), Host: d.host, Boot: d.bootID, HTTP: "http://" + d.rest.Addr().String(), GRPC: d.grpc.Addr(), NATS: d.journal.ClientURL()}
}

func (d *daemon) announce(context.Context) error {
	b, err := json.MarshalIndent(d.addresses(), "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(d.cfg.DataDir, cli.AddressFile)
	if err := os.WriteFile(path+".new", b, 0o644); err != nil {
		return err
	}
	d.later(func(context.Context) error { return os.Remove(path) })
	return os.Rename(path+".new", path)
}

// refresh hands in what is only known by asking, before each scrape.
func (d *daemon) refresh() {
	d.metrics.SetModelStates(d.ledgers().Models())
	d.metrics.SetGPUs(d.view.ReadGPUs())
	d.metrics.SetJournalLag(d.feed.Lag())
}

func (d *daemon) status() *messages.StatusView {
	s := &messages.StatusView{Version: buildVersion(), UptimeMs: time.Since(d.began).Milliseconds(), Models: d.gateway.Models(),
		Gpus: d.view.ReadGPUs(), JournalSequence: d.journal.Sequence(), Host: d.view.Host(messages.HostActor(d.host))}
	s.Hints, s.Defrag = d.view.Kept(d.clock.Now())
	return s
}

// leave ends the daemon well and keeps the workers: no new requests, the running ones finish within ctx, the journal closes.
func (d *daemon) leave(ctx context.Context, reason string) error {
	d.grpc.Drain()
	_, err := d.tree.Ask(ctx, messages.HostActor(d.host), &messages.StopHost{BootId: d.bootID, Reason: reason})
	return errors.Join(err, d.close(ctx))
}

// stop is leave, and then the workers end.
func (d *daemon) stop(ctx context.Context) error {
	err := d.leave(ctx, "asked to stop")
	return errors.Join(err, d.stopWorkers(ctx))
}

// workersEnd bounds how long the workers may take to end.
const workersEnd = 15 * time.Second

// stopWorkers ends the processes after the actors are gone: their journal still says that the models are wanted, so the next
// start brings them back.
func (d *daemon) stopWorkers(ctx context.Context) error {
	// Not the requests' time, which may be used up: an engine that ignores SIGTERM must not outlive a good stop.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), workersEnd)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for _, m := range d.view.Models() {
		if m.Worker == nil || m.Worker.Remote {
			continue
		}
		wg.Go(func() {
			if err := d.runtime.Stop(ctx, m.Spec, m.Worker); err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failed
}

// close undoes the start in reverse.
func (d *daemon) close(ctx context.Context) error {
	var failed error
	d.endLife()
	d.beside.Wait()
	for i := len(d.closers) - 1; i >= 0; i-- {
		failed = errors.Join(failed, d.closers[i](ctx))
	}
	d.closers = nil
	return failed
}
