package control

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/gateway/pool"
	"modelops/actors/model"
	"modelops/messages"
)

// Views shows the latest views of models and devices, of all hosts that are known.
type Views interface {
	Models() []*messages.ModelView
	GPUs() []*messages.GpuView
	// Changed is closed at the next change of any view; take it before you look.
	Changed() <-chan struct{}
}

// Memory asks the scheduler for device memory: for models by their names, whose host is not chosen yet, and for programs.
type Memory struct {
	Host     string // this host
	Door     messages.Door
	Views    Views
	Estimate model.Estimator
	NewID    func() string
	// Line holds the programs that wait at this host's doors.
	Line *Line
	// Elsewhere are the holders that have or seek memory by what other hosts report; nil = there are no others.
	Elsewhere func() []*messages.Allocation
	// Classes are the priority classes, the first served first, and the one of callers without one.
	Classes func() (classes []string, usual string)
	// DeviceEnv are the variables that bind a program to the devices of a placement; nil = there are none.
	DeviceEnv func(*messages.Placement) []string
	// Away tells whether a host can't be reached; nil = all can. Wake is told that a request has waited for such a host, and returns whether it can be woken; nil = none can.
	Away func(host string) bool
	Wake func(ctx context.Context, host string, waited time.Duration) bool
	// Said is what another host says that a model needs there; nil = it hasn't said it, and told is false when that is because it has reported nothing yet.
	Said func(model, host string) (need *messages.Need, told bool)
	// Apart says why another host may not run a model for this one: its file is another one; nil = any may.
	Apart func(model, host string) *messages.Error
	// Now is the time by which places in line are kept; nil = time.Now.
	Now func() time.Time
}

// canonical resolves an alias.
func (m Memory) canonical(name string) string {
	for _, v := range m.Views.Models() {
		if slices.Contains(v.GetSpec().GetAliases(), name) {
			return v.Name
		}
	}
	return name
}

// needs is what a model needs on each host that declares it, but for those where it is another file. A remembered footprint counts for its own host only. The
// error says why no host has a figure. When that is that they say nothing now, the needs name them and have no figures.
func (m Memory) needs(ctx context.Context, name string) (needs []*messages.Need, groups []string, err error) {
	var off []*messages.Need // on hosts that say nothing now
	for _, v := range m.Views.Models() {
		if v.Name != name || v.Spec == nil {
			continue
		}
		if differs := m.apart(name, v.Host); differs != nil {
			err = differs
			continue
		}
		from, told := m.estimateOf(name, v.Host)
		need, failed := model.NeedOf(ctx, from, v.Spec, v.RememberedBytes)
		if failed != nil && !told {
			off = append(off, &messages.Need{Host: v.Host})
			continue
		}
		if failed != nil {
			err = failed
			continue
		}
		need.Host, need.LoadMs, groups = v.Host, v.LoadMs, v.Spec.Groups
		needs = append(needs, need)
	}
	switch {
	case len(needs) > 0: // hosts that can't be reached and of which there is no figure can take nothing now
		return needs, groups, nil
	case len(off) > 0 && err == nil && m.away(off):
		return off, nil, unreached(name, off)
	case len(off) > 0 && err == nil:
		return off, nil, messages.Errorf(messages.Unavailable, "host "+off[0].Host, "host %s has just come back, and hasn't told yet what %s needs there", off[0].Host, name).WithRetry(askTold)
	case err != nil:
		return nil, nil, err
	}
	return nil, nil, model.NotFound(messages.ModelActor(m.Host, name))
}

// estimateOf tells what a model needs on a host, and false while that says nothing. A file may be on its host only, and another one here may have the same path:
// the host itself knows best.
func (m Memory) estimateOf(name, host string) (from model.Estimator, told bool) {
	if host == m.Host || m.Said == nil {
		return m.Estimate, true
	}
	said, told := m.Said(name, host)
	if said != nil {
		return saidNeed{said}, told
	}
	return m.Estimate, told
}

// saidNeed is a need that the model's host has told.
type saidNeed struct{ need *messages.Need }

// Need implements model.Estimator.
func (s saidNeed) Need(context.Context, *messages.ModelSpec) (*messages.Need, error) {
	return proto.CloneOf(s.need), nil
}

func (m Memory) apart(name, host string) error {
	if m.Apart == nil {
		return nil
	}
	if e := m.Apart(name, host); e != nil {
		return e
	}
	return nil
}

// alone tells whether another host has another file under a name that this one declares: then only this one may run it for its requests.
func (m Memory) alone(name string) bool {
	here, differs := false, false
	for _, v := range m.Views.Models() {
		if v.Name == name && v.Spec != nil {
			here, differs = here || v.Host == m.Host, differs || m.apart(name, v.Host) != nil
		}
	}
	return here && differs
}

// preferring adds what the model's declaration says of the choice between hosts: the one on this host, else the first that says something.
func (m Memory) preferring(c *messages.Claim, name string) *messages.Claim {
	for _, v := range m.Views.Models() {
		if v.Name == name && v.Spec != nil && (v.Host == m.Host || len(c.Hosts) == 0 && c.Prefer == "") {
			c.Hosts, c.Prefer = v.Spec.Hosts, v.Spec.Prefer
		}
	}
	return c
}

// anyHost is a model's name as a holder whose host is still to be chosen.
func anyHost(name string) string { return messages.ModelActor(messages.AnyHost, name).String() }

// Place implements gateway.Placer: it asks the arbiter where a name is to run. The arbiter brings the placement to the model's actor on the
// host that it chose. A refusal that waiting doesn't change is noted at the model's actor on this host, so that it is shown there.
func (m Memory) Place(ctx context.Context, s pool.Seek) (pool.PlaceAnswer, error) {
	name, waited, reason := s.Name, s.Waited, pool.Reason(s.ByHand)
	if m.alone(name) { // the scheduler knows a name, and that may have its memory on the other host
		if _, err := m.Door.Ask(ctx, messages.ModelActor(m.Host, name), &messages.EnsureModel{Reason: reason + ", and " + name + " is another file on other hosts"}); err != nil {
			return pool.Unanswered, err
		}
		return pool.Placed, nil
	}
	if at := m.comes(name); at != (messages.ActorID{}) {
		if _, err := m.Door.Ask(ctx, at, &messages.EnsureModel{Reason: reason, OnDemand: true}); err == nil {
			return pool.Placed, nil
		}
	}
	needs, groups, err := m.needs(ctx, name)
	if len(needs) > 0 && m.away(needs) {
		switch asleep := m.wakes(ctx, needs, waited); {
		case asleep != "":
			return pool.Waits, messages.Errorf(messages.Unavailable, "host "+asleep, "host %s, which declares it, sleeps or is off, and hasn't answered its wake-up packets yet", asleep).WithRetry(askAwake)
		case waited < awaitAway:
			return pool.Waits, unreached(name, needs).WithRetry(askAwake)
		default: // without a time to try again it is a refusal
			return pool.Unanswered, unreached(name, needs)
		}
	}
	if err == nil {
		var reply *messages.PlacementReply
		reply, err = answer[*messages.PlacementReply](m.Door.Ask(ctx, messages.ArbiterActor(), &messages.RequestPlacement{Holder: anyHost(name), Preemptible: true, Reason: reasonOf(s),
			Claim: m.preferring(&messages.Claim{Id: messages.ByName, Needs: needs, Groups: groups}, name)}))
		if err == nil && reply.WaitsFor != "" {
			return pool.Waits, nil
		}
	}
	if refusal := messages.AsError(err); refusal != nil {
		if refusal.Subject == anyHost(name) { // callers know a model by the host that they ask
			of := *refusal
			of.Subject, refusal = messages.ModelActor(m.Host, name).String(), &of
		}
		return m.refused(ctx, name, refusal)
	}
	return pool.Placed, nil
}

// reasonOf is what a placement says of why it is wanted: nothing for a request, so that it is as those of older hosts.
func reasonOf(s pool.Seek) string {
	if !s.ByHand {
		return ""
	}
	return pool.Reason(true)
}

// comes is the actor at which a model that moves between hosts looks for free memory. It gives up when there is none, unless it is told that a request waits.
func (m Memory) comes(name string) messages.ActorID {
	for _, v := range m.Views.Models() {
		if v.Name == name && v.FreeOnly && v.Phase == messages.ModelView_placing && (m.Away == nil || !m.Away(v.Host)) {
			return messages.ModelActor(v.Host, name)
		}
	}
	return messages.ActorID{}
}

// askAwake is when to ask again for a model whose host is being woken: a machine takes some time to start.
const askAwake = 10 * time.Second

// askTold is when to ask again about a host that has just come back.
const askTold = 200 * time.Millisecond

// awaitAway is how long a request waits for a host that can't be reached and that nobody can wake: long enough for a restart, too short for a caller to think
// that the model loads.
const awaitAway = 30 * time.Second

// away tells whether no host that declares a model can be reached.
func (m Memory) away(needs []*messages.Need) bool {
	return m.Away != nil && !slices.ContainsFunc(needs, func(n *messages.Need) bool { return !m.Away(n.Host) })
}

// unreached is why a model waits that only hosts declare which can't be reached.
func unreached(name string, needs []*messages.Need) *messages.Error {
	hosts := make([]string, len(needs))
	for i, n := range needs {
		hosts[i] = n.Host
	}
	return messages.Errorf(messages.Unavailable, "model/"+hosts[0]+"/"+name, "%s can't be reached, and no other host declares %s", strings.Join(hosts, " and "), name).
		WithHint("modelops cluster says since when; declare the model on another host too, and it is loaded there")
}

// wakes is a host that can be woken: the request waits for it. Empty = there is none.
func (m Memory) wakes(ctx context.Context, needs []*messages.Need, waited time.Duration) (asleep string) {
	if m.Wake == nil {
		return ""
	}
	for _, n := range needs {
		if m.Wake(ctx, n.Host, waited) {
			asleep = cmp.Or(asleep, n.Host)
		}
	}
	return asleep
}

// saysNothing are the codes that say nothing about the model: it isn't told of them.
var saysNothing = []messages.Code{messages.Unavailable, messages.DeadlineExceeded, messages.Cancelled, messages.ModelNotFound,
	messages.JournalUnavailable, messages.JournalFull, messages.JournalDamaged, messages.FailedPrecondition}

func (m Memory) refused(ctx context.Context, name string, why *messages.Error) (pool.PlaceAnswer, error) {
	switch {
	case why.Code == messages.GPUUnavailable && why.Retry > 0: // no device is there yet
		return pool.Waits, nil
	case slices.Contains(saysNothing, why.Code):
	default:
		m.Door.Tell(ctx, messages.ModelActor(m.Host, name), &messages.ReportPlacementFailed{Error: why.Body()})
	}
	return pool.Unanswered, why
}

// HintModel keeps room for a model that will be asked for.
func (m Memory) HintModel(ctx context.Context, r *messages.HintModelRequest) (*messages.HintReply, error) {
	if r.ModelName == "" {
		return nil, invalid("model_name", "it is empty", listModels)
	}
	name := m.canonical(r.ModelName)
	needs, _, err := m.needs(ctx, name)
	if err != nil {
		return nil, err
	}
	overrule(needs, r.Bytes)
	reply := &messages.HintReply{}
	return reply, m.askArbiter(ctx, &messages.HintPlacement{Holder: anyHost(name), Needs: needs, WithinSeconds: r.WithinSeconds, Owner: r.Owner}, reply)
}

// Defrag plans moves that make one large free block, and carries them out when asked to.
func (m Memory) Defrag(ctx context.Context, r *messages.DefragRequest) (*messages.DefragPlan, error) {
	q := &messages.PlanDefrag{Apply: r.Apply}
	if r.NeedBytes > 0 {
		q.Needs = []*messages.Need{{Bytes: r.NeedBytes}}
	}
	if r.ModelName != "" {
		name := m.canonical(r.ModelName)
		needs, _, err := m.needs(ctx, name)
		if err != nil {
			return nil, err
		}
		overrule(needs, r.NeedBytes)
		q.Holder, q.Needs = anyHost(name), needs
	}
	plan := &messages.DefragPlan{}
	return plan, m.askArbiter(ctx, q, plan)
}

// overrule replaces the known needs by the caller's figure; 0 leaves them.
func overrule(needs []*messages.Need, bytes uint64) {
	for _, n := range needs {
		if bytes > 0 {
			n.Bytes = bytes
		}
	}
}

// askArbiter copies the arbiter's answer into reply; a Done leaves it empty.
func (m Memory) askArbiter(ctx context.Context, command, reply proto.Message) error {
	r, err := m.Door.Ask(ctx, messages.ArbiterActor(), command)
	if err != nil {
		return err
	}
	if r.Answer.ProtoReflect().Descriptor() == reply.ProtoReflect().Descriptor() {
		proto.Merge(reply, r.Answer)
	}
	return nil
}
