package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"

	"google.golang.org/protobuf/proto"

	"modelops/bridges/config"
	"modelops/messages"
)

// planChange compares the running configuration with another one: what is told to the actors, and what only a restart can change.
type planChange struct {
	declare []*messages.ModelSpec
	retire  []string
	preload []string
	changes []string
	restart []string
}

func plan(old, next *config.Config, running map[string]*messages.ModelSpec) planChange {
	var p planChange
	for _, spec := range next.Specs() {
		switch was := running[spec.Name]; {
		case was == nil:
			p.declare = append(p.declare, spec)
			p.changes = append(p.changes, "model "+spec.Name+": new")
		case was.Revision != spec.Revision:
			p.declare = append(p.declare, spec)
			p.changes = append(p.changes, fmt.Sprintf("model %s: revision %s becomes %s; a running worker drains and loads anew", spec.Name, was.Revision, spec.Revision))
		case !proto.Equal(was, spec):
			p.declare = append(p.declare, spec)
			p.changes = append(p.changes, "model "+spec.Name+": changed, without a reload")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(running)) {
		if _, still := next.Models.Declare[name]; !still && running[name].DeclaredBy == messages.DeclaredByConfig {
			p.retire = append(p.retire, name)
			p.changes = append(p.changes, "model "+name+": gone; a running worker drains")
		}
	}
	for _, x := range next.Models.Preload {
		if !slices.ContainsFunc(old.Models.Preload, func(o config.Preload) bool { return o.Name == x.Name }) {
			p.preload = append(p.preload, x.Name)
			p.changes = append(p.changes, "preload "+x.Name)
		}
	}
	for _, s := range []struct {
		name     string
		old, new any
	}{
		{"resilience", old.Resilience, next.Resilience}, {"queue", old.Queue, next.Queue}, {"batch", old.Batch, next.Batch},
		{"server.require_key", old.Server.RequireKey, next.Server.RequireKey},
	} {
		if !reflect.DeepEqual(s.old, s.new) {
			p.changes = append(p.changes, s.name+": changed")
		}
	}
	p.changes = append(p.changes, changedKeys(old.Keys, next.Keys)...)
	p.restart = needRestart(old, next)
	return p
}

// changedKeys names the callers whose key came, went, or became another one, without telling it.
func changedKeys(old, next []config.Key) []string {
	was := map[string]config.Key{}
	for _, k := range old {
		was[k.Name] = k
	}
	var out []string
	for _, k := range next {
		before, known := was[k.Name]
		delete(was, k.Name)
		switch {
		case !known:
			out = append(out, "key of "+k.Name+": new")
		case before.SHA256 != k.SHA256:
			out = append(out, "key of "+k.Name+": another one; the old one is refused")
		case before.Class != k.Class:
			out = append(out, fmt.Sprintf("key of %s: class %s becomes %s", k.Name, before.Class, k.Class))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		out = append(out, "key of "+name+": gone; it is refused")
	}
	return out
}

// needRestart names the sections whose change only a restart brings.
func needRestart(old, next *config.Config) []string {
	was, will := old.Server, next.Server
	was.RequireKey, will.RequireKey = false, false // asked at each request
	var out []string
	for _, s := range []struct {
		name     string
		old, new any
	}{
		{"host", old.Host, next.Host}, {"data_dir", old.DataDir, next.DataDir}, {"server", was, will}, {"journal", old.Journal, next.Journal},
		{"resources", old.Resources, next.Resources}, {"runtimes", old.Runtimes, next.Runtimes}, {"load", old.Load, next.Load},
		{"scheduler", old.Scheduler, next.Scheduler}, {"queue.max_wait of models that wait for memory", old.Queue.MaxWait, next.Queue.MaxWait}, {"log", old.Log, next.Log},
	} {
		if !reflect.DeepEqual(s.old, s.new) {
			out = append(out, s.name+": changed, needs a restart")
		}
	}
	return out
}

// running are the declarations in force, by name.
func (d *daemon) running() map[string]*messages.ModelSpec {
	out := map[string]*messages.ModelSpec{}
	for _, v := range d.view.Models() {
		if v.Spec != nil {
			out[v.Name] = v.Spec
		}
	}
	return out
}

// apply makes another configuration rule: only what changed drains and reloads, running requests finish. With dry set it only says what
// would happen.
func (d *daemon) apply(ctx context.Context, next *config.Config, dry bool) (*messages.ConfigChanges, error) {
	d.applying.Lock()
	defer d.applying.Unlock()
	p := plan(d.config(), next, d.running())
	out := &messages.ConfigChanges{Revision: next.Revision(), Changes: p.changes, Restart: p.restart, DryRun: dry}
	if dry {
		return out, nil
	}
	host := messages.HostActor(d.host)
	if _, err := d.tree.Ask(ctx, host, &messages.RecordConfig{Revision: next.Revision(), Changes: append(slices.Clone(p.changes), p.restart...)}); err != nil {
		return nil, err
	}
	d.current.Store(next)
	d.gateway.Refigure()
	refused, err := d.tell(ctx, p)
	for _, e := range refused {
		out.Refused = append(out.Refused, e.Error())
	}
	return out, err
}

// tell brings the plan to the model actors. The host hears what will be withdrawn before it is, so that no route leads there when it is
// gone. When tell returns no request is let in for a revision that is no more: the gateway hears of changes through its mailbox, so its
// answer comes after them.
//
// What one actor refuses keeps nothing from the others: by now the configuration rules. Each refusal is returned; the error is for what
// befalls all of them.
func (d *daemon) tell(ctx context.Context, p planChange) (refused []*messages.Error, err error) {
	return p.tell(d.host, func(to messages.ActorID, m proto.Message) error {
		_, err := d.tree.Ask(ctx, to, m)
		return err
	})
}

func (p planChange) tell(host string, ask func(messages.ActorID, proto.Message) error) (refused []*messages.Error, err error) {
	order := func(name string, m proto.Message) {
		if err := ask(messages.ModelActor(host, name), m); err != nil {
			refused = append(refused, messages.AsError(err))
		}
	}
	for _, spec := range p.declare {
		order(spec.Name, &messages.DeclareModel{Spec: spec})
	}
	if err := ask(messages.HostActor(host), &messages.ReviewRoutes{Withdrawn: p.retire}); err != nil {
		return refused, err
	}
	for _, name := range p.retire {
		order(name, &messages.RetireModel{Reason: "the configuration declares it no more"})
	}
	for _, name := range p.preload {
		order(name, &messages.EnsureModel{Reason: "preload"})
	}
	return refused, ask(messages.ActorID{Kind: messages.KindGateway, ID: host}, &messages.QueryView{})
}

// config is the configuration in force; what only a restart changes is in d.cfg.
func (d *daemon) config() *config.Config { return d.current.Load() }

// followConfig applies the configuration at each signal, and when the watched file changed; an empty path watches nothing.
func (d *daemon) followConfig(ctx context.Context, signals <-chan os.Signal, path string) {
	config.Follow(ctx, signals, path, d.reload)
}

// reload applies what the file says now. A bad file changes nothing, and says so once.
func (d *daemon) reload(ctx context.Context) {
	done, err := operations{d}.ApplyConfig(ctx, false)
	if err != nil {
		d.log.Error("the configuration was not applied", "error", err)
		return
	}
	for _, what := range done.Refused {
		d.log.Error("the configuration rules, but this was refused", "error", what)
	}
	d.log.Info("configuration applied", "revision", done.Revision, "changes", done.Changes, "restart", done.Restart)
}
