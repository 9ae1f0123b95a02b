package host

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Configuration is what a host is to follow, in messages.
type Configuration struct {
	Revision string
	Specs    []*messages.ModelSpec
	// Preload are the models that are preloaded from now on.
	Preload []string
	// Changes and Restart are what else it changes, and what only a restart changes, in words.
	Changes, Restart []string
	// Rule puts it in force for everything that asks it at each request.
	Rule func()
}

// Views shows the models and hosts as their last decisions left them.
type Views interface {
	ModelsOf(host string) []*messages.ModelView
	Host(id messages.ActorID) *messages.HostView
	AwaitModel(ctx context.Context, id messages.ActorID, wanted func(*messages.ModelView) bool) (*messages.ModelView, error)
}

// Reconciler makes a host follow its configuration: only what changed drains and reloads, running requests finish.
type Reconciler struct {
	Host string
	Door messages.Door
	View Views

	one sync.Mutex // one change of configuration at a time
}

// Apply makes a configuration rule; dry only says what would happen. What one actor refuses is in the reply: by then the configuration
// rules. The error is for what stops all of it.
func (r *Reconciler) Apply(ctx context.Context, next func() (Configuration, error), dry bool) (*messages.ConfigChanges, error) {
	r.one.Lock()
	defer r.one.Unlock()
	c, err := next()
	if err != nil {
		return nil, err
	}
	p := Reconcile(r.running(), c.Specs, c.Preload)
	out := &messages.ConfigChanges{Revision: c.Revision, Changes: append(p.Changes, c.Changes...), Restart: c.Restart, DryRun: dry}
	if dry {
		return out, nil
	}
	record := &messages.RecordConfig{Revision: c.Revision, Changes: slices.Concat(out.Changes, out.Restart)}
	if _, err := r.Door.Ask(ctx, messages.HostActor(r.Host), record); err != nil {
		return nil, err
	}
	c.Rule()
	refused, err := r.tell(ctx, p)
	for _, e := range refused {
		out.Refused = append(out.Refused, e.Error())
	}
	return out, err
}

// Follow makes the models follow the configuration that the host starts with. Each refusal is returned.
func (r *Reconciler) Follow(ctx context.Context, specs []*messages.ModelSpec, preload []string) (refused []*messages.Error, err error) {
	return r.tell(ctx, Reconcile(r.running(), specs, preload))
}

// running are the declarations in force, by name.
func (r *Reconciler) running() map[string]*messages.ModelSpec {
	out := map[string]*messages.ModelSpec{}
	for _, v := range r.View.ModelsOf(r.Host) {
		if v.Spec != nil {
			out[v.Name] = v.Spec
		}
	}
	return out
}

// tell brings the plan to the model actors. The host hears what will be withdrawn before it is, so that no route leads there when it is
// gone. The gateway hears of changes through its mailbox, so its answer comes after them: when tell returns, no request is admitted to a
// revision that is no more.
//
// What one actor refuses keeps nothing from the others.
func (r *Reconciler) tell(ctx context.Context, p Plan) (refused []*messages.Error, err error) {
	order := func(name string, m proto.Message) {
		if _, err := r.Door.Ask(ctx, messages.ModelActor(r.Host, name), m); err != nil {
			refused = append(refused, messages.AsError(err))
		}
	}
	for _, spec := range p.Declare {
		order(spec.Name, &messages.DeclareModel{Spec: spec})
	}
	review := &messages.ReviewRoutes{Withdrawn: p.Retire}
	if _, err := r.Door.Ask(ctx, messages.HostActor(r.Host), review); err != nil {
		return refused, err
	}
	for _, name := range p.Retire {
		order(name, &messages.RetireModel{Reason: "the configuration declares it no more"})
	}
	for _, name := range p.Preload {
		order(name, &messages.EnsureModel{Reason: "preload"})
	}
	_, err = r.Door.Ask(ctx, messages.ActorID{Kind: messages.KindGateway, ID: r.Host}, &messages.QueryView{})
	return refused, err
}

// Withdrawn tells the host of a model whose declaration is gone, whoever took it away, when a name leads to it. The configuration says so
// itself before it withdraws a model; other ways say nothing.
func (r *Reconciler) Withdrawn(ctx context.Context, model string) {
	host := messages.HostActor(r.Host)
	if leadsTo(r.View.Host(host), model) {
		r.Door.Tell(ctx, host, &messages.ReviewRoutes{Withdrawn: []string{model}})
	}
}
