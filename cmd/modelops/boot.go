package main

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// patientDoor keeps placements back until the host is awake. An actor begins to do what it owes as soon as it has read its journal, while
// others still read theirs: a placement that is decided then doesn't see who is resident, and puts a model beside one that shares its
// group or counts one load too few.
type patientDoor struct {
	messages.Door
	awake <-chan struct{}
}

func (p patientDoor) Ask(ctx context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	if _, places := command.(*messages.RequestPlacement); places {
		select {
		case <-p.awake:
		case <-ctx.Done():
			return messages.Reply{}, messages.AsError(context.Cause(ctx))
		}
	}
	return p.Door.Ask(ctx, to, command)
}

// isAwake tells whether all models of the journal and the configuration are there.
func (d *daemon) isAwake() bool {
	select {
	case <-d.awake:
		return true
	default:
		return false
	}
}

// begin tells the host that it starts, and then the ledgers what their devices are; they read their journals meanwhile. Models come
// afterwards: what they do at once needs the devices.
func (d *daemon) begin(ctx context.Context, known []messages.ActorID) error {
	read := make(chan struct{})
	go func() {
		defer close(read)
		d.bringBack(ctx, slices.DeleteFunc(slices.Clone(known), func(id messages.ActorID) bool { return id.Kind != messages.KindGPU }))
	}()
	start := &messages.StartHost{BootId: d.bootID, Version: buildVersion(), ConfigRevision: d.cfg.Revision()}
	_, err := d.tree.Ask(ctx, messages.HostActor(d.host), start)
	<-read
	if err != nil {
		return err
	}
	return d.sampler.Register(ctx)
}

// atOnce bounds how many actors read their journals at the same time.
const atOnce = 16

// bringBack waits until the actors that the journal knows have read it: the plan that follows compares with what they know.
func (d *daemon) bringBack(ctx context.Context, known []messages.ActorID) {
	places := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for _, id := range known {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			if _, err := d.tree.Ask(ctx, id, &messages.QueryView{}); err != nil {
				d.log.Warn("an actor of the journal doesn't come back", "actor", id.String(), "error", err)
			}
		})
	}
	all.Wait()
}
