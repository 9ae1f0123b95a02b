package main

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"modelops/actors/arbiter"
	"modelops/actors/control"
	"modelops/actors/entity"
	"modelops/actors/gateway"
	"modelops/actors/goal"
	"modelops/actors/gpu"
	"modelops/actors/host"
	"modelops/actors/job"
	"modelops/actors/lineage"
	"modelops/actors/model"
	"modelops/actors/tree"
	"modelops/actors/view"
	"modelops/bridges/config"
	"modelops/bridges/process"
	"modelops/bridges/runtime"
	"modelops/bridges/telemetry"
	"modelops/bridges/wake"
	"modelops/journal"
	"modelops/messages"
)

// plant makes the tree, the gateway, the operations, and how actors are made.
func (d *daemon) plant(context.Context) error {
	d.tree = tree.New(tree.Options{Host: d.host, Log: d.log, OnRestart: d.metrics.ActorRestarted})
	d.later(func(context.Context) error { d.tree.Stop(); return nil })
	d.door = d.newActorsDoor()
	d.strays = &host.Strays{Host: d.host, Views: d.view, Jobs: d.liveJobs, Workers: d.runtime, Door: d.tree, Log: d.log}
	d.sampler = d.newSampler()
	d.feed = journal.NewFeed(d.journal)
	d.books = newBooks(d)
	d.copies = d.newCopies()
	d.later(func(context.Context) error { d.copies.Close(); return nil })
	d.alongside(d.books.own.Run)
	d.requests = &control.Requests{Now: d.clock.Now, PID: func(model messages.ActorID) int64 {
		return d.view.Model(model).GetWorker().GetPid()
	}}
	d.recovery = host.NewRecovery(d.host, d.door, d.log)
	d.bodies = messages.NewBudget(int64(d.cfg.Server.BodyBudgetMB) << 20)
	d.gateway = gateway.New(gateway.Options{
		Host: d.host, Door: d.door, Placer: d.memory(), Runner: d.client, Prober: d.runtime, Observer: telemetry.Requests{Metrics: d.metrics}, Recorder: d.requests,
		FiguresOf: d.figures, HostFigures: d.hostFigures, DrainTimeout: d.cfg.Server.DrainTimeout,
		JournalLag: d.feed.Lag, JournalError: d.journal.Health, Ill: d.tree.Ill, Address: d.runtime.Address, Devices: d.troubles, Cluster: d.clusterTroubles, Apart: d.apart, Emptied: residents{d}.emptied, Member: d.isMember,
		APIKey: func(s *messages.ModelSpec) string {
			if name := s.GetApiKeyEnv(); name != "" {
				return os.Getenv(name)
			}
			return ""
		},
	})
	d.reconciler = &host.Reconciler{Host: d.host, Door: d.tree, View: d.view, Recovered: d.recovery.Over}
	d.control = control.New(d.operations())
	d.tree.Grow(d.spawner())
	return nil
}

// operations is what the doors' operations stand on.
func (d *daemon) operations() control.Options {
	o := control.Options{
		Host: d.host, Version: buildVersion(), Life: d.life, Residents: residents{d}, Door: d.door, View: d.view, Gateway: d.gateway, Now: d.clock.Now, Sequence: d.journal.Sequence,
		Actors: d.tree.Actors, Reconciler: d.reconciler, Requests: d.requests, Drills: os.Getenv("MODELOPS_DRILLS") != "", Keys: d.access, Explain: d.explain, Memory: d.memory(),
		Config: func() (*messages.ConfigView, error) { return d.config().View() },
		Replay: func(ctx context.Context, actor messages.ActorID, after uint64, fn func(messages.Recorded) error) error {
			return d.journal.Replay(ctx, journal.Query{Actor: actor, After: after, Unknown: true}, fn)
		},
		SpecOf: d.specOf, Copies: d.copyOf, Copied: d.copies.Told, Hub: d.hubView, Log: d.workerLog, Jobs: learning{d}, Seeking: d.view.LiveJobsOf,
		AutoTune: func() bool { return d.config().Learning.EnableAutoTune },
	}
	if d.reread != nil {
		o.Reread = d.next
	}
	if d.far != nil {
		o.Cluster, o.Hosts, o.Others, o.Differences = membership{d}, hosts{d}, d.othersSaid, d.compared.All
	}
	return o
}

// specOf declares a file under a name, with the runtime that its file is for. A file of none is refused when it is loaded.
func (d *daemon) specOf(name, path string, shards int) (*messages.ModelSpec, error) {
	spec, err := d.config().SpecOf(name, path, shards)
	if err == nil && spec.Runtime == "" {
		spec.Runtime, _ = d.runtime.Choose(spec)
	}
	return spec, err
}

// next is the configuration as its file says now, compared with the one in force.
func (d *daemon) next() (host.Configuration, error) {
	next, err := d.reread()
	if err != nil {
		return host.Configuration{}, err
	}
	differs := next.Follows(d.config(), d.cfg)
	return host.Configuration{Revision: next.Revision(), Specs: next.Specs(), Preload: differs.Preload, Changes: differs.Changes, Restart: differs.Restart, Rule: func() {
		d.current.Store(next)
		d.advises(next)
		for _, fingerprint := range d.access.Follow(rulesOf(next, d.cfg)) {
			d.cutOff(fingerprint)
		}
		d.followLocks(next)
		d.gateway.Refigure()
		d.journal.RecheckCallers(d.life) // keys may have gone
	}}, nil
}

func (d *daemon) catalogue() control.Catalogue {
	return control.Catalogue{Host: d.host, View: d.view, Gateway: d.gateway, Now: d.clock.Now, Preloads: func(model string) bool {
		return slices.ContainsFunc(d.config().Models.Preload, func(p config.Preload) bool { return p.Name == model })
	}}
}

// ledgers is what the scheduler sees.
func (d *daemon) ledgers() view.Ledgers {
	return view.Ledgers{Host: d.host, View: d.view, Live: d.gateway.Models, Seeking: d.seeking, Now: d.clock.Now, Other: d.closed, Seated: d.seatedElsewhere, Others: d.follower, Learning: d.learning,
		Apart: func(model, host string) bool { return d.apart(model, host) != nil }}
}

// seeking are the names and the programs that wait for memory.
func (d *daemon) seeking() []*messages.Allocation {
	return append(d.gateway.Seeking(), d.line.Seeking(time.Now())...)
}

func (d *daemon) spawner() tree.Spawner {
	o := entity.Options{Journal: store{d.journal}, Clock: d.clock, NewID: d.newID, Observer: watch{d.view, d.tree}, Log: d.log, SnapshotEvery: d.cfg.Journal.SnapshotEvery}
	rules := model.Rules{Retry: model.Retry{Limit: d.cfg.Load.Retries + 1}, CanSleep: d.runtime.CanSleep}
	models := model.Kind(rules, model.World{Runtime: d.workers(), Gate: d.gateway, Door: d.recovery.Placing(), Free: d.sampler.AwaitFree, Held: d.sampler.Held, OutOfMemory: runtime.OutOfMemory, Interrupted: d.interrupted})
	scheduler := arbiter.Kind(arbiter.Rules{Policy: d.cfg.Scheduler.Policy, MaxLoads: d.cfg.Load.MaxConcurrent, MaxWait: d.cfg.Queue.MaxWait,
		Collation: d.cfg.Queue.Collation, Defrag: d.cfg.Scheduler.Defrag, KeepWarm: d.cfg.Scheduler.KeepWarm,
		ThresholdPct: d.cfg.Resources.EvictionThresholdPct, Live: d.learning}, d.ledgers(), d.door)
	return tree.Spawn(d.host,
		tree.Journaled(host.Kind(host.World{Door: d.door, Models: d.catalogue(), Trials: d.gateway, Residents: residents{d}}), o),
		tree.Journaled(gpu.Kind(d.door, d.clock.Now), o),
		tree.Journaled(models, o),
		tree.Journaled(job.Kind(job.Rules{}, job.World{Trainer: trainers{d.trainer}, Door: d.recovery.Placing(), Free: d.sampler.AwaitFree, Measured: d.measuredJobs,
			Busy: d.ledgers().Busy, Now: d.clock.Now}), o),
		tree.Journaled(goal.Kind(d.goals()), o),
		tree.Journaled(lineage.Kind(lineage.Rules{Keep: d.cfg.Learning.KeepVersions}, lineage.World{Files: versions{d}, Runs: control.GoalRuns{GoalWork: d.goalWork()}}), o),
		tree.Journaled(scheduler, o),
		tree.Maker{Kind: messages.KindGateway, Props: func(messages.ActorID) *actor.Props { return gateway.Props(d.gateway) }},
	)
}

// changed passes a new view to the parts that follow the actors, in the order of each actor's sequence.
func (d *daemon) changed(_ messages.ActorID, v proto.Message) {
	gate := messages.ActorID{Kind: messages.KindGateway, ID: d.host}
	switch v := v.(type) {
	case *messages.ModelView:
		if d.files != nil && v.Spec != nil {
			d.files.Saw(v.Spec)
		}
		d.tree.Send(gate, v)
		d.reconciler.Seen(d.life, v)
		d.metrics.SetModelStates(d.view.PresentOf(d.host), d.elsewhere()...) // what is counted for a name that was never set counts as unknown
	case *messages.HostView:
		d.tree.Down(v.GaveUp)
		d.tree.Send(gate, v)
	}
}

// farChanged passes a new view of another host or of its model to the gateway.
func (d *daemon) farChanged(_ messages.ActorID, v proto.Message) {
	gate := messages.ActorID{Kind: messages.KindGateway, ID: d.host}
	switch v := v.(type) {
	case *messages.HostView:
		d.tree.Send(gate, v)
	case *messages.ModelView:
		d.tree.Send(gate, v)
		d.metrics.SetModelStates(d.view.PresentOf(d.host), d.elsewhere()...)
	}
}

// elsewhere are the models of other hosts.
func (d *daemon) elsewhere() []*messages.ModelView {
	return slices.DeleteFunc(d.view.Present(), func(v *messages.ModelView) bool { return v.Host == d.host })
}

// recoverActors brings back the actors of the journal, and has the models follow the configuration.
func (d *daemon) recoverActors(ctx context.Context) error {
	known, err := d.journal.Actors(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(known, messages.HostActor(d.host)) {
		if _, err := d.tree.Ask(ctx, messages.HostActor(d.host), &messages.QueryView{}); err != nil {
			return err
		}
		before := d.view.Host(messages.HostActor(d.host))
		d.stoppedWell = before != nil && before.Boots > 0 && !before.Running
	}
	start := &messages.StartHost{BootId: d.bootID, Version: buildVersion(), ConfigRevision: d.cfg.Revision()}
	follow := func(ctx context.Context) error {
		d.strays.Await(ctx, d.alongside)
		d.sampler.Sample(ctx) // what is held by others counts before the first placement
		return d.follow(ctx)
	}
	if err := d.recovery.Run(ctx, start, known, d.sampler.Register, follow); err != nil {
		return err
	}
	host.Verify(ctx, d.host, d.view, d.tree, d.prove, d.log)
	d.alongside(d.sampler.Run)
	d.alongside(d.gateway.Run)
	d.alongside(d.dispatchGoals)
	return nil
}

func (d *daemon) follow(ctx context.Context) error {
	refused, err := d.reconciler.Follow(ctx, d.cfg.Specs(), d.cfg.Differs(&config.Config{}).Preload)
	for _, e := range refused {
		d.log.Error("a model does not follow the configuration", "subject", e.Subject, "error", e)
	}
	return err
}

// prove says why a process isn't the worker that its record names; known is false while that can't be told.
func (d *daemon) prove(w *messages.Worker) (gone error, known bool) {
	switch live, why := d.runtime.Prove(w); live {
	case process.Alive:
		return nil, true
	case process.Gone:
		return why, true
	default:
		return why, false
	}
}

// memory asks the scheduler for device memory.
func (d *daemon) memory() control.Memory {
	return control.Memory{Host: d.host, Door: d.recovery.Placing(), Views: d.view, Estimate: d.workers(), NewID: d.newID, Line: &d.line, Elsewhere: func() []*messages.Allocation { return d.follower.Allocations() }, Classes: d.classes, DeviceEnv: d.deviceEnv,
		Away: func(host string) bool { return d.closed(host) != "" }, Wake: d.waker.Wake, Apart: d.apart, Said: d.saidNeed}
}

func (d *daemon) classes() (classes []string, usual string) {
	q := d.config().Queue
	return q.Classes, q.DefaultClass
}

// wakes says how a host is woken, by the configuration in force.
func (d *daemon) wakes(host string) (wake.Machine, bool) {
	w := d.config().WakeOf(host)
	if w == nil {
		return wake.Machine{}, false
	}
	return wake.Machine{MAC: w.MAC, After: w.After, Address: cmp.Or(w.Address, "255.255.255.255:9")}, true
}
