package control

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

// LoadModel makes a model resident and returns when it is ready, or with the reason why it can't be. A load whose model is unloaded meanwhile
// is Unavailable.
func (c *Control) LoadModel(ctx context.Context, r *messages.ModelLoadRequest) (*messages.ModelLoadReply, error) {
	switch {
	case r.ModelName == "":
		return nil, invalid("model_name", "it is empty", "name the model to load")
	case r.Shards < 0:
		return nil, invalid("shards", "it is negative", "leave it out for one shard")
	}
	if r.Host != "" {
		at, err := c.owner(ctx, r.Host, r.ModelName)
		if err != nil {
			return nil, err
		}
		if at != c.o.Host {
			return there[*messages.ModelLoadReply](ctx, c, at, "LoadModel", r)
		}
	}
	id, err := c.declare(ctx, r)
	if err != nil {
		return nil, err
	}
	ensure := c.ensure
	if r.Host != "" && c.o.Hosts != nil {
		ensure = c.ensureHere
	}
	if err := ensure(ctx, id); err != nil {
		return nil, err
	}
	return &messages.ModelLoadReply{Success: true, Message: fmt.Sprintf("Model %s loaded successfully", id.Name()), ModelId: id.Name(),
		VramUsedMb: int64(c.measured(id.Name()) / messages.MiB)}, nil
}

// loadGoesOn bounds how long a place is sought for a model after the caller that loads it has left. A worker that starts by then goes on.
const loadGoesOn = 10 * time.Minute

// ensure waits until a worker of the model is ready, on any host. The load goes on when the caller leaves, until the model is unloaded.
func (c *Control) ensure(ctx context.Context, id messages.ActorID) error {
	on, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(c.o.Life, func() { end(context.Cause(c.o.Life)) })
	done := make(chan error, 1)
	until, _ := ctx.Deadline()
	go func() {
		defer end(nil)
		defer stop()
		done <- c.o.Gateway.Ensure(on, id.Name(), until)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		late := time.AfterFunc(loadGoesOn, func() { end(context.DeadlineExceeded) })
		context.AfterFunc(on, func() { late.Stop() })
		e := messages.AsError(context.Cause(ctx))
		return messages.Errorf(e.Code, id.String(), "%s", e.Message).WithHint("it goes on; modelops why " + id.Name() + " says what it waits for").WithCause(e)
	}
}

// ensureHere waits until the worker of the model on this host is ready.
func (c *Control) ensureHere(ctx context.Context, id messages.ActorID) error {
	if c.o.View.Host(c.hostID()).GetDraining() && c.o.View.Model(id).GetPhase() != messages.ModelView_ready { // nothing is placed here until the drain ends
		return messages.Errorf(messages.FailedPrecondition, "host "+c.o.Host, "host %s is being emptied: no model is loaded on it", c.o.Host).
			WithHint("modelops drain " + c.o.Host + " --undo lets it take models again")
	}
	if _, err := c.o.Door.Ask(ctx, id, &messages.EnsureModel{Reason: "asked to load it"}); err != nil {
		return err
	}
	return Catalogue{Host: c.o.Host, View: c.o.View}.AwaitReady(ctx, id.Name())
}

// measured is the measured footprint of the model's ready worker, in bytes.
func (c *Control) measured(name string) uint64 {
	for _, v := range c.o.View.Models() {
		if v.Name == name && v.Phase == messages.ModelView_ready {
			return v.MeasuredBytes
		}
	}
	return 0
}

func unloaded(v *messages.ModelView) *messages.Error {
	return messages.NewError(messages.Unavailable, v.Id, "it was unloaded meanwhile")
}

func loadError(v *messages.ModelView) *messages.Error {
	e := v.Error.Err()
	if e == nil {
		return messages.Errorf(messages.ModelLoadError, v.Id, "Failed to load model '%s'", v.Name)
	}
	if e.Code == messages.GPUUnavailable {
		return e
	}
	return messages.Errorf(messages.ModelLoadError, v.Id, "Failed to load model '%s': %s", v.Name, e.Message).WithHint(e.Hint).WithLog(e.Log).WithLogFile(e.LogFile)
}

// declare finds the model, or declares the file that came with the request under its name.
func (c *Control) declare(ctx context.Context, r *messages.ModelLoadRequest) (messages.ActorID, error) {
	id, v, err := c.declared(ctx, r.ModelName, "declare it in cluster.yaml, or name its file: modelops load NAME --path FILE")
	if r.ModelPath == "" && v == nil && r.Host == "" && c.isDeclared(id.Name()) { // by another host
		return id, nil
	}
	if r.ModelPath == "" || v.GetSpec().GetPath() == r.ModelPath {
		return id, err
	}
	if v != nil && id.Name() != r.ModelName {
		return id, invalid("model_path", r.ModelName+" is an alias of "+id.Name(), "load the file under a name of its own")
	}
	if !messages.CallerFrom(ctx).May(messages.Role_ADMIN) { // an engine reads the file, and some run code that comes with it, as the daemon's user
		return id, messages.Errorf(messages.PermissionDenied, "model_path", "loading a file that the configuration doesn't name needs the role %s", messages.RoleName(messages.Role_ADMIN)).
			WithHint("declare the model in cluster.yaml, or use a key with that role")
	}
	if what := messages.BadName(r.ModelName); what != "" { // its actor would refuse it, and stay
		return id, invalid("model_name", what, "choose "+messages.GoodName)
	}
	spec, err := c.o.SpecOf(r.ModelName, r.ModelPath, int(r.Shards))
	if err != nil {
		return id, err
	}
	id = c.modelID(r.ModelName)
	declared := &messages.DeclareModel{Spec: spec}
	if err := noSecrets(declared); err != nil {
		return id, err
	}
	if _, err := c.o.Door.Ask(ctx, id, declared); err != nil {
		return id, err
	}
	// The gateway gets views in its mailbox: it knows the model once it has answered what came after the declaration.
	_, err = c.o.Door.Ask(ctx, messages.ActorID{Kind: messages.KindGateway, ID: c.o.Host}, &messages.QueryView{})
	return id, err
}

// UnloadModel drains a model and returns when its memory is free. Unloading what isn't loaded succeeds.
func (c *Control) UnloadModel(ctx context.Context, r *messages.ModelUnloadRequest) (*messages.ModelUnloadReply, error) {
	if r.ModelName == "" {
		return nil, invalid("model_name", "it is empty", "name the model to unload")
	}
	at, err := c.owner(ctx, r.Host, r.ModelName)
	if err != nil {
		return nil, err
	}
	if at != c.o.Host {
		return there[*messages.ModelUnloadReply](ctx, c, at, "UnloadModel", &messages.ModelUnloadRequest{ModelName: r.ModelName, Force: r.Force, Host: at})
	}
	id, v, err := c.declared(ctx, r.ModelName, listModels)
	if err != nil {
		return nil, err
	}
	if _, err := c.o.Door.Ask(ctx, id, &messages.UnloadModel{Force: r.Force, Reason: "asked to unload it"}); err != nil {
		return nil, err
	}
	c.o.Gateway.EndLoads(id.Name()) // a load that has no place yet is nothing that the model's actor could end
	if _, err := c.o.View.AwaitModel(ctx, id, func(v *messages.ModelView) bool {
		return v.Phase == messages.ModelView_absent && !c.o.View.Holds(id) || v.Wanted
	}); err != nil {
		return nil, err
	}
	return &messages.ModelUnloadReply{Success: true, Message: fmt.Sprintf("Model %s unloaded successfully", id.Name()),
		VramFreedMb: int64(v.MeasuredBytes / messages.MiB)}, nil
}

// ListModels lists the models that can be asked for, as the legacy contract does.
func (c *Control) ListModels(ctx context.Context, _ *emptypb.Empty) (*messages.ModelList, error) {
	out := &messages.ModelList{}
	said, _ := c.others(ctx)
	for _, v := range c.o.Gateway.Models() {
		info := &messages.ModelInfo{Name: v.Name, Host: v.Host, Path: v.GetSpec().GetPath(), Status: messages.StateNow(v, said), Shards: int32(max(v.GetSpec().GetShards(), 1)),
			VramMb: int64(v.MeasuredBytes / messages.MiB), LoadTime: v.ReadyMs / 1000}
		out.Models = append(out.Models, info)
		out.TotalVramMb += info.VramMb
	}
	out.TotalCount = int32(len(out.Models))
	return out, nil
}
