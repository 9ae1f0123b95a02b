package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	natsapi "modelops/bridges/nats"
	"modelops/messages"
)

// operations answers what the edges ask beside inference: residency, leases, status, and messages to any actor.
type operations struct {
	d *daemon
}

// Load makes a model resident and returns when it is ready or failed.
func (c operations) Load(ctx context.Context, r *messages.ModelLoadRequest) (*messages.ModelLoadReply, error) {
	name, err := c.declare(ctx, r)
	if err != nil {
		return nil, err
	}
	id := messages.ModelActor(c.d.host, name)
	before := c.d.view.Model(id)
	if _, err := c.d.tree.Ask(ctx, id, &messages.EnsureModel{Reason: "asked to load it"}); err != nil {
		return nil, err
	}
	v, err := c.await(ctx, id, func(v *messages.ModelView) bool {
		failed := v.Phase == messages.ModelView_failed && (before == nil || v.Attempt > before.Attempt)
		return v.Phase == messages.ModelView_ready || failed
	})
	if err != nil {
		return nil, err
	}
	if v.Phase == messages.ModelView_failed {
		return nil, loadError(v)
	}
	return &messages.ModelLoadReply{Success: true, Message: fmt.Sprintf("Model %s loaded successfully", name), ModelId: name,
		VramUsedMb: int64(v.MeasuredBytes / messages.MiB)}, nil
}

func loadError(v *messages.ModelView) *messages.Error {
	e := v.Error.Err()
	if e == nil {
		return messages.Errorf(messages.ModelLoadError, v.Id, "Failed to load model '%s'", v.Name)
	}
	if e.Code == messages.GPUUnavailable {
		return e
	}
	return messages.Errorf(messages.ModelLoadError, v.Id, "Failed to load model '%s': %s", v.Name, e.Message).WithHint(e.Hint).WithLog(e.Log)
}

// declare finds the model, or declares the file that came with the request under its name.
func (c operations) declare(ctx context.Context, r *messages.ModelLoadRequest) (name string, err error) {
	known := c.canonical(r.ModelName)
	v := c.d.view.Model(messages.ModelActor(c.d.host, known))
	if r.ModelPath == "" {
		if v == nil || v.Spec == nil {
			return "", messages.Errorf(messages.ModelNotFound, messages.ModelActor(c.d.host, r.ModelName).String(), "Model '%s' not found", r.ModelName).
				WithHint("declare it in cluster.yaml, or name its file: modelops load NAME --path FILE")
		}
		return known, nil
	}
	if v != nil && v.Spec != nil && v.Spec.Path == r.ModelPath {
		return known, nil
	}
	spec, err := c.d.config().SpecOf(r.ModelName, r.ModelPath, int(r.Shards))
	if err != nil {
		return "", err
	}
	_, err = c.d.tree.Ask(ctx, messages.ModelActor(c.d.host, r.ModelName), &messages.DeclareModel{Spec: spec})
	return r.ModelName, err
}

// canonical resolves an alias.
func (c operations) canonical(name string) string {
	for _, v := range c.d.view.Models() {
		if slices.Contains(v.GetSpec().GetAliases(), name) {
			return v.Name
		}
	}
	return name
}

// await waits until the model's view is as wanted.
func (c operations) await(ctx context.Context, id messages.ActorID, done func(*messages.ModelView) bool) (*messages.ModelView, error) {
	for {
		change := c.d.view.Changed()
		if v := c.d.view.Model(id); v != nil && done(v) {
			return v, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			e := messages.AsError(context.Cause(ctx))
			return nil, messages.Errorf(e.Code, id.String(), "%s", e.Message).WithHint("it goes on; modelops why " + id.Name() + " says what it waits for").WithCause(e)
		}
	}
}

// Unload drains a model and returns when its memory is free. Unloading what isn't loaded succeeds.
func (c operations) Unload(ctx context.Context, r *messages.ModelUnloadRequest) (*messages.ModelUnloadReply, error) {
	name := c.canonical(r.ModelName)
	id := messages.ModelActor(c.d.host, name)
	v := c.d.view.Model(id)
	if v == nil || v.Spec == nil {
		return nil, messages.Errorf(messages.ModelNotFound, id.String(), "Model '%s' not found", r.ModelName).WithHint("modelops models lists what there is")
	}
	if _, err := c.d.tree.Ask(ctx, id, &messages.UnloadModel{Force: r.Force, Reason: "asked to unload it"}); err != nil {
		return nil, err
	}
	if _, err := c.await(ctx, id, func(v *messages.ModelView) bool {
		return v.Phase == messages.ModelView_absent && !c.d.view.Holds(id) || v.Wanted
	}); err != nil {
		return nil, err
	}
	return &messages.ModelUnloadReply{Success: true, Message: fmt.Sprintf("Model %s unloaded successfully", name),
		VramFreedMb: int64(v.MeasuredBytes / messages.MiB)}, nil
}

// List lists the models that are resident or on their way, as the legacy contract does.
func (c operations) List(context.Context) (*messages.ModelList, error) {
	out := &messages.ModelList{}
	for _, v := range c.d.gateway.Models() {
		info := &messages.ModelInfo{Name: v.Name, Path: v.GetSpec().GetPath(), Status: v.Phase.String(), Shards: int32(max(v.GetSpec().GetShards(), 1)),
			VramMb: int64(v.MeasuredBytes / messages.MiB), LoadTime: v.ReadyMs / 1000}
		out.Models = append(out.Models, info)
		out.TotalVramMb += info.VramMb
	}
	out.TotalCount = int32(len(out.Models))
	return out, nil
}

// defaultLease and its like are the legacy contract's figures.
const (
	defaultLease  = 30 * time.Second
	leaseRetry    = 250 * time.Millisecond
	noVRAM        = "Insufficient VRAM"
	anonymousName = "unknown"
)

// AcquireLease reserves memory on the first device that grants it. Want of memory is an answer, not an error.
func (c operations) AcquireLease(ctx context.Context, r *messages.GpuLeaseRequest) (*messages.GpuLeaseReply, error) {
	client := r.Client
	if client == "" {
		client = anonymousName
	}
	ttl := uint32(defaultLease / time.Second)
	if r.TtlSeconds > 0 {
		ttl = uint32(r.TtlSeconds)
	}
	for _, g := range c.d.view.GPUs() {
		gpu, err := messages.ParseActorID(g.Id)
		if err != nil {
			return nil, err
		}
		lease := g.Device + "_" + c.d.newID()
		_, err = c.d.tree.Ask(ctx, gpu, &messages.ReserveVram{Lease: lease, Holder: "client/" + client,
			Bytes: uint64(max(r.VramEstimateMb, 0)) * messages.MiB, TtlSeconds: ttl})
		switch messages.CodeOf(err) {
		case 0:
			return &messages.GpuLeaseReply{Granted: true, LeaseId: lease, VramReservedMb: max(r.VramEstimateMb, 0)}, nil
		case messages.GPUUnavailable:
		default:
			return nil, err
		}
	}
	return &messages.GpuLeaseReply{Reason: noVRAM, RetryAfterMs: int32(leaseRetry.Milliseconds())}, nil
}

// ReleaseLease gives a lease back. An unknown one is given back already.
func (c operations) ReleaseLease(ctx context.Context, r *messages.GpuLeaseRelease) (*messages.GpuLeaseReleaseAck, error) {
	device, _, _ := strings.Cut(r.LeaseId, "_")
	for _, g := range c.d.view.GPUs() {
		if g.Device != device {
			continue
		}
		gpu, err := messages.ParseActorID(g.Id)
		if err != nil {
			return nil, err
		}
		if _, err := c.d.tree.Ask(ctx, gpu, &messages.ReleaseVram{Lease: r.LeaseId, Reason: "released by its holder"}); err != nil {
			return nil, err
		}
	}
	return &messages.GpuLeaseReleaseAck{Success: true}, nil
}

// Status shows the host.
func (c operations) Status(context.Context) (*messages.StatusView, error) { return c.d.status(), nil }

// ApplyConfig reads the configuration again and makes it rule; dry only says what would change. A bad file changes nothing.
func (c operations) ApplyConfig(ctx context.Context, dry bool) (*messages.ConfigChanges, error) {
	if c.d.reread == nil {
		return nil, messages.NewError(messages.FailedPrecondition, "configuration", "this daemon runs on a configuration that is in no file")
	}
	next, err := c.d.reread()
	if err != nil {
		return nil, messages.Errorf(messages.InvalidArgument, "configuration", "it has mistakes, and nothing was changed: %w", err).
			WithHint("modelops config check shows them")
	}
	return c.d.apply(ctx, next, dry)
}

// State shows any actor: its view, its state, its last sequence and what it owes.
func (c operations) State(ctx context.Context, actor messages.ActorID) (*messages.StateReply, error) {
	if err := c.exists(actor); err != nil {
		return nil, err
	}
	r, err := c.d.tree.Ask(ctx, c.local(actor), &messages.QueryView{})
	if err != nil {
		return nil, err
	}
	return r.Answer.(*messages.StateReply), nil
}

// exists refuses names that no journal, configuration or device knows: asking must not make an actor.
func (c operations) exists(actor messages.ActorID) error {
	if slices.Contains(c.d.tree.Actors(), c.local(actor)) || actor.Kind == messages.KindArbiter || actor.Kind == messages.KindGateway {
		return nil
	}
	if actor.Kind == messages.KindModel {
		return messages.Errorf(messages.ModelNotFound, actor.String(), "Model '%s' not found", actor.Name()).WithHint("modelops models lists what there is")
	}
	return messages.NewError(messages.NotFound, actor.String(), "there is no such actor here").WithHint("modelops ps and modelops gpus list the actors")
}

// local completes the identities that people leave short.
func (c operations) local(actor messages.ActorID) messages.ActorID {
	switch actor.Kind {
	case messages.KindGateway:
		return messages.ActorID{Kind: messages.KindGateway, ID: c.d.host}
	case messages.KindArbiter:
		return messages.ArbiterActor()
	}
	return actor
}

// Send takes a command by name from JSON to any actor and shows its answer and the events it caused.
func (c operations) Send(ctx context.Context, actor messages.ActorID, command string, body []byte) (natsapi.SendReply, error) {
	m, err := parseCommand(command, body)
	if err != nil {
		return natsapi.SendReply{}, err
	}
	if _, declares := m.(*messages.DeclareModel); !declares {
		if err := c.exists(actor); err != nil {
			return natsapi.SendReply{}, err
		}
	}
	r, err := c.d.tree.Ask(ctx, c.local(actor), m)
	if err != nil {
		return natsapi.SendReply{}, err
	}
	return sent(r)
}

func parseCommand(command string, body []byte) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("modelops." + command))
	if err != nil {
		return nil, messages.Errorf(messages.InvalidArgument, command, "there is no such command").
			WithHint("modelops send --help lists the commands of each kind")
	}
	m := t.New().Interface()
	if len(body) == 0 {
		return m, nil
	}
	if err := protojson.Unmarshal(body, m); err != nil {
		return nil, messages.Errorf(messages.InvalidArgument, command, "its JSON can't be read: %w", err)
	}
	return m, nil
}

var inJSON = protojson.MarshalOptions{UseProtoNames: true}

// sent shows a reply in JSON, with the names that journal and CLI use.
func sent(r messages.Reply) (natsapi.SendReply, error) {
	out := natsapi.SendReply{Sequence: r.Sequence}
	if r.Answer != nil {
		b, err := inJSON.Marshal(r.Answer)
		if err != nil {
			return out, err
		}
		out.AnswerType, out.Answer = string(r.Answer.ProtoReflect().Descriptor().Name()), b
	}
	for _, e := range r.Events {
		b, err := inJSON.Marshal(e)
		if err != nil {
			return out, err
		}
		out.Events = append(out.Events, natsapi.SentEvent{Name: messages.EventName(e), Body: b})
	}
	return out, nil
}
