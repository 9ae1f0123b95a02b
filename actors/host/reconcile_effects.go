package host

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Configuration is the part of a configuration that a host follows, in messages.
type Configuration struct {
	Revision string
	Specs    []*messages.ModelSpec
	// Preload are the models that are preloaded from now on.
	Preload []string
	// Changes and Restart say in words what else it changes, and what takes effect only after a restart.
	Changes, Restart []string
	// Rule puts it in force for every part that reads the configuration at each request.
	Rule func()
}

// Views shows the models and hosts as their last decisions left them.
type Views interface {
	ModelsOf(host string) []*messages.ModelView
	Host(id messages.ActorID) *messages.HostView
	AwaitModel(ctx context.Context, id messages.ActorID, wanted func(*messages.ModelView) bool) (*messages.ModelView, error)
}

// Reconciler makes a host follow its configuration: only models that changed drain and reload, and running requests finish.
type Reconciler struct {
	Host string
	Door messages.Door
	View Views
	// Recovered tells whether every actor of the journal is back. Before, a model without a declaration may only not be there yet.
	Recovered func() bool

	one sync.Mutex // one change of configuration at a time
}

// Apply puts a configuration in force; dry only says what would happen. The reply has what single actors refuse: the configuration is in force
// all the same. With an error nothing has changed.
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

// tell sends the plan to the model actors. The host is told first what will be withdrawn, so that no route leads there afterwards. The gateway
// gets changes through its mailbox, so its answer comes after them: when tell returns, no request is admitted to an old revision.
//
// A refusal by one actor doesn't keep the plan from the others.
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

// Seen follows the models of the host. A name that leads to a model whose declaration is gone is reviewed: Apply does so before it withdraws a
// model, and a RetireModel that is sent by hand does not.
func (r *Reconciler) Seen(ctx context.Context, m *messages.ModelView) {
	host := messages.HostActor(r.Host)
	if m.Spec == nil && r.Recovered() && leadsTo(r.View.Host(host), m.Name) {
		r.Door.Tell(ctx, host, &messages.ReviewRoutes{Withdrawn: []string{m.Name}})
	}
}
