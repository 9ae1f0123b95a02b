package host

import (
	"context"
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/messages"
)

func spec(name, revision, by string) *messages.ModelSpec {
	return &messages.ModelSpec{Name: name, Revision: revision, DeclaredBy: by}
}

func TestReconcile(t *testing.T) {
	const config, api = messages.DeclaredByConfig, messages.DeclaredByAPI
	longer := spec("m", "1", config)
	longer.MaxReplicas = 4
	for name, c := range map[string]struct {
		running, declared []*messages.ModelSpec
		preload           []string
		want              Plan
	}{
		"nothing":       {},
		"a new one":     {declared: []*messages.ModelSpec{spec("m", "1", config)}, want: Plan{Declare: []*messages.ModelSpec{spec("m", "1", config)}, Changes: []string{"model m: new"}}},
		"the same":      {running: []*messages.ModelSpec{spec("m", "1", config)}, declared: []*messages.ModelSpec{spec("m", "1", config)}},
		"another one":   {running: []*messages.ModelSpec{spec("m", "1", config)}, declared: []*messages.ModelSpec{spec("m", "2", config)}, want: Plan{Declare: []*messages.ModelSpec{spec("m", "2", config)}, Changes: []string{"model m: revision 1 becomes 2; a running worker drains and loads again"}}},
		"more replicas": {running: []*messages.ModelSpec{spec("m", "1", config)}, declared: []*messages.ModelSpec{longer}, want: Plan{Declare: []*messages.ModelSpec{longer}, Changes: []string{"model m: changed, without a reload"}}},
		"gone":          {running: []*messages.ModelSpec{spec("b", "1", config), spec("a", "1", config)}, want: Plan{Retire: []string{"a", "b"}, Changes: []string{"model a: gone; a running worker drains", "model b: gone; a running worker drains"}}},
		"not of a file": {running: []*messages.ModelSpec{spec("m", "1", api), spec("m~2", "1", "replica")}},
		"preloaded":     {declared: []*messages.ModelSpec{spec("m", "1", config)}, preload: []string{"m"}, want: Plan{Declare: []*messages.ModelSpec{spec("m", "1", config)}, Preload: []string{"m"}, Changes: []string{"model m: new", "preload m"}}},
	} {
		t.Run(name, func(t *testing.T) {
			running := map[string]*messages.ModelSpec{}
			for _, s := range c.running {
				running[s.Name] = s
			}
			got := Reconcile(running, c.declared, c.preload)
			same := slices.EqualFunc(got.Declare, c.want.Declare, func(a, b *messages.ModelSpec) bool { return proto.Equal(a, b) })
			if !same || !slices.Equal(got.Retire, c.want.Retire) || !slices.Equal(got.Preload, c.want.Preload) || !slices.Equal(got.Changes, c.want.Changes) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// After a plan is carried out the next one is empty, and models that the configuration doesn't declare are untouched.
func TestReconcileOnceIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := func(label string, by ...string) map[string]*messages.ModelSpec {
			out := map[string]*messages.ModelSpec{}
			for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), rapid.ID).Draw(t, label) {
				out[name] = spec(name, rapid.SampledFrom([]string{"1", "2"}).Draw(t, "revision"), rapid.SampledFrom(by).Draw(t, "by"))
			}
			return out
		}
		running := some("running", messages.DeclaredByConfig, messages.DeclaredByAPI)
		var declared []*messages.ModelSpec
		for _, s := range some("declared", messages.DeclaredByConfig) {
			declared = append(declared, s)
		}
		p := Reconcile(running, declared, nil)
		for _, name := range p.Retire {
			if running[name].DeclaredBy != messages.DeclaredByConfig {
				t.Fatalf("%s is withdrawn", name)
			}
			delete(running, name)
		}
		for _, s := range p.Declare {
			running[s.Name] = s
		}
		for _, s := range declared {
			if !proto.Equal(running[s.Name], s) {
				t.Fatalf("%s runs as %v", s.Name, running[s.Name])
			}
		}
		if again := Reconcile(running, declared, nil); len(again.Changes) > 0 {
			t.Fatalf("left to do: %v", again.Changes)
		}
	})
}

// orders is a door that notes what is asked and refuses what the test says.
type orders struct {
	asked    []string
	recorded *messages.RecordConfig
	refuse   map[string]error
}

func (o *orders) Ask(_ context.Context, to messages.ActorID, m proto.Message) (messages.Reply, error) {
	line := to.String() + " " + string(m.ProtoReflect().Descriptor().Name())
	o.asked = append(o.asked, line)
	if r, ok := m.(*messages.RecordConfig); ok {
		o.recorded = r
	}
	return messages.Reply{}, o.refuse[line]
}
func (o *orders) Tell(ctx context.Context, to messages.ActorID, m proto.Message) {
	_, _ = o.Ask(ctx, to, m)
}

// shown are the views that a test wants.
type shown struct {
	models []*messages.ModelView
	host   *messages.HostView
	await  func(id messages.ActorID, wanted func(*messages.ModelView) bool) error
}

func (s shown) ModelsOf(string) []*messages.ModelView    { return s.models }
func (s shown) Host(messages.ActorID) *messages.HostView { return s.host }
func (s shown) AwaitModel(_ context.Context, id messages.ActorID, wanted func(*messages.ModelView) bool) (*messages.ModelView, error) {
	return nil, s.await(id, wanted)
}

func following(o *orders) *Reconciler {
	running := shown{models: []*messages.ModelView{
		{Name: "b", Spec: spec("b", "1", messages.DeclaredByConfig)}, {Name: "c", Spec: spec("c", "1", messages.DeclaredByConfig)}, {Name: "gone"},
	}}
	return &Reconciler{Host: "h", Door: o, View: running}
}

// next declares a, changes b and withdraws c.
func next(rule func()) func() (Configuration, error) {
	return func() (Configuration, error) {
		return Configuration{Revision: "r2", Specs: []*messages.ModelSpec{spec("a", "1", messages.DeclaredByConfig), spec("b", "2", messages.DeclaredByConfig)},
			Preload: []string{"a", "b"}, Changes: []string{"queue: changed"}, Restart: []string{"log: changed, needs a restart"}, Rule: rule}, nil
	}
}

const recordConfig = "host/h RecordConfig"

// allTold is after the record: requests see the new configuration before the first model does.
var allTold = []string{"it rules", "model/h/a DeclareModel", "model/h/b DeclareModel", "host/h ReviewRoutes", "model/h/c RetireModel", "model/h/a EnsureModel",
	"model/h/b EnsureModel", "gateway/h QueryView"}

// A refusal by one model doesn't keep the plan from the others: the configuration is in force by then, so the rest of the plan is sent, and the
// refusal is in the reply.
func TestApply(t *testing.T) {
	for name, c := range map[string]struct {
		dry     bool
		refuse  map[string]error
		asked   []string
		refused int
		fails   bool
	}{
		"all of it":                  {asked: append([]string{recordConfig}, allTold...)},
		"only said":                  {dry: true},
		"a model refuses":            {refuse: map[string]error{"model/h/a DeclareModel": messages.NewError(messages.InvalidArgument, "model/h/a", "no")}, asked: append([]string{recordConfig}, allTold...), refused: 1},
		"the host can't record it":   {refuse: map[string]error{recordConfig: errors.New("full")}, asked: []string{recordConfig}, fails: true},
		"the host reviews no routes": {refuse: map[string]error{"host/h ReviewRoutes": errors.New("full")}, asked: append([]string{recordConfig}, allTold[:4]...), fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			o := &orders{refuse: c.refuse}
			r := following(o)
			out, err := r.Apply(t.Context(), next(func() {
				o.asked = append(o.asked, "it rules")
				if r.one.TryLock() {
					t.Error("another change may begin before this one is carried out")
				}
			}), c.dry)
			if (err != nil) != c.fails || !slices.Equal(o.asked, c.asked) {
				t.Errorf("asked %q, %v", o.asked, err)
			}
			if len(out.GetRefused()) != c.refused {
				t.Errorf("refused %q", out.GetRefused())
			}
			want := []string{"model a: new", "model b: revision 1 becomes 2; a running worker drains and loads again", "model c: gone; a running worker drains",
				"preload a", "preload b", "queue: changed"}
			if err == nil && (!slices.Equal(out.Changes, want) || len(out.Restart) != 1 || out.Revision != "r2" || out.DryRun != c.dry) {
				t.Errorf("it says %v", out)
			}
			if r := o.recorded; r != nil && (r.Revision != "r2" || !slices.Equal(r.Changes, append(want, "log: changed, needs a restart"))) {
				t.Errorf("recorded is %v", r)
			}
		})
	}
	bad := errors.New("a bad file")
	o := &orders{}
	if _, err := following(o).Apply(t.Context(), func() (Configuration, error) { return Configuration{}, bad }, false); !errors.Is(err, bad) || o.asked != nil {
		t.Errorf("asked %q, %v", o.asked, err)
	}
}

// However a model is withdrawn, a name that leads to it is reviewed; without such a name the host isn't asked.
func TestWithdrawn(t *testing.T) {
	route := &messages.HostView{Routes: []*messages.Route{{Name: "chat", To: "m"}}}
	for name, c := range map[string]struct {
		host    *messages.HostView
		reviews bool
	}{
		"nothing leads there": {nil, false},
		"a route":             {route, true},
		"a canary":            {&messages.HostView{Routes: []*messages.Route{{Name: "chat", To: "x", Canary: "m"}}}, true},
		"another route":       {&messages.HostView{Routes: []*messages.Route{{Name: "m", To: "x"}}}, false},
		"a rollout to it":     {&messages.HostView{Swaps: []*messages.SwapReply{{To: "m", Phase: messages.SwapReply_preparing}}}, true},
		"a rollout from it":   {&messages.HostView{Swaps: []*messages.SwapReply{{From: "m", Phase: messages.SwapReply_trying}}}, true},
		"one that is over":    {&messages.HostView{Swaps: []*messages.SwapReply{{To: "m", Phase: messages.SwapReply_promoted}}}, false},
		"a rollout of others": {&messages.HostView{Swaps: []*messages.SwapReply{{To: "x", From: "y", Phase: messages.SwapReply_trying}}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := &orders{}
			follows(o, c.host, true).Seen(t.Context(), &messages.ModelView{Name: "m"})
			if reviews := slices.Equal(o.asked, []string{"host/h ReviewRoutes"}); reviews != c.reviews || !reviews && o.asked != nil {
				t.Errorf("asked %q", o.asked)
			}
		})
	}
}

// A model that is declared isn't withdrawn, and before the journal's actors are back none is.
func TestNoModelIsWithdrawnWhileTheHostRecovers(t *testing.T) {
	route := &messages.HostView{Routes: []*messages.Route{{Name: "chat", To: "m"}}}
	o := &orders{}
	follows(o, route, false).Seen(t.Context(), &messages.ModelView{Name: "m"})
	follows(o, route, true).Seen(t.Context(), &messages.ModelView{Name: "m", Spec: &messages.ModelSpec{Name: "m"}})
	if o.asked != nil {
		t.Errorf("asked %q", o.asked)
	}
}

func follows(o *orders, host *messages.HostView, recovered bool) *Reconciler {
	return &Reconciler{Host: "h", Door: o, View: shown{host: host}, Recovered: func() bool { return recovered }}
}
