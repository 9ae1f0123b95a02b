package host

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// Recovery brings the actors of the journal back when a host starts. Placement is disabled until every actor in the journal has recovered
// and follows the configuration: an actor begins to do what it owes as soon as it has read its journal, while others still read theirs.
// A placement that is decided before doesn't see all resident models: it puts a model beside one that shares its group, or counts a load too
// few.
type Recovery struct {
	Host string
	Door messages.Door
	Log  *slog.Logger

	over chan struct{} // closed by Run
}

// NewRecovery makes the recovery of a host; placement is disabled until Run is through.
func NewRecovery(host string, door messages.Door, log *slog.Logger) *Recovery {
	return &Recovery{Host: host, Door: door, Log: log, over: make(chan struct{})}
}

// Over tells whether placement is enabled.
func (r *Recovery) Over() bool {
	select {
	case <-r.over:
		return true
	default:
		return false
	}
}

// Await waits until every actor of the journal is back.
func (r *Recovery) Await(ctx context.Context) error {
	select {
	case <-r.over:
		return nil
	case <-ctx.Done():
		return messages.AsError(context.Cause(ctx))
	}
}

// Placing is a door that holds requests for a placement back until placement is enabled.
func (r *Recovery) Placing() messages.Door { return placing{r.Door, r.over} }

type placing struct {
	messages.Door
	enabled <-chan struct{}
}

func (p placing) Ask(ctx context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	if _, places := command.(*messages.RequestPlacement); places {
		select {
		case <-p.enabled:
		case <-ctx.Done():
			return messages.Reply{}, messages.AsError(context.Cause(ctx))
		}
	}
	return p.Door.Ask(ctx, to, command)
}

// Run brings the known actors back in order, and enables placement:
//
//	the host actor is told that it starts, while the ledgers read their journals
//	the ledgers are told what their devices are (register): the first work of models needs them
//	all other actors read their journals
//	models are told what the configuration declares (follow), which is compared with what they know
//
// An actor that doesn't recover is logged and holds up no other. A step that fails ends the start.
func (r *Recovery) Run(ctx context.Context, start *messages.StartHost, known []messages.ActorID, register, follow func(context.Context) error) error {
	read := make(chan struct{})
	go func() {
		defer close(read)
		r.bringBack(ctx, slices.DeleteFunc(slices.Clone(known), func(id messages.ActorID) bool { return id.Kind != messages.KindGPU }))
	}()
	_, err := r.Door.Ask(ctx, messages.HostActor(r.Host), start)
	<-read
	if err != nil {
		return err
	}
	if err := register(ctx); err != nil {
		return err
	}
	r.bringBack(ctx, known)
	if err := follow(ctx); err != nil {
		return err
	}
	close(r.over)
	return nil
}

// atOnce bounds how many actors read their journals at the same time.
const atOnce = 16

// bringBack returns when the actors have read their journals.
func (r *Recovery) bringBack(ctx context.Context, known []messages.ActorID) {
	places := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for _, id := range known {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			if _, err := r.Door.Ask(ctx, id, &messages.QueryView{}); err != nil {
				r.Log.Warn("an actor of the journal doesn't come back", "actor", id.String(), "error", err)
			}
		})
	}
	all.Wait()
}
