package messages

import (
	"fmt"
	"reflect"
	"sort"

	"google.golang.org/protobuf/proto"
)

// The sealed events of each kind. Evolve of a kind switches over all of them.
type (
	// HostEvent is what can happen to a host.
	HostEvent interface {
		proto.Message
		hostEvent()
	}
	// GPUEvent is what can happen to a device's ledger.
	GPUEvent interface {
		proto.Message
		gpuEvent()
	}
	// ModelEvent is what can happen to a model's residency.
	ModelEvent interface {
		proto.Message
		modelEvent()
	}
	// ArbiterEvent is what can happen to a placement.
	ArbiterEvent interface {
		proto.Message
		arbiterEvent()
	}
)

func (*HostStarted) hostEvent()    {}
func (*HostStopped) hostEvent()    {}
func (*ActorGaveUp) hostEvent()    {}
func (*ActorRevived) hostEvent()   {}
func (*ConfigApplied) hostEvent()  {}
func (*SwapStarted) hostEvent()    {}
func (*SwapCanaried) hostEvent()   {}
func (*SwapPromoted) hostEvent()   {}
func (*SwapRolledBack) hostEvent() {}
func (*SwapSettled) hostEvent()    {}
func (*RouteDropped) hostEvent()   {}

func (*DeviceRegistered) gpuEvent()  {}
func (*VramReserved) gpuEvent()      {}
func (*VramSettled) gpuEvent()       {}
func (*VramReleased) gpuEvent()      {}
func (*LeaseExpired) gpuEvent()      {}
func (*ForeignUseChanged) gpuEvent() {}
func (*DeviceLost) gpuEvent()        {}
func (*DeviceRecovered) gpuEvent()   {}
func (*DeviceFaulted) gpuEvent()     {}
func (*VramResized) gpuEvent()       {}

func (*ModelDeclared) modelEvent()     {}
func (*ModelWanted) modelEvent()       {}
func (*ModelUnwanted) modelEvent()     {}
func (*ModelLoadStarted) modelEvent()  {}
func (*WorkerStarted) modelEvent()     {}
func (*ModelReady) modelEvent()        {}
func (*ModelDraining) modelEvent()     {}
func (*ModelDrained) modelEvent()      {}
func (*WorkerExited) modelEvent()      {}
func (*LoadFailed) modelEvent()        {}
func (*LeaseReturned) modelEvent()     {}
func (*LeaseSettled) modelEvent()      {}
func (*BreakerChanged) modelEvent()    {}
func (*FootprintMeasured) modelEvent() {}
func (*ModelRetired) modelEvent()      {}
func (*ModelPinned) modelEvent()       {}
func (*ModelDozing) modelEvent()       {}
func (*ModelAsleep) modelEvent()       {}
func (*ModelWaking) modelEvent()       {}
func (*ModelAwake) modelEvent()        {}
func (*ModelScaled) modelEvent()       {}
func (*ReplicaSettled) modelEvent()    {}
func (*WorkerDegraded) modelEvent()    {}
func (*WorkerReplaced) modelEvent()    {}
func (*ReplacementFailed) modelEvent() {}

func (*PlacementDecided) arbiterEvent()   {}
func (*PlacementReserved) arbiterEvent()  {}
func (*PlacementRefused) arbiterEvent()   {}
func (*PlacementClosed) arbiterEvent()    {}
func (*PlacementAbandoned) arbiterEvent() {}
func (*PlacementPostponed) arbiterEvent() {}
func (*VictimEvicted) arbiterEvent()      {}
func (*PressureRelieved) arbiterEvent()   {}
func (*PlacementHinted) arbiterEvent()    {}
func (*DefragDecided) arbiterEvent()      {}
func (*MoveLeft) arbiterEvent()           {}
func (*DefragEnded) arbiterEvent()        {}

// eventType is an event's name and schema version on disk. Names are never reused, versions only rise.
type eventType struct {
	name    string
	version uint32
	make    func() proto.Message
}

var eventTypes = []eventType{
	{"host.started", 1, func() proto.Message { return new(HostStarted) }},
	{"host.stopped", 1, func() proto.Message { return new(HostStopped) }},
	{"host.actor_gave_up", 1, func() proto.Message { return new(ActorGaveUp) }},
	{"host.config_applied", 1, func() proto.Message { return new(ConfigApplied) }},
	{"host.actor_revived", 1, func() proto.Message { return new(ActorRevived) }},
	{"gpu.registered", 1, func() proto.Message { return new(DeviceRegistered) }},
	{"gpu.vram_reserved", 1, func() proto.Message { return new(VramReserved) }},
	{"gpu.vram_settled", 1, func() proto.Message { return new(VramSettled) }},
	{"gpu.vram_released", 1, func() proto.Message { return new(VramReleased) }},
	{"gpu.lease_expired", 1, func() proto.Message { return new(LeaseExpired) }},
	{"gpu.foreign_changed", 1, func() proto.Message { return new(ForeignUseChanged) }},
	{"gpu.lost", 1, func() proto.Message { return new(DeviceLost) }},
	{"gpu.recovered", 1, func() proto.Message { return new(DeviceRecovered) }},
	{"gpu.faulted", 1, func() proto.Message { return new(DeviceFaulted) }},
	{"model.declared", 1, func() proto.Message { return new(ModelDeclared) }},
	{"model.wanted", 1, func() proto.Message { return new(ModelWanted) }},
	{"model.unwanted", 1, func() proto.Message { return new(ModelUnwanted) }},
	{"model.load_started", 1, func() proto.Message { return new(ModelLoadStarted) }},
	{"model.worker_started", 1, func() proto.Message { return new(WorkerStarted) }},
	{"model.ready", 1, func() proto.Message { return new(ModelReady) }},
	{"model.draining", 1, func() proto.Message { return new(ModelDraining) }},
	{"model.drained", 1, func() proto.Message { return new(ModelDrained) }},
	{"model.worker_exited", 1, func() proto.Message { return new(WorkerExited) }},
	{"model.load_failed", 1, func() proto.Message { return new(LoadFailed) }},
	{"model.lease_returned", 1, func() proto.Message { return new(LeaseReturned) }},
	{"model.lease_settled", 1, func() proto.Message { return new(LeaseSettled) }},
	{"model.breaker_changed", 1, func() proto.Message { return new(BreakerChanged) }},
	{"model.footprint_measured", 1, func() proto.Message { return new(FootprintMeasured) }},
	{"model.retired", 1, func() proto.Message { return new(ModelRetired) }},
	{"model.pinned", 1, func() proto.Message { return new(ModelPinned) }},
	{"host.swap_started", 1, func() proto.Message { return new(SwapStarted) }},
	{"host.swap_canaried", 1, func() proto.Message { return new(SwapCanaried) }},
	{"host.swap_promoted", 1, func() proto.Message { return new(SwapPromoted) }},
	{"host.swap_rolled_back", 1, func() proto.Message { return new(SwapRolledBack) }},
	{"host.swap_settled", 1, func() proto.Message { return new(SwapSettled) }},
	{"host.route_dropped", 1, func() proto.Message { return new(RouteDropped) }},
	{"gpu.vram_resized", 1, func() proto.Message { return new(VramResized) }},
	{"model.dozing", 1, func() proto.Message { return new(ModelDozing) }},
	{"model.asleep", 1, func() proto.Message { return new(ModelAsleep) }},
	{"model.waking", 1, func() proto.Message { return new(ModelWaking) }},
	{"model.awake", 1, func() proto.Message { return new(ModelAwake) }},
	{"model.scaled", 1, func() proto.Message { return new(ModelScaled) }},
	{"model.replica_settled", 1, func() proto.Message { return new(ReplicaSettled) }},
	{"model.worker_degraded", 1, func() proto.Message { return new(WorkerDegraded) }},
	{"model.worker_replaced", 1, func() proto.Message { return new(WorkerReplaced) }},
	{"model.replacement_failed", 1, func() proto.Message { return new(ReplacementFailed) }},
	{"arbiter.placement_postponed", 1, func() proto.Message { return new(PlacementPostponed) }},
	{"arbiter.victim_evicted", 1, func() proto.Message { return new(VictimEvicted) }},
	{"arbiter.pressure_relieved", 1, func() proto.Message { return new(PressureRelieved) }},
	{"arbiter.placement_hinted", 1, func() proto.Message { return new(PlacementHinted) }},
	{"arbiter.defrag_decided", 1, func() proto.Message { return new(DefragDecided) }},
	{"arbiter.move_left", 1, func() proto.Message { return new(MoveLeft) }},
	{"arbiter.defrag_ended", 1, func() proto.Message { return new(DefragEnded) }},
	{"arbiter.placement_decided", 1, func() proto.Message { return new(PlacementDecided) }},
	{"arbiter.placement_reserved", 1, func() proto.Message { return new(PlacementReserved) }},
	{"arbiter.placement_refused", 1, func() proto.Message { return new(PlacementRefused) }},
	{"arbiter.placement_abandoned", 1, func() proto.Message { return new(PlacementAbandoned) }},
	{"arbiter.placement_closed", 1, func() proto.Message { return new(PlacementClosed) }},
}

var (
	eventByName = map[string]eventType{}
	eventByGo   = map[reflect.Type]eventType{} // not by protobuf name: descriptors aren't there yet when this file's init runs
)

func init() {
	for _, t := range eventTypes {
		eventByName[t.name] = t
		eventByGo[reflect.TypeOf(t.make())] = t
	}
}

// EventNames lists the names of all events on disk, sorted.
func EventNames() []string {
	out := make([]string, 0, len(eventTypes))
	for _, t := range eventTypes {
		out = append(out, t.name)
	}
	sort.Strings(out)
	return out
}

// EventName is the stable name of an event; it panics on a message that is no event, which only a bug can bring.
func EventName(e proto.Message) string {
	t, ok := eventByGo[reflect.TypeOf(e)]
	if !ok {
		panic(fmt.Sprintf("%T is no event: it has no row in eventTypes", e))
	}
	return t.name
}

// Seal wraps the events of one decision for the journal.
func Seal(events []proto.Message) (*Decision, error) {
	d := &Decision{Events: make([]*Event, 0, len(events))}
	for _, e := range events {
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("encode %T: %w", e, err)
		}
		t, ok := eventByGo[reflect.TypeOf(e)]
		if !ok {
			return nil, fmt.Errorf("%T is no event: it has no row in eventTypes", e)
		}
		d.Events = append(d.Events, &Event{Type: t.name, Version: t.version, Body: body})
	}
	return d, nil
}

// Open decodes a decision's events. An unknown type or a version from the future is an error: state that skips a fact is wrong.
func (d *Decision) Open() ([]proto.Message, error) {
	out := make([]proto.Message, 0, len(d.Events))
	for _, e := range d.Events {
		t, ok := eventByName[e.Type]
		if !ok {
			return nil, NewError(JournalDamaged, e.Type, "this build doesn't know this type of event").
				WithHint("start a build at least as new as the one that wrote it")
		}
		if e.Version > t.version {
			return nil, Errorf(JournalDamaged, e.Type, "the event has schema version %d, this build knows up to %d", e.Version, t.version).
				WithHint("start a build at least as new as the one that wrote it")
		}
		m := t.make()
		if err := proto.Unmarshal(e.Body, m); err != nil {
			return nil, Errorf(JournalDamaged, e.Type, "the event's body can't be decoded: %w", err)
		}
		out = append(out, m)
	}
	return out, nil
}
