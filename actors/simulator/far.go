package simulator

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/cluster"
	"modelops/actors/host"
	"modelops/messages"
)

// The daemon's figures of work with other hosts.
const (
	// lookEvery is the pause between two looks at the table of members.
	lookEvery = 25 * time.Millisecond
	// reportEvery is how often a host reports what hasn't changed, and freshLimit the age from which on a report's figures count no more.
	reportEvery, freshLimit = time.Second, 3 * time.Second
	// loadLooks is how often a host looks whether what runs and waits has changed.
	loadLooks = 100 * time.Millisecond
	// againAfter is when to ask a host again that didn't answer.
	againAfter = 500 * time.Millisecond
)

// far is how the coordinator of one host works with those of others: its table of members, its part in the seat, and what the others reported. It stands
// for the daemon's wiring (cmd/modelops) and for what there needs a clock: the links, the reports and the loop of actors/cluster.
type far struct {
	w     *World
	net   *Cluster
	table *cluster.Table // nil while the host is down
	pulse cluster.Pulse
	term  cluster.Term
	held  bool // it has the seat
	turns int  // looks at the table in this start
	again time.Duration
	said  map[string]*report // what other hosts reported last

	changed  bool // a view of this host, since its last report
	reported time.Duration
	sequence uint64 // of reports
	activity string
}

// start begins to hear the others, as a process that starts does.
func (x *far) start() {
	x.table = cluster.NewTable(x.own(), x.w.wall())
	for _, other := range x.net.worlds {
		x.table.Expect(other.host(0), "")
	}
	x.pulse, x.term, x.held, x.turns, x.said, x.again = cluster.Pulse{}, cluster.Term{}, false, 0, map[string]*report{}, 0
	x.look()
	x.w.alive(sparesEvery, x.spares)
}

func (x *far) own() cluster.Own {
	own := cluster.Own{Host: x.w.host(0), Boot: fmt.Sprintf("%s-%d", x.w.host(0), x.w.boot), Ready: !x.w.down}
	for _, l := range x.w.ledgers {
		own.Obeyed = max(own.Obeyed, l.state.Obeyed)
	}
	for _, m := range x.w.models {
		own.Obeyed = max(own.Obeyed, m.state.Obeyed)
	}
	if x.table != nil {
		own.Epoch = x.table.Own().Epoch
	}
	return own
}

// look is one look at the table: time passes, a heartbeat goes out, the seat moves, a report goes out.
func (x *far) look() {
	w := x.w
	w.alive(lookEvery, x.look)
	x.turns++
	now := w.wall()
	x.table.Set(x.own())
	x.table.Tick(now)
	for _, c := range x.table.Changes() {
		x.member(c)
	}
	if h := x.pulse.Due(x.table, cluster.Facts{}, now); h != nil {
		x.net.beats++
		x.broadcast(func(other *World) {
			if other.far.table != nil {
				other.far.table.Hear(h, other.wall())
			}
		})
	}
	x.serve()
	x.report()
}

// member takes that a member is reached, or isn't any more.
func (x *far) member(c cluster.Change) {
	w := x.w
	up := c.To == messages.MemberView_alive
	w.say("%s is %s: %s", c.Host, c.To, c.Reason)
	if up {
		x.changed = true // it gets a whole report at once
	}
	for _, f := range w.fronts {
		f.pool.Reach(c.Host, up, f.now())
		if !up {
			for _, t := range f.toHost(c.Host) {
				f.cutOff(t)
			}
		}
		f.dispatch()
		f.pursue()
	}
	if c.From == messages.MemberView_alive && !up {
		for _, name := range host.TakesOver(w.host(0), c.Host, view{w}.Models(), x.closed) {
			door{w}.Tell(&try{}, messages.ModelActor(w.host(0), name), &messages.EnsureModel{Reason: c.Host + " can't be reached, and had it", OnDemand: true})
		}
	}
}

// serve has this host's arbiter take over while it has the seat, and stand down afterwards.
func (x *far) serve() {
	w, mine := x.w, x.table.Mine()
	switch {
	case mine && !x.held:
		x.term.Begin(w.steady())
	case !mine && x.held:
		x.term.End()
		if !w.mishap(20 * w.o.Faults.LostAsk) { // its loss is to do no harm
			w.post(messages.ArbiterActor(), &messages.StandDown{Host: x.table.Seat()}, w.latency())
		}
	}
	x.held = mine
	if b, due := x.term.Due(x.table, w.steady()); mine && due && w.elapsed >= x.again {
		r, err := w.arbiter.ask(&messages.TakeOver{Host: w.host(0), Above: b.Above, Members: b.Members})
		if err != nil {
			x.again = w.elapsed + 4*lookEvery
			return
		}
		x.net.takeOvers++
		x.term.Took(x.table, r.Answer.(*messages.TakeOverReply).Epoch, w.steady())
	}
}

// broadcast does something at each other host to which a message comes through.
func (x *far) broadcast(do func(other *World)) {
	for _, other := range x.net.worlds {
		if other == x.w {
			continue
		}
		x.net.send(x.w, other, func() { do(other) })
	}
}

// closed says why nothing is placed on a host now; empty = it can be.
func (x *far) closed(host string) string {
	if host == x.w.host(0) {
		return ""
	}
	if state, reason := x.table.State(host, x.w.wall()); state != messages.MemberView_alive {
		return "can't be reached: " + reason
	}
	return ""
}

// whose is the host at which an actor is asked. The arbiter is asked where the seat is, and about a lease the one that asked for it.
func (x *far) whose(to messages.ActorID, command proto.Message) (*World, error) {
	q, asks := command.(*messages.QueryHolding)
	switch {
	case to == messages.ArbiterActor() && asks && q.Arbiter != "":
		return x.net.named(q.Arbiter), nil
	case to == messages.ArbiterActor():
		seat := x.net.named(x.table.Seat())
		if seat == x.w && !x.term.Taken() && x.w.rng.IntN(8) > 0 { // a question waits for the take-over, but not for ever
			return nil, messages.NewError(messages.Unavailable, to.String(), "this host's arbiter hasn't taken over yet").WithRetry(againAfter)
		}
		return seat, nil
	case to.Host() == "" || to.Host() == messages.AnyHost:
		return x.w, nil
	}
	return x.net.named(to.Host()), nil
}

// ask asks an actor of another host.
func (x *far) ask(at *World, to messages.ActorID, command proto.Message) (r messages.Reply, err error) {
	w, n := x.w, x.net
	n.asks++
	if _, err := messages.CommandNamed(to.Kind, string(command.ProtoReflect().Descriptor().Name())); err != nil { // as the other host finds it
		return r, err
	}
	silence := messages.Errorf(messages.Unavailable, to.String(), "host %s doesn't answer", at.host(0)).WithRetry(againAfter)
	f := w.o.Faults
	switch late := n.through(w, at); {
	case late < 0 || at.down || w.mishap(f.LostAsk):
		return messages.Reply{}, silence
	case late > 0 || w.mishap(f.LateAsk):
		at.post(to, command, late+w.latency())
		return messages.Reply{}, silence
	}
	answered := false
	at.guarded(func() {
		if node := at.found(to); node == nil {
			err = messages.NewError(messages.NotFound, to.String(), "there is no such actor")
		} else {
			at.deliver(to)
			r, err = node.ask(command)
		}
		answered = true
	})
	if !answered || n.through(at, w) != 0 || w.mishap(f.LostAnswer) {
		w.say("the answer of %s to %s is lost", to, name(command))
		return messages.Reply{}, silence
	}
	return r, err
}

// tell sends an actor of another host a command.
func (x *far) tell(at *World, to messages.ActorID, command proto.Message) {
	x.net.send(x.w, at, func() {
		at.post(to, command, 0)
	})
}

// pass sends a request to a worker of another host. It runs at that host's pool, bound to the worker.
func (x *far) pass(f *front, r *request, id messages.ActorID) {
	w, at, ticket := x.w, x.net.named(id.Host()), r.ticket
	lost := func() { w.after(w.latency(), func() { f.unreached(ticket) }) }
	there := &request{model: r.model, class: r.class, takes: r.takes, calm: r.calm, only: messages.Only{Host: id.Host(), Worker: id.Name()}}
	there.told = func(code messages.Code) {
		if !x.net.send(at, w, func() {
			if code == messages.Unavailable {
				f.cutOff(ticket)
				return
			}
			f.answered(ticket, code)
		}) {
			lost()
		}
	}
	x.net.passed++
	if !x.net.send(w, at, func() {
		there.arrived = at.elapsed
		at.fronts[r.model].arrive(there)
	}) {
		lost()
	}
	w.after(2*runLongest, func() { f.unreached(ticket) }) // whatever became of it
}

// unreached ends a try at another host's worker that didn't come through.
func (f *front) unreached(ticket uint64) {
	f.cut(ticket, messages.Outcome{Failed: true, Unreachable: true, Err: messages.NewError(messages.Unavailable, f.pool.Name(), "its host can't be reached")})
}

// toHost are the requests that run at workers of a host, in order.
func (f *front) toHost(host string) (out []uint64) {
	for t, r := range f.pool.Running() {
		if r.Endpoint.ID().Host() == host {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return out
}

// obeys notes which arbiter's decision an owner follows, and that it is none of an epoch below one that it has obeyed.
func (w *World) obeys(owner messages.ActorID, arbiter string, epoch uint64) {
	if w.far == nil || epoch == 0 {
		return
	}
	n := w.far.net
	switch before := n.obeyed[owner]; {
	case epoch < before.epoch:
		w.violated("%s obeys the arbiter of %s under epoch %d after one of epoch %d", owner, arbiter, epoch, before.epoch)
	case epoch == before.epoch && arbiter != before.arbiter && arbiter != "" && before.arbiter != "":
		n.equals++
	}
	n.obeyed[owner] = term{arbiter, epoch}
}

// term is an arbiter's host and epoch.
type term struct {
	arbiter string
	epoch   uint64
}
