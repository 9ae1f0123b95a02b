package main

import (
	"context"
	"encoding/json"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	grpcapi "modelops/bridges/grpc"
	natsapi "modelops/bridges/nats"
	"modelops/bridges/openai"
	"modelops/bridges/process"
	"modelops/bridges/rest"
	"modelops/bridges/runtime"
	"modelops/bridges/telemetry"
	"modelops/bridges/trainer"
	"modelops/cmd/modelops/cli"
	"modelops/journal"
	"modelops/messages"
)

// openJournal opens the journal and starts the clock of decisions, which never runs behind the journal's last decision.
func (d *daemon) openJournal(ctx context.Context) error {
	if err := os.MkdirAll(d.cfg.DataDir, 0o755); err != nil {
		return messages.Errorf(messages.JournalUnavailable, d.cfg.DataDir, "the data directory can't be made: %w", err).WithHint("set data_dir to a directory that this user may write")
	}
	if info, err := os.Stat(d.cfg.DataDir); err == nil && info.Mode().Perm()&0o002 != 0 {
		d.log.Warn("any user of this machine may replace the journal and the keys, and so run programs as this user: chmod o-w", "data_dir", d.cfg.DataDir)
	}
	if err := d.openAccess(); err != nil {
		return err
	}
	if err := d.openLocks(ctx); err != nil {
		return err
	}
	hub, err := cli.HubOf(d.cfg.NATS)
	if err != nil {
		return err
	}
	j, err := journal.Open(ctx, journal.Options{Callers: d.callers(), Dir: d.cfg.Journal.Dir, Host: d.host, BootID: d.bootID, Hub: hub, ListenHost: d.at.String(), TLS: d.speaks(), Bounds: d.natsBounds(),
		Port: d.cfg.Server.NATSPort, MinFree: uint64(d.cfg.Journal.MinFreeMB) * messages.MiB, MaxConnections: d.most, Log: d.log, Observe: d.metrics.ObserveAppend, Refused: d.metrics.Refused("nats")})
	if err != nil {
		return err
	}
	d.journal = j
	d.later(func(context.Context) error { return j.Close() })
	last, err := j.LastTime(ctx)
	d.clock = journal.NewSteadyClock(last)
	return err
}

// openWorld opens the devices and the runtimes. The sampler is made later and read at the call, because it needs both.
func (d *daemon) openWorld(context.Context) error {
	drivers, err := d.seeDevices(d.life, d.cfg, d.view, telemetry.Seldom(d.log))
	if err != nil {
		return err
	}
	var status []string
	for _, ds := range drivers {
		d.devices, status = append(d.devices, ds), append(status, ds.Status())
		d.later(func(context.Context) error { return ds.Close() })
	}
	d.log.Info(strings.Join(status, "; "))
	identity, release, err := openIdentity(d.cfg.DataDir)
	if err != nil {
		return err
	}
	d.release = release
	self, err := os.Executable()
	if err != nil {
		return err
	}
	processes := process.New(process.Options{Log: d.log, Owner: identity, Logs: d.workerLogs()})
	if os.Getpid() == 1 {
		d.alongside(processes.ReapOrphans)
	}
	o := runtime.Options{Self: self, Processes: processes, LlamaServer: d.cfg.Runtimes.LlamaCpp.Binary, VLLM: d.cfg.Runtimes.VLLM.Binary,
		Transformers: d.cfg.Runtimes.Transformers.Binary, WhisperServer: d.cfg.Runtimes.WhisperCpp.Binary, OllamaURL: d.cfg.Runtimes.Ollama.URL,
		Threads: uint32(d.cfg.Runtimes.Embedded.Threads), LogDir: filepath.Join(d.cfg.DataDir, "logs"), Log: d.log,
		Slots: uint32(d.cfg.Runtimes.Embedded.Slots), DeviceEnv: d.deviceEnv,
		UnknownBytes:  uint64(d.cfg.Resources.UnknownVRAMMB) * messages.MiB,
		PassEnv:       d.cfg.Runtimes.PassEnv,
		Withheld:      d.cfg.CallersVariables(),
		Secret:        func(model string, n int) string { return d.config().Secret(model, n) },
		Measure:       func(pid int64) (uint64, error) { return d.sampler.Measure(d.life, pid) },
		MeasureAsleep: func(pid int64) (uint64, bool, error) { return d.sampler.Asleep(pid) }}
	// Tests slow down or break the embedded engine with it.
	if args := os.Getenv("MODELOPS_WORKER_ARGS"); args != "" {
		o.WorkerArgs = strings.Fields(args)
	}
	d.runtime, d.client = runtime.New(o), runtime.NewClient()
	d.trainer = trainer.New(trainer.Options{Dir: filepath.Join(d.cfg.DataDir, "jobs"), Self: self, Env: process.NewEnvironment(os.Environ()), PassEnv: o.PassEnv, Withheld: o.Withheld,
		DeviceEnv: d.deviceEnv, Log: d.log, Measure: d.measureJob, Secret: func(recipe string, n int) string { return d.config().RecipeSecret(recipe, n) },
		Hide: func(text string) string { return d.config().Hide(text) }, Processes: process.New(process.Options{Log: d.log, Owner: identity})}) // not those of workers: jobs go on when the daemon stops
	d.outward = newOutward(d.most)
	d.outward.onFull(d.client.Close)
	d.client.DialWith(runtime.EitherFamily(d.outward.Dial))
	d.later(func(context.Context) error { d.client.Close(); return nil })
	return nil
}

// openEdges opens the doors. They come last, when all that they call is open, and close first.
func (d *daemon) openEdges(context.Context) error {
	if err := d.openGRPC(); err != nil {
		return err
	}
	if err := d.openHTTP(); err != nil {
		return err
	}
	return d.openNATS()
}

func (d *daemon) openGRPC() error {
	l, err := listen(d.at, d.cfg.Server.GRPCPort, "server.grpc_port")
	if err != nil {
		return err
	}
	limits := d.cfg.Server.Limits
	d.grpc = grpcapi.New(grpcapi.Options{Gateway: d.gateway, Bodies: d.bodies, Operations: d.control.Scoped(), Authenticate: d.authenticate, Log: d.log, Observe: d.metrics.Told("grpc"), TLS: d.speaks("h2"),
		MaxMessage: limits.MessageMB << 20, MaxStreams: uint32(limits.Streams), MaxHeader: uint32(limits.HeaderKB << 10), Handshake: limits.HeaderTime, Idle: limits.IdleTime, BodyStall: limits.BodyStall, SendTimeout: limits.WriteStall})
	d.grpc.Start(newDoor(l, d.most, nil, d.metrics.Refused("grpc"), d.log))
	d.later(d.grpc.Stop)
	return nil
}

func (d *daemon) openHTTP() error {
	d.openai = openai.New(openai.Options{Gateway: d.gateway, Authenticate: d.authenticate, Withheld: d.access.ProxyHeaders, MaxBody: int64(d.cfg.Server.MaxBodyMB) << 20, Bodies: d.bodies, Batching: d.batching, Observe: d.metrics, Log: d.log, Dial: runtime.EitherFamily(d.outward.Dial), Far: d.farWorkers(), Said: d.saidBy(), Stall: d.cfg.Server.Limits.WriteStall})
	d.outward.onFull(d.openai.CloseIdle)
	d.later(func(context.Context) error { d.openai.Close(); return nil })
	server, err := rest.New(rest.Options{Host: d.host, Said: d.saidBy(), Expected: d.expected, OpenAI: d.openai, Gateway: d.gateway, Operations: d.control.Scoped(), Authenticate: d.authenticate,
		Metrics: d.metrics.Handler(d.refresh), Version: buildVersion(), NATS: d.natsPort, Log: d.log, Observe: d.metrics.ToldHTTP,
		Site: func() rest.Site { return *d.sites.Load() }, Limits: limitsOf(d.cfg.Server.Limits), TLS: d.speaks("h2", "http/1.1")})
	if err != nil {
		return err
	}
	l, err := listen(d.at, d.cfg.Server.RESTPort, "server.rest_port")
	if err != nil {
		return err
	}
	full := fullHTTP
	if d.certs != nil {
		full = nil // words in plain text are no TLS
	}
	server.Start(newDoor(l, d.most, full, d.metrics.Refused("http"), d.log))
	d.rest = server
	d.later(server.Stop)
	return nil
}

func (d *daemon) openNATS() error {
	d.nats = natsapi.New(natsapi.Options{Reads: d.journal.Reads, Gateway: d.gateway, Bodies: d.bodies, Operations: d.control.Scoped(), Authenticate: d.authenticate, Host: d.host, Version: buildVersion(), Log: d.log, Observe: d.metrics.Told("nats")})
	leave, err := d.journal.ServeCallers(d.nats)
	if err != nil {
		return err
	}
	d.later(func(context.Context) error { leave(); return nil })
	d.later(d.nats.Stop)
	// One feed for all that follows the journal: events reach metrics, alerts, subscribers and explanations in one order.
	d.alongside(func(life context.Context) {
		d.feed.Run(life, func(r messages.Recorded) {
			d.metrics.Count(r)
			d.countEnded(r)
			telemetry.Alert(d.log, r)
			d.nats.PublishEvents(r)
			d.books.own.Take(r)
		})
	})
	return nil
}

// refresh sets the metrics that have to be read, before each scrape.
func (d *daemon) refresh() {
	d.metrics.SetModelStates(d.ledgers().Models(), d.elsewhere()...)
	d.metrics.SetGPUs(slices.DeleteFunc(d.view.ReadGPUs(), func(g *messages.GpuView) bool { return g.Host != d.host })) // each host tells of its own
	d.metrics.SetJobs(slices.DeleteFunc(d.view.Jobs(), func(j *messages.JobView) bool { return j.Host != d.host }))
	d.metrics.SetGoals(d.view.GoalsOf(d.host))
	d.metrics.SetJournalLag(d.feed.Lag())
	if d.cluster != nil {
		d.metrics.SetPeers(d.cluster.View(), d.reportAges())
	}
	d.metrics.SetArchive(d.host, d.hubView().GetArchive())
}

func (d *daemon) addresses() cli.Addresses {
	scheme, secret, fingerprint := "http", "nats://", ""
	if d.certs != nil {
		scheme, secret, fingerprint = "https", "tls://", d.certs.Fingerprint()
	}
	web := url.URL{Scheme: scheme, Host: near(zoned(d.rest.Addr().String(), d.at.Zone()))}
	nats := strings.TrimPrefix(strings.TrimPrefix(d.journal.ClientURL(), "nats://"), "tls://")
	self, err := process.Self()
	if err != nil {
		d.log.Warn("this process can't be named for modelops upgrade", "error", err)
	}
	return cli.Addresses{PID: os.Getpid(), Started: self.StartTicks, Kernel: self.BootID, Host: d.host, Boot: d.bootID, HTTP: web.String(), GRPC: near(zoned(d.grpc.Addr(), d.at.Zone())), NATS: secret + near(nats), TLS: fingerprint}
}

// announce tells clients on this machine where the doors are, until the daemon ends.
func (d *daemon) announce(context.Context) error {
	d.announcing.Lock()
	defer d.announcing.Unlock()
	d.later(func(context.Context) error {
		d.announcing.Lock()
		defer d.announcing.Unlock()
		d.announced = false
		return os.Remove(filepath.Join(d.cfg.DataDir, cli.AddressFile))
	})
	d.announced = true
	return d.writeAddresses()
}

// writeAddresses tells clients on this machine where the doors are.
func (d *daemon) writeAddresses() error {
	b, err := json.MarshalIndent(d.addresses(), "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(d.cfg.DataDir, cli.AddressFile), b, 0o644)
}

// replaceFile writes a file and renames it into place, so that none reads half of it. A power cut may lose it.
func replaceFile(path string, b []byte, mode fs.FileMode) error {
	if err := os.WriteFile(path+".new", b, mode); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
